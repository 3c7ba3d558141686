"""Intervals from resampled seeds: percentiles with Student's quantile for medians, BCa for any other statistic.

Both draw their resamples by bench.statistics.resampling and take quantiles of them by bench.statistics.quantiles. Which
is used where, why one does not serve for both, and how often each covers the truth: docs/decisions/intervals.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from bench.statistics.estimates import CONFIDENCE, Estimate, finite, is_count, sample
from bench.statistics.medians import interquartile_weights, median_weights, point, weighted_mean
from bench.statistics.quantiles import quantile_rank
from bench.statistics.resampling import RESAMPLES, batches, draw, middle_draws, sorted_draws
from shb.errors import ConfigurationError

MANY = 1000  # seeds from which on resamples of the median are drawn without those of all seeds


class Interval(NamedTuple):
    """A statistic of the seeds with the ends of its bootstrap interval, in the unit of the values."""

    value: float
    low: float
    high: float


def median_interval(values: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """Median of `values` [seeds] and its `confidence` bootstrap interval; see `_interval`."""
    return _interval(values, median_weights, confidence, seed)


def interquartile_interval(values: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """Interquartile mean of `values` [seeds] and its `confidence` bootstrap interval; see `_interval`."""
    return _interval(values, interquartile_weights, confidence, seed)


def _interval(values: Sequence[float], weights: Callable[[int], np.ndarray], confidence: float, seed: int) -> Interval:
    """The statistic with `weights` of the sorted `values` [seeds], and its percentile interval from resampled seeds.

    The percentiles are those of `tail_share`: a 95 % interval of the usual ones covers 93 to 94 % at n = 10 and 20, of
    these 95 to 97 % (normal and skewed data; measured in docs/ranking.md). For n < 6 the range of the values, which no
    interval leaves, covers the median in 1 - 2^(1 - n) of cases only; one value gives itself.
    Infinite values (diverged, target missed) are allowed and count as the worst; no values give NaN.
    The interval depends on the sorted values and `seed` only.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if not n:
        return Interval(math.nan, math.nan, math.nan)
    return Interval(
        point(ordered, weights), *percentile_ends(_resampled(ordered, weights(n), seed), tail_share(n - 1, confidence))
    )


def _resampled(ordered: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """The statistic with these weights [n] of RESAMPLES resamples of `ordered` [n]."""
    n, (used,) = len(ordered), np.nonzero(weights)
    if n <= MANY:
        return weighted_mean(ordered[sorted_draws(n, seed)], weights)
    if len(used) <= 2:
        return weighted_mean(ordered[middle_draws(n, used, seed)], weights[used])
    generator = np.random.default_rng(seed)
    drawn = (np.sort(draw(generator, n, len(batch)), axis=1) for batch in batches(RESAMPLES, n))
    return np.concatenate([weighted_mean(ordered[rows], weights) for rows in drawn])


def stratified_mean_interval(
    strata: Sequence[Sequence[float]], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Mean over `strata` (problems) of the means of their finite values [seeds], and its bootstrap interval.

    Seeds are resampled within each stratum, strata are not: the interval is about these problems. A bootstrap of means
    is too narrow by the factor sqrt((n - 1) / n), for which `tail_share` makes up. The result depends on the order of
    the strata and on the sorted values in each; no strata, or an empty one, give NaN.
    """
    ordered = [np.sort(np.asarray(values, dtype=np.float64)) for values in strata]
    if not ordered or not all(map(len, ordered)):
        return Interval(math.nan, math.nan, math.nan)
    count = sum(map(len, ordered))
    free = count - len(ordered)
    draws = np.mean(
        [values[sorted_draws(len(values), seed + index)].mean(axis=1) for index, values in enumerate(ordered)], axis=0
    )
    share = tail_share(free, confidence, math.sqrt(count / free)) if free else 0.0
    return Interval(float(np.mean([values.mean() for values in ordered])), *percentile_ends(draws, share))


def tail_share(degrees_of_freedom: int, confidence: float = CONFIDENCE, stretch: float = 1.0) -> float:
    """Share of the resamples beyond each end of a percentile interval: Phi(stretch * t), t Student's quantile.

    Percentile intervals of few values are too short, as a normal interval with an estimated deviation is; the quantile
    of (1 - confidence) / 2 under Student's distribution is the remedy there, and here (Hesterberg 2015, The American
    Statistician 69, 371-386). His further factor sqrt(n / (n - 1)) is for means, as the `stretch` of
    `stratified_mean_interval`; it makes intervals of medians and interquartile means too long (docs/ranking.md).
    """
    return float(ndtr(stretch * stdtrit(degrees_of_freedom, (1 - confidence) / 2))) if degrees_of_freedom > 0 else 0.0


def percentile_ends(draws: np.ndarray, tail: float) -> tuple[float, float]:
    """The values of `draws` [resamples] (infinities allowed) that leave a share `tail` beyond them on either side."""
    ranks = [quantile_rank(share, len(draws)) for share in (tail, 1 - tail)]
    low, high = np.partition(draws, ranks)[ranks]
    return float(low), float(high)


class Bootstrap(Estimate):
    """Any statistic with a seeded BCa bootstrap interval (Efron 1987), resampling rows, the unit of replication.

    Args:
        statistic: `statistic(*arrays) -> float`; with `vectorized` it gets [batch, rows, ...] and returns [batch].
        arrays: one or more [n, ...]. `paired` ones share their rows and are resampled jointly; otherwise each is a
            sample of its own (any lengths, stratified resampling) and `n` counts all rows.
        seed: of the draws. Rows are sorted first: the interval does not depend on their order.
        resamples: size of the stored distribution; no p-value below 2 / (resamples + 1) is given.

    `method` is "BCa" (with `bias`, `acceleration`) or "percentile" with the `reason` why BCa cannot be computed. With
    few or skewed rows intervals are optimistic, most of all in the far tails that Holm asks for. Measured over 3,000
    samples, at 95 and 99.9 %: mean of 30 exponential rows 92 and 99.0, their median 95 and 99.7, mean of 30 lognormal
    rows 89 and 97.1, mean of 10 normal rows 90 and 97.7 (`Mean` is exact there).
    """

    value: float
    n: int

    def __init__(
        self,
        statistic: Callable[..., Any],
        *arrays: Any,
        seed: int,
        resamples: int = RESAMPLES,
        vectorized: bool = False,
        paired: bool = True,
    ) -> None:
        if not is_count(resamples) or resamples < 100:
            raise ConfigurationError("resamples", resamples, "a whole number >= 100")
        columns = [sample(f"arrays[{index}]", array, any_shape=True) for index, array in enumerate(arrays)]
        if not columns or (paired and len({len(column) for column in columns}) > 1):
            raise ConfigurationError("arrays", [len(column) for column in columns], "arrays with one row per seed")
        groups = [_in_order(group) for group in ([columns] if paired else [[column] for column in columns])]

        def batch(gathered: list[np.ndarray]) -> np.ndarray:
            found = statistic(*gathered) if vectorized else [statistic(*rows) for rows in zip(*gathered)]
            found = np.asarray(found, dtype=np.float64)
            if found.shape != gathered[0].shape[:1]:
                raise ConfigurationError("statistic", f"shape {found.shape}", "one number per sample")
            return found

        whole = [column[None] for group in groups for column in group]
        self.value = float(finite("statistic", batch(whole))[0])
        self.n = sum(len(group[0]) for group in groups)
        self.smallest_alpha = 2 / (resamples + 1)
        draws = [batch(gathered) for gathered in _resamples(groups, seed, resamples)]
        self._ordered = np.sort(finite("statistic of a resample", np.concatenate(draws)))
        below = np.searchsorted(self._ordered, self.value, "left") + np.searchsorted(self._ordered, self.value, "right")
        self.bias = float(ndtri(below / (2 * resamples)))
        with np.errstate(all="ignore"):  # what cannot be computed is named below
            left_out = [np.concatenate([batch(g) for g in _jackknife(groups, index)]) for index in range(len(groups))]
            influence = [(len(one) - 1) * (one.mean() - one) / len(one) for one in left_out]
            skew, variance = (sum(float((one**power).sum()) for one in influence) for power in (3, 2))
            self.acceleration = float(np.divide(skew, 6 * variance**1.5))
        self.reason = ""
        if not math.isfinite(self.bias):
            self.reason = "all resamples lie on one side of the estimate"
        elif not math.isfinite(self.acceleration):
            self.reason = "leaving one row out does not change the statistic, or makes it undefined"
        self.method = "percentile" if self.reason else "BCa"

    def ends(self, alpha: float) -> tuple[float, float]:
        low, high = (self._quantile(z) for z in (float(ndtri(alpha / 2)), -float(ndtri(alpha / 2))))
        return low, high

    def _quantile(self, z: float) -> float:
        if self.method == "BCa":
            z += self.bias
            scale = 1 - self.acceleration * z
            # beyond its pole the map turns around: staying at the extreme keeps the intervals nested
            z = self.bias + z / scale if scale > 0 else math.copysign(math.inf, z)
        return float(self._ordered[quantile_rank(float(ndtr(z)), len(self._ordered))])


def _resamples(groups: list[list[np.ndarray]], seed: int, count: int) -> Iterator[list[np.ndarray]]:
    """Batches of resampled arrays [batch, n, ...]; the draws do not depend on the size of a batch."""
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(groups))]
    for some in batches(count, _numbers(groups)):
        gathered = []
        for stream, group in zip(streams, groups):
            rows = draw(stream, len(group[0]), len(some))
            gathered += [column[rows] for column in group]
        yield gathered


def _jackknife(groups: list[list[np.ndarray]], index: int) -> Iterator[list[np.ndarray]]:
    """Batches of arrays with each row of group `index` left out once."""
    n = len(groups[index][0])
    for some in batches(n, _numbers(groups)):
        left_out = np.array(some)[:, None]
        rows = np.arange(n - 1) + (np.arange(n - 1) >= left_out)
        yield [
            column[rows] if group is groups[index] else np.broadcast_to(column, (len(rows), *column.shape))
            for group in groups
            for column in group
        ]


def _numbers(groups: list[list[np.ndarray]]) -> int:
    return sum(column.size for group in groups for column in group)


def _in_order(group: list[np.ndarray]) -> list[np.ndarray]:
    keys = np.concatenate([column.reshape(len(column), -1) for column in group], axis=1).tolist()
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [column[order] for column in group]
