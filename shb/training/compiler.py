"""Compiling a traced module with torch's Inductor, for a GPU; its cache (`determinism.py`) lasts between processes."""

from __future__ import annotations

import functools
import logging
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

from shb.errors import CompilationError
from shb.kernels import load

_spent = 0.0


def compile_module(module: fx.GraphModule, examples: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """A function that computes what `module` does for tensors with the sizes and strides of `examples`.

    It computes elementwise operations in the order given and without contraction; reductions must be `opaque`.

    Raises:
        CompilationError: whatever the compiler says, in one line.
    """
    global _spent
    started = time.perf_counter()
    try:
        # it warns of a CUDA_HOME without a CUDA device, which is nobody's fault
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        from torch._inductor import standalone_compile  # seconds to import

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return standalone_compile(module, list(examples), dynamic_shapes="from_example_inputs")
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CompilationError(text) from error
    finally:
        _spent += time.perf_counter() - started


def seconds_spent() -> float:
    """Wall time that this process has spent compiling, in seconds; the difference of two calls is what lies between."""
    return _spent


@functools.cache
def why_not() -> str | None:
    """Why nothing can be compiled on this machine (no C++ compiler, ...), or None; builds the native operations."""
    global _spent
    try:
        _spent += load()
        if torch.cuda.is_available():
            example = torch.zeros(4, device="cuda")
            compile_module(fx.symbolic_trace(lambda a, b: (a + b,)), [example, example])
    except CompilationError as error:
        return str(error)
    return None
