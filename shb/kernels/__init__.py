"""Kernels of a stack: convolutions as traceable operations, and native operations for a CPU."""

from shb.kernels.convolution import Convolution
from shb.kernels.elementwise import join_elementwise
from shb.kernels.library import cache_folder, load
from shb.kernels.lowering import round_roots, use_native

__all__ = ["Convolution", "cache_folder", "join_elementwise", "load", "round_roots", "use_native"]
