"""Medians and interquartile means, their bootstrap intervals, and how often these cover the truth."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from scipy.stats import t as student

from bench.statistics.medians import (
    MANY,
    Interval,
    ends,
    finite_or_none,
    interquartile_interval,
    interquartile_mean,
    interquartile_weights,
    median,
    median_interval,
    median_weights,
    middle_draws,
    sorted_draws,
    stratified_mean_interval,
    tail,
    weighted_mean,
)
from tests.bench.leaderboard.ranking.boards import DISTRIBUTIONS, sample, truth

BOTH = {"median": (median_interval, median_weights), "iqm": (interquartile_interval, interquartile_weights)}


def exact_interval(values, level):
    """Ends of the ideal percentile interval, by enumeration of all resamples, and the distance to the next value.

    The ends are the smallest medians whose cumulative share reaches the tail, and one minus it.
    """
    medians = sorted(sorted(draw)[len(draw) // 2] for draw in itertools.product(values, repeat=len(values)))
    share = tail(len(values) - 1, level)
    ends, slack = [], 1.0
    for wanted in (share, 1 - share):
        ends.append(medians[math.ceil(wanted * len(medians)) - 1])
        shares = [np.searchsorted(medians, value, side="right") / len(medians) for value in values]
        slack = min(slack, *(abs(s - wanted) for s in shares if s < 1))
    return (*ends, slack)


def test_the_tails_are_those_of_student():
    for n in (2, 5, 10, 20, 1000):
        assert tail(n - 1, 0.95) == pytest.approx(norm.cdf(-student.ppf(0.975, n - 1)), rel=1e-9)
    assert tail(9) == pytest.approx(0.01184, abs=1e-5) and tail(10**6) == pytest.approx(0.025, abs=1e-5)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [0.5, 4.0, -1.0, 2.0, 3.0]])
@pytest.mark.parametrize("level", [0.95, 0.7, 0.6, 0.4])
def test_ends_are_those_of_all_resamples(values, level):
    low, high, slack = exact_interval(values, level)
    assert slack > 0.005, "too close to a step for 10,000 resamples to decide"
    assert median_interval(values, level=level) == (np.median(values), low, high)


@pytest.mark.parametrize("n", [9, 11, 15, 17, 19])
def test_ends_are_the_expected_order_statistics(n):
    """P(median of a resample <= x_(j)) = P(Binomial(n, j / n) >= (n + 1) / 2)."""
    shares = np.array([binom.sf(n // 2, n, j / n) for j in range(1, n + 1)])
    ends = [np.argmax(shares >= share) for share in (tail(n - 1), 1 - tail(n - 1))]
    assert min(abs(shares - share).min() for share in (tail(n - 1), 1 - tail(n - 1))) > 0.002
    values = np.random.default_rng(n).permutation(n).astype(float)
    assert median_interval(values) == (n // 2, *map(float, ends))


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([9.0, 1.0, 2.0, 4.0]) == 3.0  # the middle two
    assert interquartile_mean([1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx((0.75 * 2 + 3 + 0.75 * 4) / 2.5)
    assert interquartile_mean(range(10)) == pytest.approx((0.5 * 2 + 3 + 4 + 5 + 6 + 0.5 * 7) / 5)
    assert interquartile_mean([3.0]) == 3.0 and math.isnan(interquartile_mean([]))
    assert interquartile_mean([0.1] * 10) == 0.1  # to the bit


@pytest.mark.parametrize("n", range(1, 30))
def test_weights_sum_to_one_and_are_symmetric(n):
    for weights in (median_weights(n), interquartile_weights(n)):
        assert weights.shape == (n,) and weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all() and np.allclose(weights, weights[::-1])
    values = np.sort(np.random.default_rng(n).normal(size=n))
    assert values @ median_weights(n) == pytest.approx(np.median(values))
    fine = np.repeat(values, 1000)  # the quantile function, cut at the quartiles
    assert interquartile_mean(values) == pytest.approx(np.sort(fine)[250 * n : 750 * n].mean())


def test_even_counts_average_the_middle():
    assert median([1.0, 2.0, 4.0, 8.0]) == median_interval([1.0, 2.0, 4.0, 8.0]).value == 3.0
    assert median_interval([1.0, 2.0]) == (1.5, 1.0, 2.0)


@pytest.mark.parametrize("interval", [median_interval, interquartile_interval])
def test_one_value_and_none(interval):
    assert interval([2.5]) == (2.5, 2.5, 2.5)
    assert all(map(math.isnan, interval([])))
    assert isinstance(interval([]), Interval)
    assert math.isnan(median([])) and math.isnan(stratified_mean_interval([]).value)
    assert math.isnan(stratified_mean_interval([[1.0], []]).value)
    assert stratified_mean_interval([[1.0], [2.0]]) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([math.inf] * 3, (math.inf, math.inf, math.inf)),
        ([math.inf] * 4, (math.inf, math.inf, math.inf)),
        ([1.0, math.inf, 2.0], (2.0, 1.0, math.inf)),
        ([1.0, math.inf], (math.inf, 1.0, math.inf)),
        ([1.0, 1.0, 1.0, 1.0, math.inf], (1.0, 1.0, math.inf)),  # P(3 of 5 resampled are inf) = 0.058
        ([1.0] * 9 + [math.inf], (1.0, 1.0, 1.0)),  # P(5 of 10) = 0.0016, less than the tail of 0.0118
    ],
)
def test_infinities_are_the_worst_values(values, expected):
    assert median_interval(values) == expected


def test_an_infinite_seed_reaches_the_interquartile_mean_with_its_neighbours_only():
    """Of ten seeds the eighth has half a weight: three infinite ones reach it, two do not."""
    assert interquartile_interval([*range(8), math.inf, math.inf]).value == pytest.approx(4.5)
    assert interquartile_interval([*range(8), math.inf, math.inf]).high == math.inf
    assert interquartile_interval([*range(7), *[math.inf] * 3]).value == math.inf
    assert interquartile_interval([*range(7), *[math.inf] * 3]).low < 4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.randoms(use_true_random=False))
@pytest.mark.parametrize("interval", [median_interval, interquartile_interval])
def test_order_does_not_matter_and_ends_enclose_the_value(interval, values, random):
    shuffled = random.sample(values, len(values))
    found = interval(values)
    assert interval(shuffled) == found
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


@pytest.mark.parametrize("n", [MANY + 1, MANY + 2])
def test_of_many_seeds_the_ends_are_those_of_the_exact_law(n):
    """The k-th smallest of n resampled indices is at most j with probability P(Binomial(n, (j + 1) / n) >= k)."""
    middle = np.flatnonzero(median_weights(n))
    columns = middle_draws(n, middle)
    assert columns.shape == (10_000, len(middle)) and (np.diff(columns, axis=1) >= 0).all()
    for column, k in zip(columns.T, middle + 1):
        for j in (n // 2 - 30, n // 2, n // 2 + 30):
            expected = binom.sf(k - 1, n, (j + 1) / n)
            assert (column <= j).mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 1e4))
    joint = np.sort(np.random.default_rng(1).integers(0, n, (2000, n)), axis=1)[:, middle]
    assert np.diff(columns, axis=1).sum() / 1e4 == pytest.approx(np.diff(joint, axis=1).sum() / 2e3, abs=0.1)


def test_of_many_seeds_memory_is_bounded_and_the_ends_are_the_same():
    n = MANY + 1
    ordered = np.sort(np.random.default_rng(0).normal(size=n))
    whole = weighted_mean(ordered[sorted_draws(n, 3)], interquartile_weights(n))
    found = interquartile_interval(ordered, seed=3)
    assert found[1:] == ends(whole, tail(n - 1))
    sorted_draws.cache_clear()
    tracemalloc.start()
    median_interval(range(10**6)), interquartile_interval(range(n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * 10**7


def test_the_seed_decides():
    generator = np.random.default_rng(0)
    values = generator.normal(size=10)
    assert interquartile_interval(values) == interquartile_interval(values)
    others = {interquartile_interval(values, seed=seed) for seed in range(20)}
    assert {interval.value for interval in others} == {interquartile_mean(values)}
    assert len(others) > 1 and max(i.low for i in others) - min(i.low for i in others) < 0.2 * values.std()
    assert len({interquartile_interval(generator.permutation(values)) for _ in range(20)}) == 1


def test_strata_are_resampled_apart():
    """The spread of a mean of two strata: 1 / sqrt(2) of that of one of the same kind, not 1 (as with one resample)."""
    values = np.random.default_rng(1).normal(size=40)
    one = stratified_mean_interval([values])
    two = stratified_mean_interval([values, values])
    assert two.value == pytest.approx(one.value) and one.value == pytest.approx(values.mean())
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(1 / math.sqrt(2), rel=0.05)


def test_the_interval_of_a_mean_has_the_width_of_students():
    """Ten normal values, 50 times: the ratio of widths averages to 1; without the factor for means it is 0.95."""
    ratios = []
    for values in np.random.default_rng(3).normal(size=(50, 10)):
        _, low, high = stratified_mean_interval([values])
        ratios.append((high - low) / (2 * student.ppf(0.975, 9) * values.std(ddof=1) / math.sqrt(10)))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize("name", ["normal", "exponential", "lognormal"])
@pytest.mark.parametrize("statistic", BOTH)
def test_a_95_percent_interval_covers_in_93_to_97_of_100_samples(statistic, name, n, record_property):
    """2,000 samples; the intervals as `_interval` makes them, with all samples in one product."""
    interval, weights = BOTH[statistic]
    distribution = DISTRIBUTIONS[name]
    samples = np.sort(sample(distribution, np.random.default_rng(0), 2000, n), axis=1)
    resampled = np.zeros((10_000, n))  # weight of each order statistic of the sample in each resample
    for column, weight in enumerate(weights(n)):
        np.add.at(resampled, (np.arange(10_000), sorted_draws(n)[:, column]), weight)
    ranks = [math.ceil(share * 10_000) - 1 for share in (tail(n - 1), 1 - tail(n - 1))]
    ends = np.concatenate([np.partition(part @ resampled.T, ranks, axis=1)[:, ranks] for part in np.split(samples, 20)])
    for row, (low, high) in zip(samples[:3], ends):
        assert interval(row)[1:] == (pytest.approx(low), pytest.approx(high))
    true = truth(distribution)[list(BOTH).index(statistic)]
    coverage = float(((ends[:, 0] <= true) & (true <= ends[:, 1])).mean())
    record_property("coverage", float(coverage))
    assert 0.93 <= coverage <= 0.97


def test_of_four_seeds_no_interval_can_cover_more_than_their_range():
    """P(all on one side of the median) = 2 / 2^4: the tiny suites of four seeds are covered in 87.5 % only."""
    samples = np.random.default_rng(2).normal(size=(500, 4))
    for values in samples[:5]:
        assert median_interval(values)[1:] == (values.min(), values.max())
    covered = np.mean([low <= 0 <= high for _, low, high in map(median_interval, samples)])
    assert abs(covered - 0.875) < 3 * math.sqrt(0.875 * 0.125 / 500)


def test_what_json_cannot_hold_is_none():
    assert [finite_or_none(value) for value in (1.5, math.inf, -math.inf, math.nan, None, 3)] == [1.5, *[None] * 4, 3]
