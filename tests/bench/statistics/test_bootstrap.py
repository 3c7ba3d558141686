"""Intervals from resampled seeds, by percentiles and by BCa: their ends, and how often they cover the truth."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binom, norm
from scipy.stats import t as student

from bench.statistics import resampling
from bench.statistics.bootstrap import (
    MANY,
    Bootstrap,
    Interval,
    interquartile_interval,
    median_interval,
    percentile_ends,
    stratified_mean_interval,
    tail_share,
)
from bench.statistics.medians import (
    interquartile_mean,
    interquartile_weights,
    median,
    median_weights,
    weighted_mean,
)
from bench.statistics.resampling import middle_draws, sorted_draws
from tests.bench.leaderboard.ranking.boards import DISTRIBUTIONS, sample, truth

SKEWED = np.random.default_rng(5).lognormal(size=30)


BOTH = {"median": (median_interval, median_weights), "iqm": (interquartile_interval, interquartile_weights)}


def mean_of(values):
    return values.mean(axis=-1)


def median_of(values):
    return np.median(values, axis=-1)


def mean_gap(first, second, axis=-1):
    return first.mean(axis=axis) - second.mean(axis=axis)


def exact_interval(values, level):
    """Ends of the ideal percentile interval, by enumeration of all resamples, and the distance to the next value.

    The ends are the smallest medians whose cumulative share reaches the tail, and one minus it.
    """
    medians = sorted(sorted(draw)[len(draw) // 2] for draw in itertools.product(values, repeat=len(values)))
    share = tail_share(len(values) - 1, level)
    ends, slack = [], 1.0
    for wanted in (share, 1 - share):
        ends.append(medians[math.ceil(wanted * len(medians)) - 1])
        shares = [np.searchsorted(medians, value, side="right") / len(medians) for value in values]
        slack = min(slack, *(abs(s - wanted) for s in shares if s < 1))
    return (*ends, slack)


def test_the_tails_are_those_of_student():
    for n in (2, 5, 10, 20, 1000):
        assert tail_share(n - 1, 0.95) == pytest.approx(norm.cdf(-student.ppf(0.975, n - 1)), rel=1e-9)
    assert tail_share(9) == pytest.approx(0.01184, abs=1e-5) and tail_share(10**6) == pytest.approx(0.025, abs=1e-5)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [0.5, 4.0, -1.0, 2.0, 3.0]])
@pytest.mark.parametrize("level", [0.95, 0.7, 0.6, 0.4])
def test_ends_are_those_of_all_resamples(values, level):
    low, high, slack = exact_interval(values, level)
    assert slack > 0.005, "too close to a step for 10,000 resamples to decide"
    assert median_interval(values, confidence=level) == (np.median(values), low, high)


@pytest.mark.parametrize("n", [9, 11, 15, 17, 19])
def test_ends_are_the_expected_order_statistics(n):
    """P(median of a resample <= x_(j)) = P(Binomial(n, j / n) >= (n + 1) / 2)."""
    shares = np.array([binom.sf(n // 2, n, j / n) for j in range(1, n + 1)])
    ends = [np.argmax(shares >= share) for share in (tail_share(n - 1), 1 - tail_share(n - 1))]
    assert min(abs(shares - share).min() for share in (tail_share(n - 1), 1 - tail_share(n - 1))) > 0.002
    values = np.random.default_rng(n).permutation(n).astype(float)
    assert median_interval(values) == (n // 2, *map(float, ends))


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
    assert found[1:] == percentile_ends(whole, tail_share(n - 1))
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
    ranks = [math.ceil(share * 10_000) - 1 for share in (tail_share(n - 1), 1 - tail_share(n - 1))]
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


# -- BCa


def test_bootstrap_agrees_with_scipy():
    """Ends within 3 % of the width of scipy's BCa with other draws, one sample and two independent ones."""
    theirs = stats.bootstrap((SKEWED,), np.mean, n_resamples=40_000, rng=3).confidence_interval
    ours = Bootstrap(mean_of, SKEWED, seed=0, resamples=40_000, vectorized=True)
    assert ours.method == "BCa" and ours.value == pytest.approx(SKEWED.mean())
    assert np.abs(np.subtract(ours.interval(), theirs)).max() < 0.03 * (theirs.high - theirs.low)
    percentile = stats.bootstrap((SKEWED,), np.mean, n_resamples=40_000, rng=3, method="percentile").confidence_interval
    assert np.abs(np.subtract(percentile, theirs)).max() > 0.06 * (theirs.high - theirs.low)

    two = (SKEWED[:11] ** 2, SKEWED[11:])
    theirs = stats.bootstrap(two, mean_gap, n_resamples=40_000, rng=3).confidence_interval
    ours = Bootstrap(mean_gap, *two, seed=0, resamples=40_000, vectorized=True, paired=False)
    assert np.abs(np.subtract(ours.interval(), theirs)).max() < 0.03 * (theirs.high - theirs.low) and ours.n == 30


def test_acceleration_of_means_is_a_sixth_of_their_skewness():
    """Influence of a row on a mean is (x - mean) / n (Efron & Tibshirani 1993, 14.4), for one and for two samples."""
    few, many = (SKEWED[:4] - SKEWED[:4].mean()) / 4, (SKEWED[4:] - SKEWED[4:].mean()) / 26
    one = Bootstrap(mean_of, SKEWED[4:], seed=0, vectorized=True)
    assert one.acceleration == pytest.approx((many**3).sum() / (6 * (many**2).sum() ** 1.5))
    two = Bootstrap(mean_gap, SKEWED[:4], SKEWED[4:], seed=0, vectorized=True, paired=False)
    skew, variance = (few**3).sum() - (many**3).sum(), (few**2).sum() + (many**2).sum()
    assert two.acceleration == pytest.approx(skew / (6 * variance**1.5))


def test_paired_rows_stay_together():
    shift = Bootstrap(mean_gap, SKEWED + 2, SKEWED, seed=0, vectorized=True).interval()
    assert shift == pytest.approx((2, 2), abs=1e-12)
    apart = Bootstrap(mean_gap, SKEWED + 2, SKEWED, seed=0, vectorized=True, paired=False).interval()
    assert apart[1] - apart[0] > 0.5


def test_bootstrap_is_a_function_of_the_set_of_rows_and_the_seed(monkeypatch):
    curves = np.random.default_rng(2).normal(size=(9, 4))

    def slope(y, weight):
        return (y * weight[..., None]).sum(-2)[..., 3] - y.mean(-2)[..., 0]

    order = np.random.default_rng(3).permutation(9)
    first = Bootstrap(slope, curves, SKEWED[:9], seed=1, vectorized=True)
    shuffled = Bootstrap(slope, curves[order], SKEWED[:9][order], seed=1)
    monkeypatch.setattr(resampling, "CHUNK", 1000)
    chunked = Bootstrap(slope, curves, SKEWED[:9], seed=1, vectorized=True)
    for confidence in (0.5, 0.95, 0.999):
        assert first.interval(confidence) == shuffled.interval(confidence) == chunked.interval(confidence)
    assert Bootstrap(slope, curves, SKEWED[:9], seed=2, vectorized=True).interval() != first.interval()
    unpaired = [Bootstrap(mean_gap, row, SKEWED, seed=4, paired=False) for row in (SKEWED[:9], SKEWED[8::-1])]
    assert unpaired[0].interval() == unpaired[1].interval()


def test_ties_and_negative_zeros_do_not_depend_on_order():
    def reciprocal_sign(values):
        return np.copysign(1.0, values[..., 0])

    assert Bootstrap(reciprocal_sign, [0.0, -0.0, 0.0], seed=0).value == 1.0
    assert Bootstrap(reciprocal_sign, [-0.0, 0.0, 0.0], seed=0).value == 1.0


def test_falls_back_to_percentiles_with_a_reason():
    ordered = np.arange(1.0, 12.0)
    top = Bootstrap(lambda values: values.max(-1), ordered, seed=0, vectorized=True)
    assert top.method == "BCa"
    constant = Bootstrap(mean_of, np.full(5, 2.0), seed=0, vectorized=True)
    assert constant.method == "percentile" and "leaving one row out" in constant.reason
    assert constant.interval() == (2.0, 2.0)
    one_sided = Bootstrap(lambda values: values.mean(-1) + len(np.unique(values)) * 1e3, ordered, seed=0)
    assert one_sided.method == "percentile" and "one side" in one_sided.reason
    low, high = one_sided.interval()
    assert low < high < one_sided.value
    pair = Bootstrap(lambda values: values.std(ddof=1) if len(values) > 1 else math.nan, [1.0, 2.0], seed=0)
    assert pair.method == "percentile" and pair.interval()[1] == pytest.approx(math.sqrt(0.5))


def extreme(values):
    return (values**4).mean(-1) / (values**2).mean(-1)


@pytest.mark.parametrize("statistic", [mean_of, extreme, lambda values: -extreme(values)])
def test_bootstrap_intervals_are_nested(statistic):
    estimate = Bootstrap(statistic, SKEWED[:12], seed=0, vectorized=True)
    ends = np.array([estimate.ends(alpha) for alpha in np.geomspace(1e-15, 1, 400)])
    assert (np.diff(ends[:, 0]) >= 0).all() and (np.diff(ends[:, 1]) <= 0).all() and (ends[:, 0] <= ends[:, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("statistic", "truth", "points"), [(mean_of, 1.0, 5.5), (median_of, math.log(2), 2.0)])
def test_bca_covers_with_thirty_seeds(statistic, truth, points):
    """Exponential data, nominal 95 %: within 5.5 points for the mean (too short by skewness), 2 for the median."""
    rows = np.random.default_rng(8).exponential(size=(1500, 30))
    ends = [Bootstrap(statistic, row, seed=i, resamples=999, vectorized=True).interval() for i, row in enumerate(rows)]
    low, high = np.array(ends).T
    assert abs(100 * np.mean((low <= truth) & (truth <= high)) - 95) < points
