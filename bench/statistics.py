"""Medians over seeds and their seeded bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

RESAMPLES = 10_000


class Interval(NamedTuple):
    """A median with the ends of its percentile bootstrap interval, in the unit of the values."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Median of `values` [seeds] and its `level` percentile bootstrap interval, resampling seeds.

    Infinite values (diverged, target missed) are allowed and count as the worst; an empty sequence gives NaN.
    The interval depends on the sorted values and `seed` only. With few seeds it is optimistic: for n = 10
    normal values a 95 % interval covered the median in 92 % of 400 simulated cases.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        return Interval(np.nan, np.nan, np.nan)
    draws = np.random.default_rng(seed).integers(0, len(ordered), (RESAMPLES, len(ordered)))
    medians = _median(ordered[draws])
    tails = (1 - level) / 2
    low, high = np.quantile(medians, [tails, 1 - tails], method="inverted_cdf")
    return Interval(float(_median(ordered[None])[0]), float(low), float(high))


def seed_values(members: pl.DataFrame, metric: str) -> list[float]:
    """Values of `metric` over member rows (seeds), with the worst possible one for a diverged seed."""
    worst = 0.0 if "accuracy" in metric else math.inf
    return members[metric].fill_null(worst).fill_nan(worst).to_list()


def _median(rows: np.ndarray) -> np.ndarray:
    """Row medians that treat infinities as values (inf and a number average to inf, not NaN)."""
    ordered = np.sort(rows, axis=1)
    n = ordered.shape[1]
    lower, upper = ordered[:, (n - 1) // 2], ordered[:, n // 2]
    with np.errstate(invalid="ignore"):
        return np.where(lower == upper, lower, (lower + upper) / 2)
