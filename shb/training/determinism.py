"""Process settings under which a member's bits do not depend on the stack it runs in, and memory is reused.

* On x86 CPUs torch's matrix products come from MKL, whose kernels depend on the alignment of each matrix unless
  its conditional numerical reproducibility (MKL_CBWR) is on; MKL reads the variable at its first call.
* glibc returns large blocks to the system after every use, so that every step pays for fresh pages; keeping
  them makes steps on large activations 1.3 to 2 times faster. The process keeps its peak memory.
* torch starts a thread per processor of the machine, also where a container has a quota of fewer: threads that are
  never scheduled together wait for each other. Whoever sets OMP_NUM_THREADS decides alone. The number is recorded with
  a member; the bit rule holds for each.
* torch keeps compiled programs below /tmp, which is lost at a restart; the user's cache folder is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

from shb.cpus import usable_cpus
from shb.folders import cache_folder

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc malloc.h


def prepare_process() -> None:
    """Apply the settings; call before the first matrix product (importing shb.training does it)."""
    os.environ.setdefault("MKL_CBWR", "AUTO")
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        with contextlib.suppress(OSError):  # nothing can be written anywhere: what needs it will say so
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder() / "inductor")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if "OMP_NUM_THREADS" not in os.environ and (cpus := usable_cpus()) < torch.get_num_threads():
        torch.set_num_threads(cpus)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
