"""Seeds needed: power against simulated tests, critical values against enumeration, and the closest pair by hand."""

import itertools
import math

import numpy as np
import pytest

from bench.leaderboard.ranking.pairs import signed_rank
from bench.leaderboard.ranking.power import (
    MOST_SEEDS,
    SeedsNeeded,
    closest_pair,
    critical_value,
    seeds_needed,
    signed_rank_power,
)


@pytest.mark.parametrize("n", [1, 5, 8, 10, 12])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_critical_values_are_those_of_all_signs(n, alpha):
    sums = np.array([sum(kept) for kept in itertools.product(*((0, rank) for rank in range(1, n + 1)))])
    critical = critical_value(n, alpha)
    assert (sums >= critical).mean() <= alpha / 2 < (sums >= critical - 1).mean()


def test_critical_values_go_on_smoothly_beyond_the_exact_ones():
    for alpha in (0.05, 0.05 / 6):
        exact, approximate = critical_value(300, alpha), critical_value(301, alpha)
        spread = math.sqrt(300 * 301 * 601 / 24)
        assert (approximate - 301 * 302 / 4) / spread == pytest.approx((exact - 300 * 301 / 4) / spread, abs=0.02)


@pytest.mark.parametrize(
    ("n", "effect", "alpha"), [(6, 2.0, 0.05), (10, 1.2, 0.05 / 6), (20, 0.8, 0.05 / 6), (60, 0.45, 0.05)]
)
def test_power_is_the_share_of_samples_that_the_test_rejects(n, effect, alpha):
    """With 2,000 samples and `signed_rank` itself, beyond 40 seeds the normal approximation too."""
    samples = np.random.default_rng(99).normal(effect, 1, (2000, n))
    rejected = np.mean([(result := signed_rank(one))[0] <= alpha and result[1] > 0 for one in samples])
    power = signed_rank_power(n, effect, alpha)
    assert abs(rejected - power) < 3 * math.sqrt(power * (1 - power) / 2000) + 0.01 * (n > 40)


def test_the_least_seeds_that_can_separate_anything():
    """2 / 2^n must not exceed the level: 6 seeds for two optimizers, 8 for four, however large the difference."""
    assert seeds_needed(math.inf, 0.05) == (6, 1.0)
    assert seeds_needed(math.inf, 0.05 / 6) == (8, 1.0)
    assert signed_rank_power(7, math.inf, 0.05 / 6) == signed_rank_power(7, 5.0, 0.05 / 6) == 0.0


def test_fewer_seeds_have_too_little_power():
    for effect in (2.0, 1.0, 0.5, 0.2, 0.05):
        seeds, power = seeds_needed(effect, 0.05 / 6)
        assert power == signed_rank_power(seeds, effect, 0.05 / 6) >= 0.8
        assert signed_rank_power(seeds - 1, effect, 0.05 / 6) < 0.8
    assert seeds_needed(0.0, 0.05) is None and seeds_needed(0.01, 0.05) is None


def test_seeds_grow_as_the_inverse_square_of_the_effect():
    assert seeds_needed(0.1, 0.05)[0] / seeds_needed(0.2, 0.05)[0] == pytest.approx(4, rel=0.03)
    assert seeds_needed(0.03, 0.05)[0] < MOST_SEEDS


def test_the_closest_pair_by_hand():
    wave = np.where(np.arange(10) % 2, 1.0, -1.0)
    board = np.array([np.zeros(10), 1 + wave, 10 + wave])  # 0 - 1: mean -1, spread 1.05; 1 - 2: always -9
    found = closest_pair(board)
    spread = wave.std(ddof=1)
    assert isinstance(found, SeedsNeeded) and found.pair == (0, 1)
    assert (found.difference, found.spread) == (pytest.approx(-1.0), pytest.approx(spread))
    assert (found.seeds, found.power) == seeds_needed(1 / spread, 0.05 / 3)


def test_equal_results_need_more_seeds_than_there_are():
    board = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [9.0, 9.0, 9.5]])
    assert closest_pair(board) == ((0, 1), 0.0, 2.0, None, None)
    accuracies = np.array([np.arange(330, 340) / 360, np.arange(339, 329, -1) / 360])
    assert closest_pair(accuracies).difference == 0.0  # not what rounding leaves


def test_infinite_costs_have_no_mean():
    finite = np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 5.0]])
    diverged = np.array([[1.0, np.inf, 4.0]])
    assert closest_pair(np.concatenate([diverged, finite])).pair == (1, 2)
    assert closest_pair(np.concatenate([diverged, finite[:1]])) is None
    assert closest_pair(finite[:1]) is None and closest_pair(np.empty((0, 0))) is None
