"""Inference for any statistic and any prediction: seeded bootstrap, p-values against regions, TOST, Fisher, Holm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from bench.statistics.estimates import Estimate, Mean, MeanDifference, Proportion, finite, is_count, sample
from shb.errors import ConfigurationError

RESAMPLES = 10_000
CHUNK = 2**21  # float64 elements (16 MiB) gathered per batch of resamples


@dataclass(frozen=True)
class Region:
    """Closed interval of predicted values, in the unit of the estimate; either end may be infinite."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ConfigurationError("region", (self.low, self.high), "low <= high, neither NaN")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.4g}, {self.high:.4g}]"


def p_inside(estimate: Estimate, region: Region, *, one_sided: bool = False) -> float:
    """Smallest alpha whose two-sided (1 - alpha) interval lies in `region`; 1 if none does.

    `one_sided`: the (1 - 2 alpha) interval, that is two one-sided tests (TOST; Schuirmann 1987).
    """
    alpha = _smallest_alpha(estimate, lambda ends: ends[0] in region and ends[1] in region)
    return alpha / 2 if one_sided and alpha < 1 else alpha


def p_outside(estimate: Estimate, region: Region) -> float:
    """Smallest alpha whose two-sided (1 - alpha) interval is disjoint from `region`; 1 if none is."""
    return _smallest_alpha(estimate, lambda ends: ends[1] < region.low or ends[0] > region.high)


def _smallest_alpha(estimate: Estimate, holds: Callable[[tuple[float, float]], bool]) -> float:
    """Bisection on log alpha: intervals are nested, so what holds at one alpha holds at every larger one."""
    low, high = estimate.smallest_alpha, 1.0
    if not holds(estimate.test_ends(high)):
        return 1.0
    if holds(estimate.test_ends(low)):
        return low
    while high > low * (1 + 1e-12):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(estimate.test_ends(middle)) else (middle, high)
    return high


def tost(differences: Any, margin: float) -> float:
    """p-value of "the mean of paired `differences` [n] is within +-`margin`": two one-sided t tests."""
    return _tost(Mean(differences), margin)


def tost_independent(first: Any, second: Any, margin: float) -> float:
    """p-value of "the means of two independent samples differ by at most `margin`": two one-sided Welch tests."""
    return _tost(MeanDifference(first, second), margin)


def _tost(difference: Mean, margin: float) -> float:
    if not 0 < margin < math.inf:
        raise ConfigurationError("margin", margin, "a finite number > 0")
    room = margin - abs(difference.value)
    if difference.standard_error == 0:
        return 0.0 if room >= 0 else 1.0
    return float(stdtr(difference.degrees_of_freedom, -room / difference.standard_error))


def fisher_exact(hits1: int, n1: int, hits2: int, n2: int) -> float:
    """Two-sided p-value of "both shares are equal" for hits1/n1 and hits2/n2 (Fisher's exact test)."""
    from scipy import stats  # slow to import, and few commands need it

    first, second = Proportion(hits1, n1), Proportion(hits2, n2)
    table = [[first.hits, first.n - first.hits], [second.hits, second.n - second.hits]]
    return float(stats.fisher_exact(table).pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values [m] of Holm (1979), in the order given: max over p_j <= p_i of min(1, (m - rank_j + 1) p_j)."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ConfigurationError("p_values", p_values, "a list of numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]))
    return adjusted


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
        rank = math.ceil(float(ndtr(z)) * len(self._ordered)) - 1
        return float(self._ordered[max(rank, 0)])


def _resamples(groups: list[list[np.ndarray]], seed: int, count: int) -> Iterator[list[np.ndarray]]:
    """Batches of resampled arrays [batch, n, ...]; the draws do not depend on the size of a batch."""
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(groups))]
    size = max(1, CHUNK // sum(column.size for group in groups for column in group))
    for start in range(0, count, size):
        gathered = []
        for stream, group in zip(streams, groups):
            rows = stream.integers(0, len(group[0]), (min(size, count - start), len(group[0])))
            gathered += [column[rows] for column in group]
        yield gathered


def _jackknife(groups: list[list[np.ndarray]], index: int) -> Iterator[list[np.ndarray]]:
    """Batches of arrays with each row of group `index` left out once."""
    n = len(groups[index][0])
    size = max(1, CHUNK // sum(column.size for group in groups for column in group))
    for start in range(0, n, size):
        left_out = np.arange(start, min(start + size, n))[:, None]
        rows = np.arange(n - 1) + (np.arange(n - 1) >= left_out)
        yield [
            column[rows] if group is groups[index] else np.broadcast_to(column, (len(rows), *column.shape))
            for group in groups
            for column in group
        ]


def _in_order(group: list[np.ndarray]) -> list[np.ndarray]:
    keys = np.concatenate([column.reshape(len(column), -1) for column in group], axis=1).tolist()
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [column[order] for column in group]
