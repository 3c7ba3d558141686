"""Oscillations of a recorded objective over windows of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def oscillations(values: np.ndarray, at: Sequence[int], windows: Sequence[tuple[int, int]]) -> np.ndarray:
    """max - min of `values` [n, len(at)] over each window low <= k <= high of the steps `at`: [n, len(windows)]."""
    k = np.asarray(at)
    return np.stack([np.ptp(values[:, (low <= k) & (k <= high)], axis=1) for low, high in windows], 1)
