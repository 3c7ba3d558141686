"""Kernels of a stack: convolutions as traceable operations, and native operations for a CPU."""

from shb.kernels.convolution import Convolution
from shb.kernels.library import cache_folder, load
from shb.kernels.lowering import round_roots, use_native

__all__ = ["Convolution", "cache_folder", "load", "round_roots", "use_native"]
