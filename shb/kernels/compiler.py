"""Calling the C++ compiler so that it never outlives the process that asked for it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from shb.errors import CompilationError

# The native operations are vectors in the way of GCC (vector_size, `?:` on them, __builtin_shufflevector) in C++20:
# macro with the version -> compiler and its oldest version. Built and tested with GCC 12; clang claims to be a GCC too.
OLDEST = {"__clang_major__": ("clang", 11), "__GNUC__": ("GCC", 12)}
TIMEOUT = 300  # seconds that one call of the compiler may take
# The compiler starts processes of its own (cc1plus, as, ld), which would go on if this one were killed. A second
# process of its group waits for the end of a pipe that only this process holds open, and then ends the group.
_GUARDED = 'exec 3<&0; (read _ <&3; kill -KILL 0) & guard=$!; "$@" </dev/null 3<&-; code=$?; kill $guard; exit $code'


def compiler() -> str:
    """The C++ compiler: $CXX, g++ or c++.

    Raises:
        CompilationError: there is none.
    """
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++"]
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        raise CompilationError(f"no C++ compiler: none of {', '.join(wanted)} is in PATH")
    return found


@functools.cache
def _check_version(path: str) -> None:
    """Refuse a compiler of `OLDEST` that is older. One that does not say what it is may say what it lacks."""
    try:
        said = subprocess.run(
            [path, "-dM", "-E", "-xc++", os.devnull],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    macros = dict(line.split(maxsplit=2)[1:] for line in said.stdout.splitlines() if len(line.split(maxsplit=2)) == 3)
    macro = next((name for name in OLDEST if macros.get(name, "").isdigit()), None)
    if macro is not None and int(macros[macro]) < OLDEST[macro][1]:
        wanted = " or ".join(f"{name} {version}" for name, version in reversed(OLDEST.values()))
        found = f"{OLDEST[macro][0]} {macros[macro]}"
        raise CompilationError(f"{path} is {found}; the native operations need {wanted}, or newer")


def call_compiler(command: Sequence[str], scratch: Path) -> None:
    """Run `command`, whose temporary files go to the folder `scratch`; its process group ends with this call.

    Raises:
        CompilationError: it is too old, fails (in its words), or takes more than TIMEOUT seconds.
    """
    _check_version(command[0])
    messages = scratch / "messages"
    with messages.open("wb") as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,
        )
    try:
        process.wait(TIMEOUT)
    except BaseException as error:  # an interruption too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CompilationError(f"{command[0]} took more than {TIMEOUT} s") from error
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    if process.returncode:
        text = messages.read_text(errors="replace").splitlines()
        lines = [line for line in text if "error" in line] or text[-1:] or [""]
        raise CompilationError(f"{command[0]} failed: {lines[0].strip()}"[:300])
