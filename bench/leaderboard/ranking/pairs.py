"""Pairwise comparisons of optimizers on the same seeds: exact signed-rank tests, Holm over all pairs of one table.

A seed gives every optimizer the same initialisation and the same mini-batches, so values are compared seed by seed.
The leader of a table is chosen by the data; testing it against the others as if it had been named before would find
too many differences. Here every pair is in the family, whichever leads: if no two optimizers differ, the probability
that any pair is separated is at most 5 % (Holm 1979 controls the family-wise error under any dependence).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bench.statistics.inference import ALPHA, holm
from bench.statistics.metric import Metric
from shb.errors import ConfigurationError

ROUNDING = 2.0**-40  # differences below this share of the largest value are rounding, and count as equal


def costs(metric: str, values: Any) -> np.ndarray:
    """`values` of `metric`, lower is better: accuracies change their sign."""
    return Metric(metric).sign * np.asarray(values, dtype=np.float64)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`first` - `second` [..., seeds], rounded to ROUNDING; two infinities of one sign (both diverged) differ by 0.

    Accuracies are multiples of 1 / samples: without the rounding, equal differences would not be ties.
    """
    unit = rounding(first, second)
    with np.errstate(invalid="ignore"):
        found = np.where(first == second, 0.0, np.subtract(first, second))
    return np.round(found / unit) * unit if unit else found


def rounding(*values: np.ndarray) -> float:
    """The unit to which differences of `values` are rounded: about ROUNDING times the largest finite size."""
    sizes = np.abs(np.concatenate([np.ravel(one) for one in values]))
    largest = float(sizes[np.isfinite(sizes)].max(initial=0.0))
    return (
        ROUNDING * 2.0 ** math.frexp(largest)[1] if largest else 0.0
    )  # a power of two: round numbers stay as they are


def signed_rank(differences: Any) -> tuple[float, int]:
    """Two-sided p-value of paired `differences` [n], and the sign of their rank sum (-1: the first is lower).

    Wilcoxon's signed-rank test with the ranks of Pratt (1959), which keep the places of zero differences, mid-ranks
    for ties, and the exact distribution: given the sizes, every sign of a difference that is not 0 is + or - with
    probability 1/2. That holds where both optimizers behave alike given the seed, whatever the distribution.
    An infinite difference (one diverged, or missed the target) has the largest size.

    Raises:
        ConfigurationError: a difference is NaN.
    """
    from scipy.stats import rankdata  # slow to import, and few commands need it

    found = np.asarray(differences, dtype=np.float64)
    if np.isnan(found).any():
        raise ConfigurationError("differences", found.tolist(), "numbers; infinities only as differences() makes them")
    doubled = np.rint(2 * rankdata(np.abs(found))).astype(int)  # whole numbers, mid-ranks too
    scores = np.sort(doubled[found != 0])
    positive, total = int(doubled[found > 0].sum()), int(scores.sum())
    mass = signed_rank_distribution(tuple(scores.tolist()))
    return min(1.0, 2 * float(mass[: min(positive, total - positive) + 1].sum())), int(np.sign(2 * positive - total))


@functools.lru_cache(maxsize=256)
def signed_rank_distribution(scores: tuple[int, ...]) -> np.ndarray:
    """Probabilities [sum + 1] of the sums of random subsets of `scores`, whole numbers >= 1."""
    mass = np.zeros(sum(scores) + 1)
    mass[0], reach = 1.0, 0
    for score in scores:
        mass[score : reach + score + 1] += mass[: reach + 1].copy()
        reach += score
        mass[: reach + 1] /= 2
    mass.flags.writeable = False
    return mass


@dataclass(frozen=True)
class PairTests:
    """All pairs of one table.

    Attributes:
        p_values: [optimizers, optimizers], adjusted by Holm over all pairs; 1 on the diagonal.
        better: [optimizers, optimizers], True if the row's optimizer is separated from the column's, and better.
    """

    p_values: np.ndarray
    better: np.ndarray


def compare_pairs(costs: np.ndarray, alpha: float = ALPHA) -> PairTests:
    """Compare every pair of rows of `costs` [optimizers, seeds]; lower is better, the same seeds in the same order."""
    count = len(costs)
    pairs = list(combinations(range(count), 2))
    results = [signed_rank(differences(costs[i], costs[j])) for i, j in pairs]
    p_values, better = np.ones((count, count)), np.zeros((count, count), dtype=bool)
    for (i, j), p, (_, sign) in zip(pairs, holm([p for p, _ in results]), results):
        p_values[i, j] = p_values[j, i] = p
        better[(i, j) if sign < 0 else (j, i)] = p <= alpha
    return PairTests(p_values, better)
