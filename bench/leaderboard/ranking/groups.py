"""Tie groups and rank intervals: what the comparisons of one table allow to say about the order of its optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from bench.leaderboard.ranking.pairs import compare_pairs, differences
from bench.statistics.bootstrap import percentile_ends, tail_share
from bench.statistics.medians import interquartile_mean, interquartile_weights, median, weighted_mean
from bench.statistics.resampling import RESAMPLES, sorted_draws


class Standing(NamedTuple):
    """Where one optimizer stands in one table.

    Attributes:
        tie_group: 1 for those that are not separated from the leader, 2 for the next leader's, ...
        rank_low, rank_high: best and worst rank that the data leave open.
        p_value_to_leader: of the comparison with the leader of the table, adjusted by Holm; None for the leader.
    """

    tie_group: int
    rank_low: int
    rank_high: int
    p_value_to_leader: float | None


def standings(costs: np.ndarray, *, unranked: int = 0, resamples: int = RESAMPLES) -> list[Standing]:
    """Standing of every row of `costs` [optimizers, seeds], lower is better, the same seeds in the same order.

    Args:
        unranked: optimizers of the table whose results are incomplete. They could stand anywhere, so that the worst
            rank of every other one counts them.
        resamples: of the bootstrap behind the rank intervals.
    """
    tests = compare_pairs(costs)
    groups = tie_groups(by_location(costs), tests.better)
    low, high = rank_intervals(costs, tests.better, resamples)
    leader = groups[0][0]
    group_of = {one: number for number, group in enumerate(groups, 1) for one in group}
    return [
        Standing(
            group_of[one],
            int(low[one]),
            int(high[one]) + unranked,
            None if one == leader else float(tests.p_values[leader, one]),
        )
        for one in range(len(costs))
    ]


def by_location(costs: np.ndarray) -> list[int]:
    """Rows of `costs` [optimizers, seeds], lowest median first; equal ones by interquartile mean, then as given."""
    locations = [(median(row), interquartile_mean(row)) for row in costs]
    return sorted(range(len(costs)), key=locations.__getitem__)


def tie_groups(order: Sequence[int], better: np.ndarray) -> list[list[int]]:
    """Groups of optimizers, each anchored at its leader: the leader first, then all that are not separated from it.

    The leader is the first in `order`, of those in no group yet, that none of them beats (`better`: [optimizers,
    optimizers]). Two that are tied with the leader share its group even if they are separated from each other. One
    that is tied with a follower, but not with the leader, stays out: there are no chains.
    """
    groups, left = [], list(order)
    while left:
        leader = next((one for one in left if not better[left, one].any()), left[0])
        tied = [one for one in left if one != leader and not better[leader, one] and not better[one, leader]]
        groups.append([leader, *tied])
        left = [one for one in left if one not in groups[-1]]
    return groups


def rank_intervals(costs: np.ndarray, better: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Best and worst rank [optimizers] of each row of `costs` [optimizers, seeds] that the data leave open.

    Paired bootstrap: the same resampled seeds for all rows; in a resample one row is ahead of another if the
    interquartile mean of their paired differences is below 0, and the ranks of a row are 1 + the number of those ahead
    of it, up to the number of rows - those behind it. The ends are percentiles of these (bench.statistics.bootstrap).

    The bootstrap alone would rank what is equal (Xie, Singh and Zhang 2009, JASA 104, 775-788), so the interval never
    excludes a rank that the tests leave open: 1 + those separated and better, to the number of rows - those separated
    and worse. By Holm, all these intervals hold at once with 95 % (Al Mohamad, Goeman and van Zwet 2022, Biometrics).
    """
    count, seeds = costs.shape
    draws, weights = sorted_draws(seeds, resamples=resamples), interquartile_weights(seeds)
    ahead = np.zeros((count, count, resamples), dtype=bool)
    for i, j in combinations(range(count), 2):
        resampled = np.sort(differences(costs[i], costs[j])[draws], axis=1)
        with np.errstate(invalid="ignore"):  # an infinity of either sign in the middle: neither is ahead
            means = weighted_mean(resampled, weights)
        ahead[i, j], ahead[j, i] = means < 0, means > 0
    share = tail_share(seeds - 1)
    low = [min(percentile_ends(1 + ahead[:, one].sum(0), share)[0], 1 + better[:, one].sum()) for one in range(count)]
    high = [
        max(percentile_ends(count - ahead[one].sum(0), share)[1], count - better[one].sum()) for one in range(count)
    ]
    return np.array(low), np.array(high)
