"""Medians and their bootstrap intervals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from bench.statistics import Interval, median_interval


def exact_interval(values, level):
    """Ends of the ideal percentile interval, by enumeration of all resamples, and the distance to the next value.

    The ends are the smallest medians whose cumulative share reaches (1 - level) / 2 and (1 + level) / 2.
    """
    medians = sorted(sorted(draw)[len(draw) // 2] for draw in itertools.product(values, repeat=len(values)))
    ends, slack = [], 1.0
    for share in ((1 - level) / 2, (1 + level) / 2):
        ends.append(medians[math.ceil(share * len(medians)) - 1])
        shares = [np.searchsorted(medians, value, side="right") / len(medians) for value in values]
        slack = min(slack, *(abs(s - share) for s in shares))
    return (*ends, slack)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [0.5, 4.0, -1.0, 2.0, 3.0]])
@pytest.mark.parametrize("level", [0.95, 0.8, 0.6, 0.4])
def test_ends_are_those_of_all_resamples(values, level):
    low, high, slack = exact_interval(values, level)
    assert slack > 0.005, "too close to a step for 10,000 resamples to decide"
    assert median_interval(values, level=level) == (np.median(values), low, high)


@pytest.mark.parametrize("n", [7, 9, 11, 13, 17, 19, 21])
def test_ends_are_the_expected_order_statistics(n):
    """P(median of a resample <= x_(j)) = P(Binomial(n, j / n) >= (n + 1) / 2)."""
    shares = np.array([binom.sf(n // 2, n, j / n) for j in range(1, n + 1)])
    ends = [np.argmax(shares >= share) for share in (0.025, 0.975)]
    assert min(abs(shares - share).min() for share in (0.025, 0.975)) > 0.004
    values = np.random.default_rng(n).permutation(n).astype(float)
    assert median_interval(values) == (n // 2, *map(float, ends))


def test_even_counts_average_the_middle():
    assert median_interval([1.0, 2.0, 4.0, 8.0]).median == 3.0
    assert median_interval([1.0, 2.0]) == (1.5, 1.0, 2.0)


def test_one_value_and_none():
    assert median_interval([2.5]) == (2.5, 2.5, 2.5)
    assert all(map(math.isnan, median_interval([])))
    assert isinstance(median_interval([]), Interval)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([math.inf] * 3, (math.inf, math.inf, math.inf)),
        ([math.inf] * 4, (math.inf, math.inf, math.inf)),
        ([1.0, math.inf, 2.0], (2.0, 1.0, math.inf)),
        ([1.0, math.inf], (math.inf, 1.0, math.inf)),
        ([1.0, 1.0, 1.0, 1.0, math.inf], (1.0, 1.0, 1.0)),  # P(3 of 5 resampled are inf) = 0.058 / 2 at the end
    ],
)
def test_infinities_are_the_worst_values(values, expected):
    if expected[-1] == 1.0:
        assert binom.sf(2, 5, 0.2) > 0.025
        expected = (1.0, 1.0, math.inf)
    assert median_interval(values) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_ends_enclose_the_median(values, random):
    shuffled = random.sample(values, len(values))
    interval = median_interval(values)
    assert median_interval(shuffled) == interval
    assert min(values) <= interval.low <= interval.median <= interval.high <= max(values)
    assert interval.median == pytest.approx(np.median(values), abs=1e-9)


def test_the_seed_decides():
    generator = np.random.default_rng(0)
    values = generator.normal(size=10)
    assert median_interval(values) == median_interval(values)
    others = {median_interval(values, level=0.9, seed=seed) for seed in range(20)}
    assert {interval.median for interval in others} == {np.median(values)}
    assert len(others) > 1
    assert len({median_interval(generator.permutation(values), level=0.9) for _ in range(20)}) == 1


def test_the_interval_covers_the_true_median_about_as_often_as_it_says(record_property):
    """400 boards of 10 normal seeds: about 93 % of the 95 % intervals contain the median 0 (see the docstring)."""
    boards = np.random.default_rng(20240).normal(size=(400, 10))
    intervals = [median_interval(board) for board in boards]
    coverage = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    record_property("coverage", coverage)
    assert 0.88 <= coverage <= 0.98
    narrower = np.mean([low <= 0 <= high for _, low, high in (median_interval(b, level=0.5) for b in boards[:200])])
    assert 0.35 <= narrower <= 0.65
