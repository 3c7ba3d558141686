"""Tie groups and rank intervals: by hand, on boards of equal optimizers, and with a planted difference."""

import numpy as np
import pytest

from bench.leaderboard.ranking.groups import by_location, rank_intervals, standings, tie_groups
from bench.leaderboard.ranking.pairs import compare_pairs
from bench.leaderboard.ranking.power import seeds_needed, signed_rank_power
from tests.bench.leaderboard.ranking.boards import KINDS, equal_boards


def relation(count, *pairs):
    better = np.zeros((count, count), dtype=bool)
    for winner, loser in pairs:
        better[winner, loser] = True
    return better


def test_a_group_is_anchored_at_its_leader():
    """0 is tied with 1, and 1 with 2, but 0 is better than 2: no chain."""
    assert tie_groups([0, 1, 2], relation(3, (0, 2))) == [[0, 1], [2]]
    assert tie_groups([0, 1, 2], relation(3)) == [[0, 1, 2]]
    assert tie_groups([0, 1, 2], relation(3, (0, 1), (0, 2), (1, 2))) == [[0], [1], [2]]


def test_one_that_scatters_may_be_tied_with_the_leader_though_others_between_are_not():
    assert tie_groups([0, 1, 2], relation(3, (0, 1))) == [[0, 2], [1]]


def test_the_leader_is_not_one_that_another_is_better_than():
    """The order is by medians; a paired test may see 1 ahead of 0."""
    assert tie_groups([0, 1, 2], relation(3, (1, 0))) == [[1, 2], [0]]
    assert tie_groups([0, 1, 2], relation(3, (0, 1), (1, 2), (2, 0))) == [[0], [1], [2]]  # a cycle: the order decides


def test_the_order_is_by_median_then_interquartile_mean():
    board = np.array([[1, 2, 3, 4, 9], [1, 2, 3, 4, 5], [0, 0, 2, 9, 9], [1, 2, 3, 8, 9], [np.inf] * 5], dtype=float)
    assert by_location(board) == [2, 0, 1, 3, 4]


def test_standings_by_hand():
    """Ten seeds: 0 and 1 alternate, 2 is always worse than both, 3 diverged on every seed."""
    base = np.linspace(1, 2, 10)
    board = np.array([base, base + np.where(np.arange(10) % 2, 0.01, -0.01), base + 0.5, np.full(10, np.inf)])
    found = standings(board)
    assert [one.tie_group for one in found] == [1, 1, 2, 3]
    assert [(one.rank_low, one.rank_high) for one in found] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert {found[0].p_value_to_leader, found[1].p_value_to_leader} == {None, 1.0}
    assert found[2].p_value_to_leader == found[3].p_value_to_leader == pytest.approx(6 * 2 / 1024)
    assert [one.rank_high for one in standings(board, unranked=2)] == [4, 4, 5, 6]
    assert [one.rank_low for one in standings(board, unranked=2)] == [1, 1, 3, 4]


def test_identical_results_are_one_tie():
    board = np.tile(np.random.default_rng(0).normal(size=10), (4, 1))
    assert {tuple(one)[:3] for one in standings(board)} == {(1, 1, 4)}
    assert [one.p_value_to_leader for one in standings(board)] == [None, 1.0, 1.0, 1.0]


def test_four_seeds_separate_nothing():
    """2 / 2^4 is more than 5 %, however large the difference."""
    board = np.arange(3.0)[:, None] * 100 + np.random.default_rng(0).normal(size=(3, 4))
    assert {tuple(one)[:3] for one in standings(board)} == {(1, 1, 3)}


def test_the_order_of_the_rows_does_not_matter():
    generator = np.random.default_rng(1)
    for board in generator.normal(size=(10, 4, 10)) + np.array([[0.0], [0.3], [1.5], [3.0]]):
        order = generator.permutation(4)
        assert [standings(board)[one] for one in order] == standings(board[order])


@pytest.mark.parametrize("kind", KINDS)
def test_equal_optimizers_tie_in_95_of_100_boards(kind, record_property):
    """500 boards of four optimizers that do not differ: at most 5 % separate anything."""
    boards = equal_boards(kind, 500, np.random.default_rng(0))
    tied = 0
    for board in boards:
        comparisons = compare_pairs(board)
        groups = tie_groups(by_location(board), comparisons.better)
        tied += len(groups) == 1 and not comparisons.better.any()
    record_property("tied", float(tied / 500))
    assert tied >= 0.95 * 500


def test_the_ranks_of_equal_optimizers_are_all_open(record_property):
    """With 95 % every one of them has the interval 1-4; the bootstrap alone would rank some in half of the boards."""
    boards = equal_boards("independent", 150, np.random.default_rng(1))
    open_ranks = [{tuple(one)[1:3] for one in standings(board, resamples=1000)} == {(1, 4)} for board in boards]
    everyone = ~np.eye(4, dtype=bool)  # as if all were separated: what is left is the bootstrap
    alone = [np.concatenate(rank_intervals(b, everyone, 1000)).tolist() == [1] * 4 + [4] * 4 for b in boards[:50]]
    record_property("open", float(np.mean(open_ranks)))
    record_property("bootstrap alone", float(np.mean(alone)))
    assert np.mean(open_ranks) >= 0.95 > 0.8 > np.mean(alone)


def test_intervals_contain_the_ranks_that_the_tests_leave_open():
    generator = np.random.default_rng(2)
    for board in generator.normal(size=(20, 4, 10)) + np.array([[0.0], [0.5], [2.0], [2.5]]):
        better = compare_pairs(board).better
        low, high = rank_intervals(board, better, 500)
        assert (low <= 1 + better.sum(0)).all() and (high >= 4 - better.sum(1)).all()
        assert (low >= 1).all() and (high <= 4).all() and (low <= high).all()


@pytest.mark.parametrize("effect", [1.0, 1.5])
def test_a_planted_difference_of_two_is_found_with_the_promised_power(effect, record_property):
    """Two optimizers: the share of 1,000 boards that find the difference is the power, within three standard errors."""
    seeds, power = seeds_needed(effect, 0.05)
    boards = np.random.default_rng(3).normal(size=(1000, 2, seeds)) / np.sqrt(2)  # differences of standard deviation 1
    boards[:, 1] += effect
    found = np.mean([compare_pairs(board).better[0, 1] for board in boards])
    record_property("power", [int(seeds), float(power), float(found)])
    assert 0.8 <= power == signed_rank_power(seeds, effect, 0.05)
    assert abs(found - power) < 3 * np.sqrt(power * (1 - power) / 1000)


@pytest.mark.slow
def test_a_planted_difference_among_four_is_found_with_at_least_the_promised_power(record_property):
    """One of four is better by 1.2 standard deviations of a difference, the others are equal."""
    seeds, power = seeds_needed(1.2, 0.05 / 6)
    boards = np.random.default_rng(4).normal(size=(500, 4, seeds)) / np.sqrt(2)
    boards[:, 0] -= 1.2
    found = np.array([[compare_pairs(board).better[0, other] for other in (1, 2, 3)] for board in boards])
    record_property("power", [int(seeds), float(power), float(found.mean())])
    assert found.mean() >= power - 3 * np.sqrt(power * (1 - power) / 500)
    fewer = boards[:, :, : seeds // 2]
    assert np.mean([compare_pairs(board).better[0, 1] for board in fewer]) < 0.5
