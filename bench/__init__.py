"""The benchmark: composes `shb` with the configurations of `conf`, keeps the store, prints the leaderboard."""

import os

# OpenMP's threads spin while they wait, by default for milliseconds. On a machine that does anything else, that keeps
# the other thread from its work: small networks were seen to train 2 to 10 times slower. A short spin costs nothing on
# a quiet machine. Read once, when torch is imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
