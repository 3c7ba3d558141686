"""How many processors this process may use: of those it may run on, what a container's quota leaves."""

from __future__ import annotations

import os
from pathlib import Path

from shb.cgroup import limit_folders


def usable_cpus(root: Path = Path("/")) -> int:
    """Processors in the affinity of this process, but no more than the CPU quota of its cgroup (v1, v2), rounded up.

    Args:
        root: of the file system with /proc and /sys.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = filter(None, map(_quota, limit_folders("cpu", root)))
    return max(1, min([affinity, *quotas]))


def _quota(folder: Path) -> int | None:
    """Processors that the files in `folder` allow, at least 1; None if there is no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(1, -(-int(quota) // int(period))) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # no such file, or "max"
        return None
