"""The one rule for quantiles: each is one of the values, the smallest with at least that share at or below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROUNDING = 1e-9  # a share times a count that is whole but for its rounding is whole


def quantile_rank(share: float, count: np.ndarray | int) -> np.ndarray:
    """Place, from 0, of the quantile `share` among `count` sorted values; numbers or arrays."""
    return np.maximum(np.ceil(share * np.asarray(count) - _ROUNDING).astype(np.int64) - 1, 0)


def quantile_bands(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles `shares` over seeds (axis 0) of `values` [seeds, points], [shares, points]; NaN is left out.

    The median of an even number is the mean of the two in the middle, as in the leaderboard. No seed at all: NaN.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    count = (~np.isnan(values)).sum(axis=0)
    lines = np.full((len(shares), values.shape[1]), np.nan)
    columns = np.arange(values.shape[1])
    for row, share in enumerate(shares):
        upper = lower = quantile_rank(share, count)
        if share == 0.5:
            upper = np.minimum(count // 2, len(values) - 1)
        low, high = ordered[lower, columns], ordered[upper, columns]
        lines[row] = np.where(low == high, low, (low + high) / 2)
    return np.where(count > 0, lines, np.nan)
