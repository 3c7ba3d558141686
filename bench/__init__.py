"""The benchmark: composes `shb` with the configurations of `conf`, keeps the store, prints the leaderboard."""

import atexit
import contextlib
import os
import signal
import sys

# OpenMP's threads spin while they wait, by default for milliseconds. On a machine that does anything else, that keeps
# the other thread from its work: small networks were seen to train 2 to 10 times slower. A short spin costs nothing on
# a quiet machine. Read once, when torch is imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


interrupted = False  # set by `run_command`


def _leave(number: int, frame: object) -> None:
    """Ctrl-C while a command imports what it needs: nothing has begun, so one line and the exit code of Ctrl-C."""
    os.write(2, b"interrupted: nothing was begun\n")
    os._exit(130)


def _leave_with_code() -> None:
    """The end of an interrupted command. Where the interruption came in code that is made at run time (`exec` of a
    text), Python would end by the signal, also after the command has answered it.
    """
    if interrupted:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the reader has gone
                stream.flush()
        os._exit(130)


def _needs_checkout() -> None:
    """End a command that comes from a wheel, which has no conf/ beside it: one line, and the exit code of bad input.

    Only a command ends so, not who imports bench: the module that `python -m` was given stands before its arguments.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if module.split(".")[0] == "bench" and not os.path.isfile(os.path.join(here, os.pardir, "conf", "config.yaml")):
        allowed = "the folder of a checkout, with conf/ beside it (CONTRIBUTING.md); of a wheel only shb works"
        os.write(2, os.fsencode(f"error: bench={here}: allowed is {allowed}\n"))
        raise SystemExit(2)


if sys.argv[:1] == ["-m"]:
    _needs_checkout()

# `python -m bench.run` imports this first, when sys.argv[0] is still "-m"; `run_command` puts Python's handler back.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
    atexit.register(_leave_with_code)  # the first to be registered is the last to be called
