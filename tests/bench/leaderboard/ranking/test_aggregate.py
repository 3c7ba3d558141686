"""The normalised score: by hand, at its ends, and how often its interval covers the truth."""

import math

import numpy as np
import pytest

from bench.leaderboard.ranking.aggregate import Scale, aggregate
from tests.bench.leaderboard.ranking.boards import DISTRIBUTIONS, sample


def test_by_hand():
    """Accuracies, as costs: untrained 0.1, best median 0.9; and losses: untrained 1, best median 0.2."""
    accuracy = Scale(-np.array([[0.9, 0.9, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5]]), -0.1)
    loss = Scale(np.array([[0.6, 0.6, 0.6, 0.6], [0.2, 0.2, 0.2, 0.2]]), 1.0)
    first, second = aggregate(["x", "y"], {"p": accuracy, "q": loss})
    assert first["by_problem"] == {"p": pytest.approx(1.0), "q": pytest.approx(0.5)}
    assert second["by_problem"] == {"p": pytest.approx(0.5), "q": pytest.approx(1.0)}
    assert first["score"] == second["score"] == pytest.approx(0.75)
    assert first["low"] == first["high"] == pytest.approx(0.75)
    assert "untrained" in first["normalised"] and "best" in first["normalised"]


def test_every_seed_counts():
    """Costs 0, 0.2, 0.4 and one that diverged; untrained 1.3, best median 0.3."""
    (entry,) = aggregate(["x"], {"p": Scale(np.array([[0.0, 0.2, 0.4, math.inf]]), 1.3)})
    assert entry["score"] == pytest.approx((1.3 + 1.1 + 0.9 + 0) / 4)


def test_what_diverged_or_learned_nothing_is_0():
    costs = np.array([[0.2] * 4, [math.inf] * 4, [1.5] * 4])
    scores = [entry["score"] for entry in aggregate(["x", "y", "z"], {"p": Scale(costs, 1.0)})]
    assert scores == [1.0, 0.0, 0.0]


def test_a_problem_on_which_nobody_learns_has_no_scale():
    good, bad = Scale(np.array([[0.5] * 4]), 1.0), Scale(np.array([[1.0] * 4]), 1.0)
    unknown = Scale(np.array([[0.5] * 4]), math.nan)
    (entry,) = aggregate(["x"], {"good": good, "bad": bad, "unknown": unknown})
    assert list(entry["by_problem"]) == ["good"] and entry["score"] == 1.0
    assert aggregate(["x"], {"bad": bad}) == aggregate(["x"], {}) == []


def test_the_order_of_seeds_and_optimizers_does_not_matter():
    generator = np.random.default_rng(0)
    costs = generator.exponential(size=(3, 10))
    whole = aggregate(["x", "y", "z"], {"p": Scale(costs, 3.0)})
    order, seeds = [1, 2, 0], generator.permutation(10)
    other = aggregate(["y", "z", "x"], {"p": Scale(costs[order][:, seeds], 3.0)})
    assert {e["optimizer"]: e for e in other} == {e["optimizer"]: e for e in whole}


@pytest.mark.slow
def test_the_interval_covers_about_as_often_as_it_says(record_property):
    """Five problems of ten normal seeds: within 2 points of 95 %, and three standard errors of the simulation."""
    distribution, generator, hits, boards = DISTRIBUTIONS["normal"], np.random.default_rng(5), 0, 400
    expected = (20 - 5) / 20
    for _ in range(boards):
        costs = {str(p): np.array([np.zeros(10), 5 + sample(distribution, generator, 10)]) for p in range(5)}
        entry = aggregate(["best", "x"], {p: Scale(own, 20.0) for p, own in costs.items()})[1]
        hits += entry["low"] <= expected <= entry["high"]
    record_property("coverage", float(hits / boards))
    assert 0.93 - 0.033 <= hits / boards <= 0.97 + 0.033
