"""What a result was computed with: code version, libraries, processor. Stored with every member."""

from __future__ import annotations

import functools
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
TIED_TO = ("cpu", "torch", "threads")  # columns on which the last bits of what a CPU computes depend


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    """Processor model, e.g. "AMD EPYC" plus family and model, which decide the kernels that run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name, family, model = (facts.get(key, "") for key in ("model name", "cpu family", "model"))
    return f"{name} (family {family}, model {model})" if name else platform.machine()


@functools.cache
def code_version() -> tuple[str, bool]:
    """Commit of the checkout, and whether its code or configurations differ from it; ("unknown", True) without git."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "shb", "bench", "conf")
    return (commit, bool(changes)) if commit else ("unknown", True)


def environment(device: str) -> dict[str, str | int | bool]:
    """Columns that say what a member on `device` ("cpu" or "cuda") was computed with."""
    import torch  # here, because those who read results need none

    commit, dirty = code_version()
    return {
        "code_commit": commit,
        "code_dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
