"""Builds the folder `native` for this processor, once per machine, and loads it."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import time
from pathlib import Path

import torch

from shb.errors import CompilationError
from shb.folders import notice
from shb.kernels import random
from shb.kernels.compiler import call_compiler, compiler
from shb.kernels.enumerations import header
from shb.kernels.keeping import discard, find, keep
from shb.streams import draw_with

SOURCE = Path(__file__).with_name("native") / "operations.cpp"
# native: vectors as wide as the processor's; no -ffast-math: the order of every sum stays as written
OPTIMIZATION = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
# SHB_SANITIZE=1: a read or write outside a tensor, or undefined arithmetic, ends the process with a report. Such a
# process must be started with the sanitizers' libraries in LD_PRELOAD (tests/shb/kernels/test_sanitizers.py).
SANITIZERS = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SANITIZING = SANITIZERS if os.environ.get("SHB_SANITIZE") == "1" else ()
FLAGS = ("-std=c++20", *OPTIMIZATION, *SANITIZING)
# without contraction: operations that a tape does one after the other keep their rounding
C_FLAGS = ("-xc", "-std=c17", *OPTIMIZATION, *SANITIZING, "-ffp-contract=off", "-shared")
# a sum of products that is 2^-24 if it is made of fused multiply-adds, and else 0 (the sanitizers' -O0 fuses none)
_FUSED = """
x, y = torch.tensor([[[-1 - 2**-11, 1 + 2**-12]]]), torch.tensor([[[1.0], [1 + 2**-12]]])
assert torch.ops.shb.native_bmm(x, y).item() == 2**-24, "multiply-adds are not fused: members would have other bits"
"""
# what another process does with a library before this one trusts it
_TRIAL = """
import torch, shb.kernels
torch.ops.load_library(path)
torch.classes.shb.Tape
one = torch.ones(1, 2, 2)
assert torch.equal(torch.ops.shb.native_bmm(one, one), 2 * one), "wrong product"
""" + ("" if SANITIZING else _FUSED)
_C_TRIAL = "import ctypes\nlibrary = ctypes.CDLL(path)\n"


@functools.cache
def load() -> float:
    """Make the operations of `native` callable, and let them draw for `shb.streams`; returns the seconds it took.

    Raises:
        CompilationError: no compiler, or what the compiler or the linker says, in one line.
    """
    started = time.perf_counter()
    try:
        library = keep(_name(), _build, _TRIAL)
        try:
            torch.ops.load_library(str(library))
        except OSError as error:  # built where the system libraries were others
            notice(f"{library} cannot be loaded here ({_one_line(error)}); it is built again")
            discard(library)
            torch.ops.load_library(str(keep(_name(), _build, _TRIAL)))
    except OSError as error:
        raise CompilationError(_one_line(error)) from error
    draw_with(random)
    return time.perf_counter() - started


def built() -> bool:
    """Whether the operations were built before, for this processor and this source; False without a compiler."""
    try:
        return find(_name()) is not None
    except (CompilationError, OSError):
        return False


def build_source(source: str, function: str | None = None) -> Path:
    """The library of a C source that needs nothing but the C library: built once per machine, kept as `native` is.

    Args:
        function: must be in the library.

    Raises:
        CompilationError: as `load`.
    """

    def build(scratch: Path, target: Path) -> None:
        (scratch / "source.c").write_text(source)
        call_compiler([compiler(), *C_FLAGS, str(scratch / "source.c"), "-o", str(target), "-lm"], scratch)

    try:
        return keep(_key(source, *C_FLAGS), build, _C_TRIAL + (f"library.{function}" if function else ""))
    except OSError as error:
        raise CompilationError(_one_line(error)) from error


def _build(scratch: Path, target: Path) -> None:
    # importing it warns of a CUDA_HOME without a CUDA device, which is nobody's fault
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.cpp_extension import include_paths, library_paths

    (scratch / "enumerations.h").write_text(header())
    includes = [f"-I{path}" for path in (scratch, *include_paths())]
    libraries = [*(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10"]
    compiled = scratch / "native.o"
    call_compiler([compiler(), *FLAGS, "-fopenmp", *includes, "-c", str(SOURCE), "-o", str(compiled)], scratch)
    # not linked with OpenMP: torch's own is used, whose threads would otherwise compete with those of a second one
    call_compiler([compiler(), "-shared", *SANITIZING, str(compiled), "-o", str(target), *libraries], scratch)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _name() -> str:
    sources = [path.read_text() for path in sorted(SOURCE.parent.iterdir())]
    return _key(*sources, header(), *FLAGS, torch.__version__)


def _key(*sources: str) -> str:
    """The name under which the library of `sources` is kept: a cache may be shared by several machines."""
    parts = [*sources, compiler(), platform.machine(), _processor()]
    return f"native_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"


def _processor() -> str:
    """What the processor can do, as the kernel lists it; elsewhere its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
