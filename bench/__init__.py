"""The benchmark: composes `shb` with the configurations of `conf`, keeps the store, prints the leaderboard."""

import os
import signal
import sys

# OpenMP's threads spin while they wait, by default for milliseconds. On a machine that does anything else, that keeps
# the other thread from its work: small networks were seen to train 2 to 10 times slower. A short spin costs nothing on
# a quiet machine. Read once, when torch is imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _leave(number: int, frame: object) -> None:
    """Ctrl-C while a command imports what it needs: nothing has begun, so one line and the exit code of Ctrl-C."""
    os.write(2, b"interrupted: nothing was begun\n")
    os._exit(130)


# `python -m bench.run` imports this first, when sys.argv[0] is still "-m"; `run_command` puts Python's handler back.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
