"""Inference for any estimate and any prediction: p-values against regions, two-sided t, TOST, Fisher, Holm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from bench.statistics.estimates import Estimate, Mean, MeanDifference, Proportion
from shb.errors import ConfigurationError

ALPHA = 0.05  # error rate of a family of tests: the chance of any false alarm, if nothing else is asked


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


def p_zero(difference: Mean) -> float:
    """Two-sided p-value of "the mean is 0", of Student's or Welch's t test."""
    if difference.value == 0:
        return 1.0
    t = difference.value / difference.standard_error if difference.standard_error else math.inf
    return float(2 * stdtr(difference.degrees_of_freedom, -abs(t)))


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
