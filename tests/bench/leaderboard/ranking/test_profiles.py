"""Performance profiles: factors by hand, areas against quadrature, what is missed counts as infinite."""

import math

import numpy as np
import pytest

from bench.leaderboard.ranking.profiles import LARGEST_FACTOR, TAUS, areas, factors, profiles

INF = math.inf


def test_factors_by_hand():
    steps = np.array([[10.0, 20.0, INF, INF, 0.0], [20.0, 10.0, 30.0, INF, 0.0], [INF, 15.0, 90.0, INF, 5.0]])
    expected = [[1, 2, INF, INF, 1], [2, 1, 1, INF, 1], [INF, 1.5, 3, INF, INF]]
    assert factors(steps).tolist() == expected


def test_the_area_is_the_integral_of_the_profile():
    ratios = np.array([1.0, 1.3, 2.0, 3.999, 4.0, 7.0, INF])
    fine = np.linspace(1, LARGEST_FACTOR, 300_001)
    for ratio, area in zip(ratios, areas(ratios)):
        assert area == pytest.approx((ratio <= fine).mean(), abs=1e-4)


def test_a_profile_by_hand():
    """Two problems, two seeds: factors of 0 are 1, 1, 1, 3; of 1: 2, 2, infinite, 1."""
    steps = {"a": np.array([[10.0, 10.0], [20.0, 20.0]]), "b": np.array([[5.0, 30.0], [INF, 10.0]])}
    first, second = profiles(["x", "y"], steps)
    assert (first["optimizer"], first["problems"]) == ("x", ["a", "b"])
    for profile, known in ((first, [1, 1, 1, 3]), (second, [2, 2, INF, 1])):
        assert profile["tau"] == list(TAUS)
        assert profile["share"] == [np.mean([factor <= tau for factor in known]) for tau in TAUS]
        assert profile["area"] == pytest.approx(np.mean([max(0, (4 - factor) / 3) for factor in known]))
        assert profile["area_low"] <= profile["area"] <= profile["area_high"]
        for low, share, high in zip(profile["share_low"], profile["share"], profile["share_high"]):
            assert 0 <= low <= share <= high <= 1 and low < high
    assert (TAUS[0], TAUS[-1]) == (1, LARGEST_FACTOR) and 2.0 in TAUS


def test_who_always_misses_has_no_area_and_all_who_tie_are_fastest():
    never, first, second = profiles(["a", "b", "c"], {"p": np.array([[INF] * 10, [5.0] * 10, [5.0] * 10])})
    assert (never["area"], set(never["share"])) == (0.0, {0.0})
    assert first["area"] == second["area"] == 1.0 and first["share"][0] == second["share"][0] == 1.0
    assert first["share_low"][0] < 0.8  # "10 of 10" is not "always"


def test_without_problems_there_is_none():
    assert profiles(["x"], {}) == []


def test_a_profile_depends_on_nothing_but_its_problems_and_who_is_compared():
    generator = np.random.default_rng(0)
    steps = {name: generator.integers(1, 20, (3, 10)) * 15.0 for name in "abc"}
    whole = profiles(["x", "y", "z"], steps)
    order = [2, 0, 1]
    permuted = profiles(["z", "x", "y"], {name: own[order] for name, own in steps.items()})
    assert {p["optimizer"]: p for p in permuted} == {p["optimizer"]: p for p in whole}
    shuffled = {name: own[:, generator.permutation(10)] for name, own in steps.items()}
    assert profiles(["x", "y", "z"], shuffled) == whole  # seeds stay together, their order does not matter


def test_intervals_of_shares_cover_what_they_estimate(record_property):
    """Three problems of ten seeds; y is within a factor 2 of x with probabilities 0.9, 0.5 and 0.1: share 0.5."""
    generator, index, hits, boards = np.random.default_rng(1), TAUS.index(2.0), 0, 150
    for _ in range(boards):
        steps = {}
        for probability in (0.9, 0.5, 0.1):
            slow = np.where(generator.uniform(size=10) < probability, 15.0, 35.0)
            steps[str(probability)] = np.array([np.full(10, 10.0), slow])
        profile = profiles(["x", "y"], steps)[1]
        hits += profile["share_low"][index] <= 0.5 <= profile["share_high"][index]
    record_property("coverage", float(hits / boards))
    assert hits / boards >= 0.95
