"""Medians and interquartile means over seeds, and the one rule for their intervals (docs/ranking.md)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.special import ndtr, stdtrit

from bench.statistics.metric import Metric

RESAMPLES = 10_000
MANY = 1000  # seeds from which on resamples of the median are drawn without those of all seeds
LEVEL = 0.95


class Interval(NamedTuple):
    """A statistic of the seeds with the ends of its bootstrap interval, in the unit of the values."""

    value: float
    low: float
    high: float


def median(values: Sequence[float]) -> float:
    """Median of `values` [seeds], infinities allowed; NaN if there are none."""
    return _point(values, median_weights)


def interquartile_mean(values: Sequence[float]) -> float:
    """Interquartile mean of `values` [seeds], infinities allowed; NaN if there are none."""
    return _point(values, interquartile_weights)


def median_interval(values: Sequence[float], *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Median of `values` [seeds] and its `level` bootstrap interval; see `_interval`."""
    return _interval(values, median_weights, level, seed)


def interquartile_interval(values: Sequence[float], *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Interquartile mean of `values` [seeds] and its `level` bootstrap interval; see `_interval`."""
    return _interval(values, interquartile_weights, level, seed)


def _point(values: Sequence[float], weights: Callable[[int], np.ndarray]) -> float:
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(weighted_mean(ordered, weights(len(ordered)))) if len(ordered) else math.nan


def _interval(values: Sequence[float], weights: Callable[[int], np.ndarray], level: float, seed: int) -> Interval:
    """The statistic with `weights` of the sorted `values` [seeds], and its percentile interval from resampled seeds.

    The percentiles are those of `tail`: with the usual ones a 95 % interval covers 93 to 94 % at n = 10 and 20, with
    these 95 to 97 % (normal and skewed data; measured in docs/ranking.md). For n < 6 the range of the values, which no
    interval leaves, covers the median in 1 - 2^(1 - n) of cases only; one value gives itself.
    Infinite values (diverged, target missed) are allowed and count as the worst; no values give NaN.
    The interval depends on the sorted values and `seed` only.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if not n:
        return Interval(math.nan, math.nan, math.nan)
    return Interval(_point(ordered, weights), *ends(_resampled(ordered, weights(n), seed), tail(n - 1, level)))


def _resampled(ordered: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """The statistic with these weights [n] of RESAMPLES resamples of `ordered` [n]."""
    n, (used,) = len(ordered), np.nonzero(weights)
    if n <= MANY:
        return weighted_mean(ordered[sorted_draws(n, seed)], weights)
    if len(used) <= 2:
        return weighted_mean(ordered[middle_draws(n, used, seed)], weights[used])
    generator, rows = np.random.default_rng(seed), max(1, 10**7 // n)  # some at a time: memory
    return np.concatenate(
        [
            weighted_mean(ordered[np.sort(generator.integers(0, n, (min(rows, RESAMPLES - done), n)), axis=1)], weights)
            for done in range(0, RESAMPLES, rows)
        ]
    )


def stratified_mean_interval(strata: Sequence[Sequence[float]], *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Mean over `strata` (problems) of the means of their finite values [seeds], and its bootstrap interval.

    Seeds are resampled within each stratum, strata are not: the interval is about these problems. A bootstrap of means
    is too narrow by the factor sqrt((n - 1) / n), for which `tail` makes up. The result depends on the order of the
    strata and on the sorted values in each; no strata, or an empty one, give NaN.
    """
    ordered = [np.sort(np.asarray(values, dtype=np.float64)) for values in strata]
    if not ordered or not all(map(len, ordered)):
        return Interval(math.nan, math.nan, math.nan)
    count = sum(map(len, ordered))
    free = count - len(ordered)
    draws = np.mean(
        [own[sorted_draws(len(own), seed + index)].mean(axis=1) for index, own in enumerate(ordered)], axis=0
    )
    share = tail(free, level, math.sqrt(count / free)) if free else 0.0
    return Interval(float(np.mean([own.mean() for own in ordered])), *ends(draws, share))


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


@functools.lru_cache(maxsize=16)
def sorted_draws(n: int, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices [resamples, n] of resampled seeds, each row sorted: sorted values stay sorted under them."""
    draws = np.sort(np.random.default_rng(seed).integers(0, n, (resamples, n)), axis=1)
    draws.flags.writeable = False
    return draws


def middle_draws(n: int, ranks: Sequence[int], seed: int = 0) -> np.ndarray:
    """One or two neighbouring columns `ranks` of `sorted_draws`, by law and not by bits: indices [RESAMPLES, ranks].

    The (k + 1)-th smallest of n uniform numbers has the law Beta(k + 1, n - k), and the next one lies above it by the
    share Beta(1, n - k - 1) of what is left.
    """
    generator, k = np.random.default_rng(seed), int(ranks[0])
    columns = [generator.beta(k + 1, n - k, RESAMPLES)]
    if len(ranks) > 1:
        columns.append(columns[0] + (1 - columns[0]) * generator.beta(1, n - k - 1, RESAMPLES))
    return np.minimum((n * np.stack(columns, axis=1)).astype(np.int64), n - 1)


def tail(degrees_of_freedom: int, level: float = LEVEL, stretch: float = 1.0) -> float:
    """Share of the resamples beyond each end of a percentile interval: Phi(stretch * t), t Student's quantile.

    Percentile intervals of few values are too short, as a normal interval with an estimated deviation is; the quantile
    of (1 - level) / 2 under Student's distribution is the remedy there, and here (Hesterberg 2015, The American
    Statistician 69, 371-386). His further factor sqrt(n / (n - 1)) is for means, as the `stretch` of
    `stratified_mean_interval`; it makes intervals of medians and interquartile means too long (docs/ranking.md).
    """
    return float(ndtr(stretch * stdtrit(degrees_of_freedom, (1 - level) / 2))) if degrees_of_freedom > 0 else 0.0


def ends(draws: np.ndarray, tail: float) -> tuple[float, float]:
    """The values of `draws` [resamples] (infinities allowed) that leave a share `tail` beyond them on either side."""
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def seed_values(members: pl.DataFrame, metric: str) -> list[float]:
    """Values of `metric` over member rows (seeds), with the worst possible one for a diverged seed."""
    worst = Metric(metric).worst
    return members[metric].fill_null(worst).fill_nan(worst).to_list()


def finite_or_none(value: float | None) -> float | None:
    """`value`, or None where it is infinite or NaN: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None
