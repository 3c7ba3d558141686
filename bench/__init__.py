"""The benchmark: composes `shb` with the configurations of `conf`, keeps the store, prints the leaderboard."""

import os

# OpenMP's threads spin while they wait. On a machine that does anything else, the spinning keeps the other thread from its
# work: small networks were seen to train 2 to 10 times slower. Read once, when torch is imported, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
