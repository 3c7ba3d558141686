"""Folders of this user that outlive a process; where the usual place cannot be written, a temporary one of their own.

A container may run as a user without a home or without a name, and a home may be read-only or no folder at all. What
is kept in these folders only saves time, so none of that ends a run: it costs one line.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

_REPLACEMENT = "SHB_TEMPORARY_FOLDER"  # environment variable by which worker processes learn of it, and say nothing
_said: set[str] = set()


def usual_folder(variable: str, below_home: str) -> Path | None:
    """The folder that an XDG variable names, or else `below_home`; None for a user without a home.

    A relative path in the variable is ignored, as the XDG specification asks.
    """
    given = os.environ.get(variable, "")
    if Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / below_home
    except RuntimeError:  # HOME is unset, and the user has no entry in the table of users
        return None


def cache_folder() -> Path:
    """Where what was compiled for this user lasts: $XDG_CACHE_HOME/shb or ~/.cache/shb, or a temporary folder.

    Raises:
        OSError: not even a temporary folder can be made.
    """
    folder = usual_cache()
    return folder if folder is not None and why_unusable(folder) is None else temporary_folder()


def usual_cache() -> Path | None:
    """$XDG_CACHE_HOME/shb or ~/.cache/shb, whether it can be written or not; None for a user without a home."""
    folder = usual_folder("XDG_CACHE_HOME", ".cache")
    return folder / "shb" if folder else None


@functools.lru_cache(maxsize=64)
def why_unusable(folder: Path) -> str | None:
    """Why no file can be made in `folder`, which is made if it is absent; None if one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror or error}"


def temporary_folder(reason: str | None = None) -> Path:
    """The temporary folder of this user, `shb-UID` in that of the system; says so, once, for the `reason`.

    Only this user may enter it. What somebody else has put in its place is not used: then it lasts for this process
    and those that it starts.

    Raises:
        OSError: there is no folder for temporary files.
    """
    known = os.environ.get(_REPLACEMENT)
    if known and _private(Path(known)):
        return Path(known)
    uid = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"shb-{uid}"
    with contextlib.suppress(OSError):  # what is there may be no folder
        folder.mkdir(mode=0o700, exist_ok=True)
    if not _private(folder):
        folder = Path(tempfile.mkdtemp(prefix="shb-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_REPLACEMENT] = str(folder)
    if reason is None:
        usual = usual_cache()
        reason = f"{usual} cannot be written ({why_unusable(usual)})" if usual else "this user has no home folder"
    notice(f"{reason}: what is compiled is kept in {folder}; XDG_CACHE_HOME names another folder")
    return folder


def _private(folder: Path) -> bool:
    """Whether it is a folder (no link) of this user that nobody else may enter, and files can be made in it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    own = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return stat.S_ISDIR(found.st_mode) and own and why_unusable(folder) is None


def notice(text: str) -> None:
    """One line on stderr, once per process. (A logger would be silent: Hydra switches off those that exist.)"""
    if text not in _said:
        _said.add(text)
        print(text, file=sys.stderr)
