"""Estimates, their intervals, tests against regions and Holm's correction, on data whose truth is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.statistics.bootstrap import Bootstrap
from bench.statistics.estimates import Exact, Mean, MeanDifference, PairedMean, Poisson, Proportion, upper_bound
from bench.statistics.inference import Region, fisher_exact, holm, p_inside, p_outside, p_zero, tost, tost_independent
from shb.errors import ConfigurationError

SKEWED = np.random.default_rng(5).lognormal(size=30)


def mean_of(values):
    return values.mean(axis=-1)


def median_of(values):
    return np.median(values, axis=-1)


def mean_gap(first, second, axis=-1):
    return first.mean(axis=axis) - second.mean(axis=axis)


def coverage_of_proportion(ends, n, p):
    """Exact probability that the interval holds p: the sum over all outcomes of Binomial(n, p)."""
    covers = [low <= p <= high for low, high in (ends(Proportion(hits, n)) for hits in range(n + 1))]
    return float(stats.binom.pmf(np.arange(n + 1), n, p)[covers].sum())


# -- proportions


@pytest.mark.parametrize("hits", range(13))
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_proportions_are_clopper_pearson_at_the_ends_and_wilson_between(hits, confidence):
    method = "exact" if hits in (0, 12) else "wilson"
    theirs = stats.binomtest(hits, 12).proportion_ci(confidence, method=method)
    assert Proportion(hits, 12).interval(confidence) == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    theirs = stats.binomtest(hits, 12).proportion_ci(confidence, method="exact")
    assert Proportion(hits, 12).test_ends(1 - confidence) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("n", [20, 100])
def test_wilson_covers_within_points_on_average_and_clopper_pearson_always(n):
    grid = np.linspace(0.1, 0.9, 161)
    wilson = [coverage_of_proportion(lambda one: one.interval(), n, p) for p in grid]
    assert abs(np.mean(wilson) - 0.95) < 0.01 and min(wilson) > 0.91
    for alpha in (0.05, 0.005):
        fine = np.concatenate([np.linspace(1e-4, 0.1, 40), grid])
        exact = [coverage_of_proportion(lambda one, a=alpha: one.test_ends(a), n, p) for p in fine]
        assert min(exact) >= 1 - alpha - 1e-12 and min(exact) < 1 - alpha / 2


@pytest.mark.parametrize(("n", "limit"), [(10, 0.01), (100, 0.001), (1000, 1e-4)])
def test_p_values_of_shares_hold_their_level_where_wilson_does_not(n, limit):
    """The share equals the edge of its region: how often is the true prediction rejected at 5 %?"""
    shares = stats.binom.pmf(np.arange(n + 1), n, limit)
    outcomes = [Proportion(hits, n) for hits in range(min(n, 8) + 1)]
    by_p = sum(shares[one.hits] for one in outcomes if p_outside(one, Region(0, limit)) <= 0.05)
    by_wilson = sum(shares[one.hits] for one in outcomes if one.interval()[0] > limit)
    assert by_p <= 0.025 and by_wilson > 0.09


def test_the_sample_sizes_of_zero_hits():
    assert upper_bound(2995) < 1e-3 < upper_bound(2994)
    assert upper_bound(50, 0.9) == pytest.approx(1 - 0.1 ** (1 / 50), rel=1e-12)
    assert Proportion(0, 3688).interval()[1] < 1e-3 < Proportion(0, 3687).interval()[1]
    assert p_inside(Proportion(0, 3000), Region(0, 1e-3), one_sided=True) == pytest.approx(0.999**3000, rel=1e-9)
    assert p_inside(Proportion(3000, 3000), Region(0.999, 1)) == pytest.approx(2 * 0.999**3000, rel=1e-9)


# -- rates


@pytest.mark.parametrize("count", [0, 1, 3, 10, 250])
@pytest.mark.parametrize("alpha", [0.32, 0.05, 1e-4])
def test_garwood_against_chi_square(count, alpha):
    low = stats.chi2.ppf(alpha / 2, 2 * count) / 2 if count else 0.0
    high = stats.chi2.isf(alpha / 2, 2 * count + 2) / 2
    assert Poisson(count, 4.0).interval(1 - alpha) == pytest.approx((low / 4, high / 4), rel=1e-8)
    assert Poisson(count, 4.0).value == count / 4


def test_garwood_against_the_printed_table():
    """Garwood (1936), 95 %: 0 -> (0, 3.69), 1 -> (0.0253, 5.57), 5 -> (1.62, 11.67), 10 -> (4.80, 18.39)."""
    table = {0: (0, 3.69), 1: (0.0253, 5.57), 5: (1.62, 11.67), 10: (4.80, 18.39)}
    for count, (low, high) in table.items():
        found = Poisson(count, 1).interval()
        assert found[0] == pytest.approx(low, abs=0.005) and found[1] == pytest.approx(high, abs=0.005)


@pytest.mark.parametrize("rate", [0.3, 2.0, 7.5])
def test_garwood_covers(rate):
    counts = range(80)
    covers = [low <= rate <= high for low, high in (Poisson(count, 1).interval() for count in counts)]
    assert stats.poisson.pmf(counts, rate)[covers].sum() >= 0.95


# -- means


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999, 1 - 1e-6])
@pytest.mark.parametrize("n", [2, 3, 30])
def test_student_and_welch_against_scipy(confidence, n):
    first, second = SKEWED[:n], SKEWED[-7:] * 3
    assert Mean(first).interval(confidence) == pytest.approx(
        tuple(stats.ttest_1samp(first, 0).confidence_interval(confidence)), rel=1e-7
    )
    assert PairedMean(first, first[::-1] ** 2).interval(confidence) == pytest.approx(
        tuple(stats.ttest_rel(first, first[::-1] ** 2).confidence_interval(confidence)), rel=1e-7
    )
    assert MeanDifference(first, second).interval(confidence) == pytest.approx(
        tuple(stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)), rel=1e-7
    )


@pytest.mark.parametrize("n", [2, 3, 30])
def test_far_tails_are_accurate(n):
    one, alpha = Mean(SKEWED[:n]), 1e-12
    half = stats.t.isf(alpha / 2, n - 1) * stats.sem(SKEWED[:n])
    assert one.ends(alpha) == pytest.approx((one.value - half, one.value + half), rel=1e-7)
    low = stats.beta.ppf(alpha / 2, 3, 38)
    assert Proportion(3, 40).test_ends(alpha) == pytest.approx((low, stats.beta.isf(alpha / 2, 4, 37)), rel=1e-7)


def test_student_covers():
    rows = np.random.default_rng(11).normal(2.0, 3.0, (2000, 5))
    covered = np.mean([low <= 2.0 <= high for low, high in (Mean(row).interval() for row in rows)])
    assert abs(covered - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / 2000)


def test_tost_against_hand_calculation():
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3). P(T_2 <= -t) = (1 - t/sqrt(2 + t^2)) / 2, t = sqrt(3)."""
    assert tost([1.0, 2.0, 3.0], 3.0) == pytest.approx((1 - math.sqrt(3 / 5)) / 2, rel=1e-12)
    assert tost([-1.0, -2.0, -3.0], 3.0) == pytest.approx((1 - math.sqrt(3 / 5)) / 2, rel=1e-12)
    assert tost([1.0, 2.0, 3.0], 2.0) == 0.5
    assert tost([1.0, 2.0, 3.0], 1.0) == pytest.approx((1 + math.sqrt(3 / 5)) / 2, rel=1e-12)
    assert tost([1.0, 1.0], 1.0) == 0.0 and tost([1.0, 1.0], 0.5) == 1.0


def test_a_mean_of_zero_against_scipy():
    first, second = SKEWED[:12], SKEWED[12:]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert p_zero(MeanDifference(first, second)) == pytest.approx(expected, rel=1e-9)
    assert p_zero(Mean(first)) == pytest.approx(stats.ttest_1samp(first, 0).pvalue, rel=1e-9)
    assert p_zero(Mean([2.0, 2.0])) == 0.0 and p_zero(Mean([1.0, -1.0])) == 1.0


def test_tost_against_two_tests_of_scipy():
    first, second = SKEWED[:12], SKEWED[12:] + 0.1
    lower = stats.ttest_ind(first, second - 1.5, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(first, second + 1.5, equal_var=False, alternative="less").pvalue
    assert tost_independent(first, second, 1.5) == pytest.approx(max(lower, upper), rel=1e-9)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0.1, 20))
def test_tost_is_inclusion_of_the_interval(differences, margin):
    p, by_interval = tost(differences, margin), p_inside(Mean(differences), Region(-margin, margin), one_sided=True)
    assert by_interval == pytest.approx(p, rel=1e-6, abs=1e-14) if p < 0.499 else by_interval > 0.499


def test_fisher_against_enumeration():
    """8/10 against 3/10: sum of hypergeometric terms no larger than the observed one."""
    terms = [math.comb(10, k) * math.comb(10, 11 - k) / math.comb(20, 11) for k in range(1, 11)]
    assert fisher_exact(8, 10, 3, 10) == pytest.approx(sum(t for t in terms if t <= terms[7] * (1 + 1e-9)))
    assert fisher_exact(3, 10, 3, 10) == pytest.approx(1.0)


# -- regions

ESTIMATES = [
    Proportion(3, 40),
    Proportion(0, 40),
    Poisson(4, 10.0),
    Mean(SKEWED),
    PairedMean(SKEWED, SKEWED[::-1]),
    MeanDifference(SKEWED[:9], SKEWED[9:]),
    Bootstrap(mean_of, SKEWED, seed=0, vectorized=True),
]


@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.002])
def test_p_values_invert_the_interval(estimate, alpha):
    """A region that ends where the interval ends has p = alpha; one that ends just inside or outside does not."""
    low, high = estimate.test_ends(alpha)
    if isinstance(estimate, Bootstrap):
        assert p_inside(estimate, Region(low, high)) <= alpha < p_inside(estimate, Region(low, high - 1e-9))
    else:
        assert p_inside(estimate, Region(low, high)) == pytest.approx(alpha, rel=1e-6)
        assert p_outside(estimate, Region(high, high + 1)) == pytest.approx(alpha, rel=1e-6)
        assert p_inside(estimate, Region(low, high), one_sided=True) == pytest.approx(alpha / 2, rel=1e-6)
    assert p_inside(estimate, Region(low - 1, high + 0.1)) < alpha < p_inside(estimate, Region(low - 1, high - 0.01))
    assert p_outside(estimate, Region(high + 0.01, 99)) < alpha < p_outside(estimate, Region(high - 0.01, 99))
    assert p_inside(estimate, Region(98, 99)) == 1.0 == p_outside(estimate, Region(-99, 99))
    assert p_inside(estimate, Region()) == estimate.smallest_alpha


def test_bootstrap_gives_no_p_value_below_its_resolution():
    estimate = Bootstrap(mean_of, SKEWED, seed=0, resamples=999, vectorized=True)
    assert p_inside(estimate, Region(-99, 99)) == p_outside(estimate, Region(98, 99)) == 2 / 1000
    assert p_inside(estimate, Region(-99, 99), one_sided=True) == 1 / 1000


def test_exact_numbers_are_inside_or_not():
    assert p_inside(Exact(1.0), Region(0, 1)) == 0.0 and p_outside(Exact(1.0), Region(0, 1)) == 1.0
    assert p_inside(Exact(1.1), Region(0, 1)) == 1.0 and p_outside(Exact(1.1), Region(0, 1)) == 0.0
    assert p_outside(Exact(0.0), Region(0, 1)) == 1.0
    assert Exact(1.1, n=7).interval(0.99) == (1.1, 1.1)


# -- Holm


def test_holm_by_hand():
    """Sorted .01, .02, .02, .04, .9 times 5, 4, 3, 2, 1: .05, .08, .06, .08, .9; then the running maximum."""
    assert holm([0.02, 0.9, 0.01, 0.04, 0.02]) == pytest.approx([0.08, 0.9, 0.05, 0.08, 0.08])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,) and holm([0.03]).tolist() == [0.03]


@given(st.lists(st.sampled_from([0.0, 1e-9, 0.003, 0.01, 0.04, 0.05, 0.3, 1.0]) | st.floats(0, 1), max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """Adjusted p = max over all sets J that hold i of min(1, |J| min p_J): an independent definition."""
    adjusted = holm(p_values)
    for i, found in enumerate(adjusted):
        rest = [j for j in range(len(p_values)) if j != i]
        subsets = itertools.chain.from_iterable(itertools.combinations(rest, size) for size in range(len(rest) + 1))
        closed = max(min(1.0, (len(s) + 1) * min([p_values[i], *(p_values[j] for j in s)])) for s in subsets)
        assert found == pytest.approx(closed, rel=1e-12, abs=0)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_order(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]).tolist() == holm(p_values)[order].tolist()


# -- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mean([1.0, math.nan, math.inf]), "values=2 of 3 not finite"),
        (lambda: Mean([1.0]), "n >= 2 seeds"),
        (lambda: Mean([[1.0], [2.0]]), r"shape \(2, 1\)"),
        (lambda: PairedMean([1, 2, 3], [1, 2]), "second=2 values: allowed is 3 values"),
        (lambda: Proportion(5, 4), "hits=5: allowed is a whole number from 0 to n=4"),
        (lambda: Proportion(0.5, 4), "hits=0.5"),
        (lambda: Proportion(0, 0), "n=0"),
        (lambda: Poisson(-1, 3), "count=-1"),
        (lambda: Poisson(1, math.inf), "exposure=inf"),
        (lambda: Exact(math.nan), "value=1 of 1 not finite"),
        (lambda: Mean([1, 2]).interval(1.0), "confidence=1.0"),
        (lambda: upper_bound(0), "whole number >= 1"),
        (lambda: Region(2, 1), r"region=\(2, 1\): allowed is low <= high"),
        (lambda: Region(math.nan, 1), "region="),
        (lambda: tost([1, 2], 0.0), "margin=0.0"),
        (lambda: holm([0.1, math.nan]), "p_values="),
        (lambda: holm([1.1]), "p_values="),
        (lambda: Bootstrap(mean_of, [1.0, math.nan], seed=0), r"arrays\[0\]=1 of 2 not finite"),
        (lambda: Bootstrap(mean_gap, [1, 2], [1, 2, 3], seed=0), r"arrays=\[2, 3\]"),
        (lambda: Bootstrap(mean_of, seed=0), "arrays="),
        (lambda: Bootstrap(mean_of, [1, 2], seed=0, resamples=10), "resamples=10"),
        (lambda: Bootstrap(np.mean, [1, 2], seed=0, vectorized=True), r"statistic=shape \(\)"),
        (lambda: Bootstrap(lambda v: np.float64(1) / v.std(), [1, 2], seed=0), "statistic of a resample="),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
