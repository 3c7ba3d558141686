"""Medians and interquartile means over seeds; their intervals are in bench.statistics.bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from bench.statistics.metric import Metric


def median(values: Sequence[float]) -> float:
    """Median of `values` [seeds], infinities allowed; NaN if there are none."""
    return point(values, median_weights)


def interquartile_mean(values: Sequence[float]) -> float:
    """Interquartile mean of `values` [seeds], infinities allowed; NaN if there are none."""
    return point(values, interquartile_weights)


def point(values: Sequence[float] | np.ndarray, weights: Callable[[int], np.ndarray]) -> float:
    """Sum of `weights(n)` times the n sorted `values`, infinities allowed; NaN if there are none."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(weighted_mean(ordered, weights(len(ordered)))) if len(ordered) else math.nan


def median_weights(n: int) -> np.ndarray:
    """Weights [n] of the order statistics whose sum is the median."""
    weights = np.zeros(n)
    if n:
        weights[(n - 1) // 2] += 0.5
        weights[n // 2] += 0.5
    return weights


def interquartile_weights(n: int) -> np.ndarray:
    """Weights [n] of the order statistics whose sum is the interquartile mean, 2 * integral of the quantile function
    over [1/4, 3/4]: the middle half of the values, those at its edges by the part that lies inside."""
    edges = np.arange(n + 1) / max(n, 1)
    return 2 * np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)


def weighted_mean(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of `weights` [n] times `ordered` [..., n], rows sorted; what has no weight may be infinite."""
    (used,) = np.nonzero(weights)
    total = weights[used[0]] * ordered[..., used[0]]
    for column in used[1:]:  # one after the other: a matrix product would round as the processor likes
        total = total + weights[column] * ordered[..., column]
    return np.clip(total, ordered[..., used[0]], ordered[..., used[-1]])  # equal values give themselves, to the bit


def seed_values(members: pl.DataFrame, metric: str) -> list[float]:
    """Values of `metric` over member rows (seeds), with the worst possible one for a diverged seed."""
    worst = Metric(metric).worst
    return members[metric].fill_null(worst).fill_nan(worst).to_list()


def finite_or_none(value: float | None) -> float | None:
    """`value`, or None where it is infinite or NaN: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None
