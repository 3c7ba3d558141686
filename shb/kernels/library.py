"""Builds the folder `native` for this processor, once per machine, and loads it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from shb.errors import CompilationError
from shb.folders import cache_folder

SOURCE = Path(__file__).with_name("native") / "operations.cpp"
# native: vectors as wide as the processor's; no -ffast-math: the order of every sum stays as written
OPTIMIZATION = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
FLAGS = ("-std=c++20", *OPTIMIZATION)
# without contraction: operations that a tape does one after the other keep their rounding
C_FLAGS = ("-xc", "-std=c17", *OPTIMIZATION, "-ffp-contract=off", "-shared")
_TIMEOUT = 300  # seconds for the compiler
_UNUSED = 30 * 86400  # seconds after which what was built may go


@functools.cache
def load() -> float:
    """Make the operations of `native` callable; returns the seconds it took.

    Raises:
        CompilationError: no compiler, or what the compiler or the linker says, in one line.
    """
    started = time.perf_counter()
    try:
        library = _library()
        if not library.exists():
            _build(library)
            _remove_unused(library.parent)
        _note_use(library)
        torch.ops.load_library(str(library))
    except OSError as error:
        raise CompilationError(" ".join(f"{type(error).__name__}: {error}".split())[:300]) from error
    return time.perf_counter() - started


def _note_use(library: Path) -> None:
    with contextlib.suppress(OSError):  # the cache may be read-only
        os.utime(library)


def _remove_unused(folder: Path) -> None:
    """Delete what was built for sources that nobody has used for a month."""
    for old in folder.glob("native_*.so"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _UNUSED:
                old.unlink()


def built() -> bool:
    """Whether the operations were built before, for this processor and this source."""
    try:
        return _library().exists()
    except (CompilationError, OSError):
        return False


def loaded() -> bool:
    """Whether `load` has been called."""
    return load.cache_info().currsize > 0


def _library() -> Path:
    sources = [path.read_text() for path in sorted(SOURCE.parent.iterdir())]
    return _place(*sources, *FLAGS, torch.__version__)


def build_source(source: str) -> Path:
    """The library of a C source that needs nothing but the C library: built once per machine, kept as `native` is.

    Raises:
        CompilationError: as `load`.
    """
    try:
        library = _place(source, *C_FLAGS)
        if not library.exists():
            with _built(library) as (folder, linked):
                Path(folder, "source.c").write_text(source)
                _run([compiler(), *C_FLAGS, str(Path(folder, "source.c")), "-o", str(linked), "-lm"])
        _note_use(library)
    except OSError as error:
        raise CompilationError(" ".join(f"{type(error).__name__}: {error}".split())[:300]) from error
    return library


def compiler() -> str:
    """The C++ compiler: $CXX, g++ or c++."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++"]
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        raise CompilationError(f"no C++ compiler: none of {', '.join(wanted)} is in PATH")
    return found


def _build(library: Path) -> None:
    # importing it warns of a CUDA_HOME without a CUDA device, which is nobody's fault
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.cpp_extension import include_paths, library_paths

    includes = [f"-I{path}" for path in include_paths()]
    libraries = [*(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10"]
    with _built(library) as (folder, linked):
        compiled = Path(folder, "native.o")
        _run([compiler(), *FLAGS, "-fopenmp", *includes, "-c", str(SOURCE), "-o", str(compiled)])
        # not linked with OpenMP: torch's own is used, whose threads would otherwise compete with those of a second one
        _run([compiler(), "-shared", str(compiled), "-o", str(linked), *libraries])


@contextlib.contextmanager
def _built(library: Path) -> Iterator[tuple[Path, Path]]:
    """A folder to compile in, and a file there that becomes `library` at the end: nobody sees a part of it."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        linked = Path(folder, "linked.so")
        yield Path(folder), linked
        os.replace(linked, library)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise CompilationError(f"{command[0]} took more than {_TIMEOUT} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:] or [""]
        raise CompilationError(f"{command[0]} failed: {lines[0].strip()}"[:300])


def _place(*sources: str) -> Path:
    """Where the library of `sources` is kept: a cache may be shared by several machines."""
    parts = [*sources, compiler(), platform.machine(), _processor()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "kernels" / f"native_{key}.so"


def _processor() -> str:
    """What the processor can do, as the kernel lists it; elsewhere its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
