"""How many seeds would separate two optimizers: power of the exact signed-rank test for a measured paired difference.

The differences of new seeds are taken as normal with the measured mean and standard deviation. What is computed is the
power at level ALPHA / pairs, the strictest that Holm asks of one pair: with that many seeds the pair is separated with
at least this power, whatever the other pairs do. The measured mean is itself uncertain, most of all that of the closest
pair: the number is for planning.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, owens_t

from bench.leaderboard.ranking.pairs import differences, rounding, signed_rank_distribution
from bench.statistics.inference import ALPHA

POWER = 0.8
MOST_SEEDS = 10_000
_SIMULATED = 40  # up to so many seeds the power is simulated; beyond, a normal approximation is within 0.01
_EXACT = 300  # up to so many seeds critical values are exact
_SAMPLES = 10_000


class SeedsNeeded(NamedTuple):
    """Seeds that would separate the closest pair of one table.

    Attributes:
        pair: rows of the two optimizers.
        difference: mean paired difference (first - second), in the unit of the metric.
        spread: standard deviation of the paired differences.
        seeds: smallest number with at least POWER; None for more than MOST_SEEDS.
        power: at that number of seeds; None without one.
    """

    pair: tuple[int, int]
    difference: float
    spread: float
    seeds: int | None
    power: float | None


def closest_pair(costs: np.ndarray) -> SeedsNeeded | None:
    """The pair of `costs` [optimizers, seeds >= 2] whose paired difference is smallest against its spread.

    Pairs with a seed in which one of the two is infinite (diverged) have no mean; None if no other is left.
    """
    count = len(costs)
    known = []
    for i, j in combinations(range(count), 2):
        found = differences(costs[i], costs[j])
        if len(found) >= 2 and np.isfinite(found).all():
            mean, spread = float(found.mean()), float(found.std(ddof=1))
            known.append(((i, j), mean if abs(mean) > rounding(costs[i], costs[j]) else 0.0, spread))
    if not known:
        return None
    pair, difference, spread = min(known, key=lambda one: effect_size(*one[1:]))
    seeds = seeds_needed(effect_size(difference, spread), ALPHA / math.comb(count, 2))
    return SeedsNeeded(pair, difference, spread, *(seeds or (None, None)))


def effect_size(difference: float, spread: float) -> float:
    """|difference| / spread; infinite for a difference without spread, 0 for none."""
    return abs(difference) / spread if spread else math.inf if difference else 0.0


def seeds_needed(effect: float, alpha: float, power: float = POWER) -> tuple[int, float] | None:
    """Smallest number of seeds, up to MOST_SEEDS, at which `signed_rank_power` is at least `power`, and that power."""
    low, high = 0, 1
    while signed_rank_power(high, effect, alpha) < power:
        if high == MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if signed_rank_power(middle, effect, alpha) >= power else (middle, high)
    return high, signed_rank_power(high, effect, alpha)


def signed_rank_power(n: int, effect: float, alpha: float) -> float:
    """Probability that a two-sided signed-rank test at level `alpha` separates normal differences, in their direction.

    Args:
        n: number of seeds.
        effect: mean over standard deviation of the differences, >= 0; infinite: every difference has its sign.
    """
    critical = critical_value(n, alpha)
    if math.isinf(effect) or critical > n * (n + 1) // 2:
        return float(critical <= n * (n + 1) // 2)
    if n > _SIMULATED:
        return _approximate_power(n, effect, critical)
    samples = np.random.default_rng(n).standard_normal((_SAMPLES, n)) + effect
    ranks = np.argsort(np.argsort(np.abs(samples), axis=1), axis=1) + 1
    return float(((ranks * (samples > 0)).sum(axis=1) >= critical).mean())


def critical_value(n: int, alpha: float) -> int:
    """Smallest sum of positive ranks 1..n that a two-sided test at level `alpha` rejects; n (n + 1) / 2 + 1: none."""
    most = n * (n + 1) // 2
    if n > _EXACT:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return math.ceil(most / 2 + 0.5 - float(ndtri(alpha / 2)) * spread)
    tails = np.cumsum(signed_rank_distribution(tuple(range(1, n + 1))))  # P(W <= w) = P(W >= most - w)
    return most + 1 - int(np.searchsorted(tails, alpha / 2, side="right"))


def _approximate_power(n: int, effect: float, critical: int) -> float:
    """Normal approximation with the exact mean and variance of the rank sum (Lehmann 1975, Nonparametrics)."""
    p1, p2 = ndtr(effect), ndtr(math.sqrt(2) * effect)
    p3 = p2 - 2 * float(owens_t(math.sqrt(2) * effect, 1 / math.sqrt(3)))  # two such at once, of correlation 1/2
    mean = n * p1 + n * (n - 1) / 2 * p2
    variance = n * p1 * (1 - p1) + n * (n - 1) / 2 * (2 * (p1 - p2) ** 2 + 3 * p2 * (1 - p2))
    variance += n * (n - 1) * (n - 2) * (p3 - p2**2)
    return float(ndtr((mean - critical + 0.5) / math.sqrt(max(variance, 1e-12))))
