"""Where the limits of a container lie: the folders of the control group of this process, in both versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def limit_folders(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders whose files may limit this process: of its group and of those above it, whose limits hold for all below.

    They need not exist. Nothing where there are no control groups.

    Args:
        controller: what is limited, "cpu" or "memory".
        root: of the file system with /proc and /sys.
    """
    mounted = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        below = PurePosixPath(path.lstrip("/"))
        for place in (below, *below.parents):
            for name in (controllers, controller) if controllers else ("", "unified"):
                yield mounted / name / place
