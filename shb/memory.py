"""How much memory this process may still take: of what the machine has left, what a container's limit leaves."""

from __future__ import annotations

import os
from pathlib import Path

from shb.cgroup import limit_folders

try:
    import resource
except ImportError:  # not POSIX
    resource = None  # type: ignore[assignment]  # a module, to mypy

_FILES = {  # limit, use, and what of the use is a cache that the system gives back, of version 2 and of version 1
    "memory.max": ("memory.current", "inactive_file"),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file"),
}


def usable_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be had without swapping, but no more than the memory limit of the cgroup (v1, v2) and the limit of
    the address space (ulimit -v) leave; None where the system does not say.

    Args:
        root: of the file system with /proc and /sys.
    """
    left = [_available(root), _address_space(root), *map(_left, limit_folders("memory", root))]
    return min((max(0, bytes_) for bytes_ in left if bytes_ is not None), default=None)


def _available(root: Path) -> int | None:
    """Of the machine; where only its whole memory is known, that."""
    try:
        lines = (root / "proc" / "meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _address_space(root: Path) -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    if limit < 0 or limit == resource.RLIM_INFINITY:
        return None
    try:
        return limit - int((root / "proc" / "self" / "statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return limit


def _left(folder: Path) -> int | None:
    """What the limit in the files of `folder` leaves; None if there is none."""
    for limit, (use, cache) in _FILES.items():
        try:
            left = int((folder / limit).read_text()) - int((folder / use).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return left + int(stat.get(cache, 0))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None
