"""Libraries that are built once per machine and kept: whole, tried, and built by one process at a time.

A library that is damaged does not fail, it kills the process (a truncated one with SIGBUS). So beside `name.so` lies
`name.sha256`, written after the library was loaded by a process of its own and did something; without it, or with
another checksum, a library is not loaded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shb.errors import CompilationError
from shb.folders import cache_folder, notice, temporary_folder, usual_cache
from shb.kernels.compiler import TIMEOUT
from shb.locks import alone

_UNUSED = 30 * 86400  # seconds after which what was built may go
_LEFT_OVER = 4 * TIMEOUT  # seconds after which nobody still builds in a folder
_TRIAL = 120  # seconds that a trial may take
_HINT = "XDG_CACHE_HOME names a folder for it"


def find(name: str) -> Path | None:
    """The whole and tried library `name`, if there is one; the usual folder may be read-only."""
    usual = usual_cache()
    folders = [usual / "kernels"] if usual and not _noexec(usual) else []
    for folder in (*folders, _folder()):
        library = folder / f"{name}.so"
        if is_whole(library):
            with contextlib.suppress(OSError):  # the folder may be read-only
                os.utime(library)  # in use: see `remove_unused`
            return library
    return None


def keep(name: str, build: Callable[[Path, Path], None], trial: str) -> Path:
    """The library `name`; built first, or built again, where it is missing or damaged.

    Args:
        name: without suffix; says from what it is built, and for which processor.
        build: `build(scratch, target)` writes the library to `target`; `scratch` is a folder for everything else.
        trial: Python code for another process that loads the library `path` and calls what it exports.

    Raises:
        CompilationError: whatever `build` raises; no folder whose libraries may be loaded; the trial of what was built
            fails.
        OSError: nothing can be written.
    """
    if found := find(name):
        return found
    folder = _folder()
    library = folder / f"{name}.so"
    with alone(folder / f"{name}.lock", 4 * TIMEOUT) as locked:  # without locks all build, and the last library stays
        if is_whole(library):  # another process has built it while this one waited
            return library
        if library.exists():
            _say_why(library, trial)
            if is_whole(library):
                return library
        for scratch in folder.glob(f"{name}.build-*") if locked else ():
            shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        _build(library, build, trial)
        remove_unused(folder)
    return library


def discard(library: Path) -> None:
    """Forget a library that cannot be used here."""
    for path in (_checksum_file(library), library):
        with contextlib.suppress(OSError):
            path.unlink()


def is_whole(library: Path) -> bool:
    """Whether the checksum beside `library` is its own."""
    try:
        stamp = library.stat()
        noted = _checksum_file(library).read_text(errors="replace")
        return noted == _note(library, stamp.st_size, stamp.st_mtime_ns, stamp.st_ino)
    except OSError:
        return False


def remove_unused(folder: Path) -> None:
    """Delete what nobody has used for a month, and what killed processes have left."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            age = time.time() - path.stat().st_mtime
            if path.suffix == ".so" and age > _UNUSED:
                discard(path)
            elif age < _LEFT_OVER:
                continue
            elif path.suffix == ".lock" or (path.suffix == ".sha256" and not path.with_suffix(".so").exists()):
                path.unlink()
            elif path.is_dir() and (".build-" in path.name or path.name.startswith("tmp")):
                shutil.rmtree(path, ignore_errors=True)


def _build(library: Path, build: Callable[[Path, Path], None], trial: str) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=f"{library.stem}.build-") as scratch:
        target, note = Path(scratch, "linked.so"), Path(scratch, "checksum")
        build(Path(scratch), target)
        _flush(target)
        if failure := _try(target, trial):
            raise CompilationError(f"what was built in {library.parent} does not run ({failure}); {_HINT}")
        note.write_text(f"{_digest(target)}  {library.name}\n")
        _flush(note)
        _checksum_file(library).unlink(missing_ok=True)
        os.replace(target, library)
        os.replace(note, _checksum_file(library))


def _say_why(library: Path, trial: str) -> None:
    """A library without its checksum is tried, and gets one if it works; else one line says that it is built again."""
    if not _checksum_file(library).exists():
        failure = _try(library, trial)
        if failure is None:
            _checksum_file(library).write_text(f"{_digest(library)}  {library.name}\n")
            return
        reason = f"it does not run ({failure})"
    else:
        reason = "its checksum is another"
    notice(f"{library} is damaged: {reason}; it is built again")


def _try(library: Path, trial: str) -> str | None:
    """Run `trial` in another process: None if it succeeds, else how it failed, in one line."""
    if not sys.executable:
        return None
    code = f"import sys, json; path, sys.path[:] = sys.argv[1], json.loads(sys.argv[2])\n{trial}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(library), json.dumps(sys.path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRIAL,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_TRIAL} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]


def _folder() -> Path:
    """Where libraries are built: in the cache, or in a temporary folder if nothing there may be executed."""
    folder = cache_folder()
    if _noexec(folder):
        why = f"{folder} is on a file system mounted noexec, from which no library can be loaded"
        folder = temporary_folder(why)
        if _noexec(folder):
            raise CompilationError(f"{why}, and so is {folder}; {_HINT}")
    folder = folder / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _noexec(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    except (OSError, AttributeError):  # no such folder, or not Linux
        return False


@functools.lru_cache(maxsize=64)
def _note(library: Path, *stamp: int) -> str:
    """What the checksum file of `library` has to say; `stamp` changes with the file."""
    return f"{_digest(library)}  {library.name}\n"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checksum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")
