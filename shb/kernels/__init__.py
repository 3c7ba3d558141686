"""Kernels of a stack: convolutions as traceable operations, and native operations for a CPU."""

from shb.kernels.convolution import Convolution
from shb.kernels.instructions import Unsupported
from shb.kernels.library import built, load
from shb.kernels.lowering import use_native
from shb.kernels.recording import record
from shb.kernels.recurrence import Recurrence
from shb.kernels.tape import Tape

__all__ = [
    "Convolution",
    "Recurrence",
    "Tape",
    "Unsupported",
    "built",
    "load",
    "record",
    "use_native",
]
