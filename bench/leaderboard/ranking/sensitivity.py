"""Sensitivity to the step size: the final training objective of the tuning runs against one hyperparameter.

The trials of the tuner vary all hyperparameters of an optimizer at once, so against a single axis those of an optimizer
with several scatter. What counts is the best that can be had at a value of the axis: on either side of the best trial,
a trial counts if none farther out is better, and the objective between those that count is interpolated, linearly in
the logarithms. The width is that of the range in which this curve is within NEAR_BEST of the best trial; where the
curve does not rise so far, the range ends at the last finite trial that counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from bench.statistics.medians import finite_or_none, median, seed_values

OBJECTIVE = "train_loss"
NEAR_BEST = 0.1  # relative to the best trial's median
# axis -> the hyperparameters it needs, its value from them, and the positive quantity whose decades are counted
AXES: dict[str, tuple[set[str], Callable[[dict], float], Callable[[float], float]]] = {
    "lr": ({"lr"}, lambda trial: trial["lr"], lambda lr: lr),
    "momentum": ({"momentum"}, lambda trial: trial["momentum"], lambda momentum: 1 - momentum),
    "effective_step": ({"lr", "momentum"}, lambda trial: trial["lr"] / (1 - trial["momentum"]), lambda step: step),
}


def sensitivity(tuning: pl.DataFrame, space: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per axis of AXES that the trials of one optimizer on one problem vary.

    Args:
        tuning: member rows of its tuning (columns of the store), failed ones left out.
        space: the hyperparameters that the trials vary.

    Returns dictionaries of `against` (the axis), `points`, `best_x`, `width_decades` and `share_diverged`. A point is a
    trial: `x`, `median`, `low`, `high` of the objective over its `n` tuning seeds (low and high are the extremes: three
    seeds have no interval), `n_diverged`; infinite values are None. `best_x` is None if no trial has a finite median,
    `width_decades` also if the best is not positive, and counts decades of 1 - momentum for momentum.
    """
    trials = [_trial(members) for _, members in sorted(tuning.group_by("hyperparameters"), key=lambda group: group[0])]
    diverged = sum(trial["n_diverged"] for trial in trials) / len(tuning) if len(tuning) else None
    entries = []
    for axis, (needed, position, decades) in AXES.items():
        if not needed <= set(space):
            continue
        points = sorted(({**trial, "x": position(trial)} for trial in trials), key=lambda p: (p["x"], p["median"]))
        best = min(points, key=lambda point: point["median"], default=None)
        known = best is not None and math.isfinite(best["median"])
        width = None
        if known and best["median"] > 0:
            curve = sorted((math.log10(decades(p["x"])), p["median"]) for p in points if math.isfinite(p["median"]))
            width = _reach(curve) + _reach([(-x, value) for x, value in reversed(curve)])
        entries.append(
            {
                "against": axis,
                "points": [{name: finite_or_none(point[name]) for name in _POINT} for point in points],
                "best_x": best["x"] if known else None,
                "width_decades": width,
                "share_diverged": diverged,
            }
        )
    return entries


_POINT = ("x", "median", "low", "high", "n", "n_diverged")


def _trial(members: pl.DataFrame) -> dict[str, Any]:
    values = seed_values(members, OBJECTIVE)
    return {
        "lr": members["lr"][0],
        "momentum": members["momentum"][0],
        "median": median(values),
        "low": min(values),
        "high": max(values),
        "n": len(members),
        "n_diverged": int((members["status"] == "diverged").sum()),
    }


def _reach(curve: Sequence[tuple[float, float]]) -> float:
    """Decades below the best of `curve`, (log10 x, objective > 0) by rising x, in which it stays within NEAR_BEST."""
    best_x, best = min(curve, key=lambda point: point[1])
    limit, inner = best * (1 + NEAR_BEST), (best_x, best)
    outer: list[tuple[float, float]] = []  # those left of the best that count, the farthest first
    for x, value in curve:
        if x < best_x and (not outer or value < outer[-1][1]):
            outer.append((x, value))
    for x, value in reversed(outer):
        if value > limit:
            share = math.log(limit / inner[1]) / math.log(value / inner[1])
            return best_x - (inner[0] + share * (x - inner[0]))
        inner = x, value
    return best_x - inner[0]
