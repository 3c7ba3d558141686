"""Sensitivity: a valley of known width, trials that scatter, divergence, and the axes of each optimizer."""

import math

import polars as pl
import pytest

from bench.leaderboard.ranking.sensitivity import sensitivity


def tuning(trials, seeds=3):
    """Member rows of `trials`: (lr, momentum, objective), objective None where it diverged; one row per seed."""
    rows = []
    for lr, momentum, objective in trials:
        for seed in range(seeds):
            rows.append(
                {
                    "hyperparameters": f"{lr:.6f} {momentum}",
                    "lr": lr,
                    "momentum": momentum,
                    "status": "diverged" if objective is None else "done",
                    "train_loss": None if objective is None else objective + 0.001 * (seed - 1),
                }
            )
    schema = {"lr": pl.Float64, "momentum": pl.Float64, "train_loss": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=schema)


def test_the_width_of_a_valley():
    """log10 objective = (log10 lr + 1)^2: within 10 % of its minimum over 2 sqrt(log10 1.1) decades."""
    grid = [10 ** (-3 + 0.01 * i) for i in range(401)]
    (entry,) = sensitivity(tuning([(lr, None, 10 ** ((math.log10(lr) + 1) ** 2)) for lr in grid]), ["lr"])
    assert entry["against"] == "lr" and entry["best_x"] == pytest.approx(0.1)
    assert entry["width_decades"] == pytest.approx(2 * math.sqrt(math.log10(1.1)), abs=0.002)
    assert entry["share_diverged"] == 0 and len(entry["points"]) == 401
    assert [point["x"] for point in entry["points"]] == sorted(grid)


def test_between_trials_the_logarithms_are_interpolated():
    (entry,) = sensitivity(tuning([(0.01, None, 1.21), (0.1, None, 1.0), (1.0, None, 1.331)]), ["lr"])
    assert entry["width_decades"] == pytest.approx(1 / 2 + 1 / 3)


def test_a_trial_that_is_bad_for_another_reason_does_not_narrow_the_range():
    """A better one farther out shows that this step size could have been good with another momentum."""
    good = [(0.001, 0.5, 2.0), (0.01, 0.5, 1.05), (0.1, 0.5, 1.0), (1.0, 0.5, 2.0)]
    lr, momentum, effective = sensitivity(tuning([*good, (0.03, 0.99, 50.0)]), ["lr", "momentum"])
    (alone, *_) = sensitivity(tuning(good), ["lr", "momentum"])
    assert lr["width_decades"] == pytest.approx(alone["width_decades"]) and lr["width_decades"] > 1
    assert [entry["against"] for entry in (lr, momentum, effective)] == ["lr", "momentum", "effective_step"]


def test_axes_of_momentum_and_of_the_effective_step():
    """The objective depends on lr / (1 - momentum) only."""
    trials = [(0.1, 0.0, 1.0), (0.05, 0.5, 1.0001), (0.01, 0.9, 1.0002), (0.1, 0.9, 4.0), (0.01, 0.0, 4.0)]
    lr, momentum, effective = sensitivity(tuning(trials), ["lr", "momentum"])
    xs = [0.01, 0.1, 0.1, 0.1, 1.0]
    assert [point["x"] for point in effective["points"]] == pytest.approx(xs)
    assert effective["width_decades"] == pytest.approx(2 * math.log(1.1) / math.log(4.0), abs=0.01)
    assert momentum["width_decades"] == pytest.approx(1.0, abs=0.001)  # 1 - momentum from 1 to 0.1, both good
    assert lr["width_decades"] == pytest.approx(1.0, abs=0.001)
    assert [entry["against"] for entry in sensitivity(tuning(trials), ["lr"])] == ["lr"]
    assert sensitivity(tuning(trials), ["beta1"]) == []


def test_diverged_trials_end_the_range_and_are_counted():
    (entry,) = sensitivity(tuning([(0.1, None, 1.0), (1.0, None, None), (0.2, None, 1.05)]), ["lr"])
    assert entry["width_decades"] == pytest.approx(math.log10(2))
    assert entry["share_diverged"] == pytest.approx(1 / 3)
    assert entry["points"][-1] == {"x": 1.0, "median": None, "low": None, "high": None, "n": 3, "n_diverged": 3}
    first = entry["points"][0]
    assert (first["median"], first["low"], first["high"], first["n"]) == (1.0, 0.999, 1.001, 3)


def test_where_nothing_is_known_nothing_is_said():
    (entry,) = sensitivity(tuning([(0.1, None, None)]), ["lr"])
    assert (entry["best_x"], entry["width_decades"], entry["share_diverged"]) == (None, None, 1.0)
    (entry,) = sensitivity(tuning([(0.1, None, 1.0)]).clear(), ["lr"])
    assert (entry["points"], entry["best_x"], entry["share_diverged"]) == ([], None, None)
    (entry,) = sensitivity(tuning([(0.1, None, 0.0), (0.2, None, -1.0)]), ["lr"])
    assert (entry["best_x"], entry["width_decades"]) == (0.2, None)  # 10 % of nothing


def test_the_order_of_the_rows_does_not_matter():
    rows = tuning([(0.1 * i, 0.1 * (i % 3), 1 + (i - 4) ** 2) for i in range(1, 9)])
    assert sensitivity(rows.sample(fraction=1.0, shuffle=True, seed=1), ["lr", "momentum"]) == sensitivity(
        rows, ["lr", "momentum"]
    )
