"""Random bits of many seeds, drawn by native/random.h: those of shb/streams.py, which says what they are."""

from __future__ import annotations

import numpy as np
import torch


def words(seeds: np.ndarray, name: int, index: int, count: int) -> np.ndarray:
    """uint64 [count, n] of `seeds`, uint64 [n]."""
    return torch.ops.shb.native_words(_keys(seeds), index, name, count).numpy().view(np.uint64)


def signs(seeds: np.ndarray, name: int, start: int, stop: int) -> np.ndarray:
    """int8 [stop - start, n] of `seeds`, uint64 [n]."""
    return torch.ops.shb.native_signs(_keys(seeds), name, start, stop).numpy()


def _keys(seeds: np.ndarray) -> torch.Tensor:
    """Seeds as the native operations take them: the bits of uint64 as int64."""
    return torch.from_numpy(np.ascontiguousarray(seeds).view(np.int64))
