"""Signed-rank tests against scipy and against all assignments of signs; Holm over the pairs of a table."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from bench.leaderboard.ranking.pairs import compare_pairs, costs, differences, signed_rank
from bench.statistics.inference import holm
from shb.errors import ConfigurationError


def by_enumeration(found):
    """Two-sided p-value from all 2^n assignments of signs to the ranks (zeros ranked, then without a sign)."""
    ranks = rankdata(np.abs(found))[found != 0]
    signs = np.array(list(itertools.product([-1, 1], repeat=len(ranks)))).reshape(2 ** len(ranks), -1)
    observed = abs(float((ranks * np.sign(found[found != 0])).sum()))
    return float((np.abs(signs @ ranks) >= observed - 1e-9).mean())


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 40])
def test_without_ties_it_is_the_exact_test_of_scipy(n):
    generator = np.random.default_rng(n)
    for shift in (0.0, 0.4, 1.0):
        found = generator.normal(shift, 1, n)
        p, sign = signed_rank(found)
        assert p == pytest.approx(wilcoxon(found, method="exact").pvalue, rel=1e-12)
        statistic = (rankdata(np.abs(found)) * np.sign(found)).sum()
        assert sign == np.sign(statistic)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, np.inf]), min_size=1, max_size=9))
def test_with_ties_zeros_and_infinities_it_counts_all_signs(found):
    p, sign = signed_rank(found)
    assert p == pytest.approx(by_enumeration(np.array(found)), rel=1e-12)
    assert signed_rank([-value for value in found]) == (p, -sign)
    assert signed_rank(found[::-1]) == (p, sign)


def test_ten_seeds_of_one_sign():
    assert signed_rank(np.arange(1.0, 11.0)) == (2 / 1024, 1)
    assert signed_rank([-1.0] * 10) == (2 / 1024, -1)
    assert signed_rank([0.0] * 10) == (1.0, 0)
    assert signed_rank([]) == (1.0, 0)


def test_zeros_keep_their_places_in_the_ranks():
    """Pratt's example of why: with the zeros dropped, one more negative value could make the p-value smaller."""
    found = np.array([0.0, 0.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 11.0, 14.0, 15.0, 17.0, -18.0])
    assert signed_rank(found)[0] == pytest.approx(
        wilcoxon(found, zero_method="pratt", method="approx").pvalue, abs=0.01
    )
    assert signed_rank(found)[0] != pytest.approx(signed_rank(found[2:])[0], rel=1e-3)


def test_a_nan_is_refused():
    with pytest.raises(ConfigurationError, match="differences"):
        signed_rank([1.0, np.nan])


def test_differences_of_infinities():
    first, second = np.array([np.inf, np.inf, 1.0, 2.0]), np.array([np.inf, 1.0, np.inf, 0.5])
    assert differences(first, second).tolist() == [0.0, np.inf, -np.inf, pytest.approx(1.5)]
    assert differences(np.full(3, np.inf), np.full(3, np.inf)).tolist() == [0.0] * 3


def test_equal_differences_of_accuracies_are_ties():
    """Multiples of 1 / 360: their differences differ in the last bits, which decides nothing."""
    first, second = np.arange(330, 350) / 360, np.arange(327, 347) / 360
    assert len(set((first - second).tolist())) > 1
    assert len(set(differences(first, second).tolist())) == 1
    assert differences(first, first + 1e-9).tolist() != [0.0] * 20  # what is larger than rounding stays


def test_costs_turn_accuracies_around():
    assert costs("test_accuracy", [0.25, 0.5]).tolist() == [-0.25, -0.5]
    assert costs("test_loss", [0.25, np.inf]).tolist() == [0.25, np.inf]
    assert costs("steps_to_target", [3]).tolist() == [3.0]


def test_every_pair_is_adjusted_for_all_pairs():
    board = np.random.default_rng(0).normal(size=(4, 10)) + np.array([[0.0], [0.5], [2.0], [2.2]])
    pairs = list(itertools.combinations(range(4), 2))
    raw = [signed_rank(differences(board[i], board[j])) for i, j in pairs]
    found = compare_pairs(board)
    assert (np.diag(found.p_values) == 1).all() and (found.p_values == found.p_values.T).all()
    separated = 0
    for (i, j), p, (_, sign) in zip(pairs, holm([p for p, _ in raw]), raw):
        assert found.p_values[i, j] == p
        assert found.better[i, j] == (p <= 0.05 and sign < 0) and found.better[j, i] == (p <= 0.05 and sign > 0)
        separated += p <= 0.05
    assert 0 < separated < 6


def test_one_optimizer_is_compared_with_none():
    assert compare_pairs(np.zeros((1, 5))).better.tolist() == [[False]]
