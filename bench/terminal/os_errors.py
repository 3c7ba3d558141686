"""What the operating system refused, in one line, and what to do about it."""

from __future__ import annotations

import errno
import os

_ROOM = "make room"
_PLACE = "choose another results_dir, or allow writing there"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: "make room, your quota is used up",
    errno.EFBIG: "choose another results_dir: files may not be that large there",
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EROFS: "choose another results_dir: nothing can be written there",
    errno.ENOTDIR: "choose another path: a part of it is a file, not a folder",
    errno.EISDIR: "choose another path, or move the folder that is there",
    errno.EEXIST: "choose another path, or move what is there",
    errno.ENOENT: "check the path: a part of it does not exist",
    errno.ELOOP: "check the path: its links go round in a circle",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs: the machine has too many open files",
    errno.ENOMEM: "free memory",
    errno.ESTALE: "the file server has changed it meanwhile",
    errno.EIO: "check the disk or the file server",
    errno.ETIMEDOUT: "check the file server or the network",
}


def said(error: OSError) -> str:
    """The path, where it is known, and the system's own words."""
    path = error.filename2 or error.filename
    text = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(path)}: {text}" if isinstance(path, (str, bytes)) else text


def advice(number: int | None) -> str:
    """What to do about an error of this number (errno)."""
    return f"{_ADVICE[number]} and repeat the command" if number in _ADVICE else "repeat the command"
