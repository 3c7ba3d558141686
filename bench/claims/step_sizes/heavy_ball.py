"""What the claims on step sizes and limits share: heavy-ball runs, their step sizes, log-log slopes, the worst case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.claims.claim import Protocol
from bench.claims.experiment import Columns, Experiment
from bench.claims.observers import dyadic
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Estimate
from bench.statistics.inference import Region, p_inside
from shb.schedules import schedule_table


def power(q: float, k0: float = 10.0) -> tuple[str, ...]:
    """Overrides of alpha_k = lr / (k + 1 + k0)^q."""
    return "schedule=power", f"schedule.q={q}", f"schedule.k0={k0}"


def power_steps(lr: float, q: float, steps: int, k0: float = 10.0) -> np.ndarray:
    """alpha_0, ..., alpha_{steps-1} of `power`: [steps]."""
    return schedule_table("power", [lr], {"q": q, "k0": k0}, 0, steps, steps)[:, 0]


def heavy_ball(
    protocol: Protocol,
    *overrides: str,
    lr: float,
    beta: float = 0.0,
    steps: int | None = None,
    seeds: int | None = None,
    observe: Mapping[str, Mapping[str, Any]] | None = None,
) -> Experiment:
    """SHB from rest with constant momentum `beta` (0: SGD); `steps` and `seeds` are the protocol's unless given."""
    unstable = () if -1 < beta < 1 else ("optimizer.allow_unstable=true",)
    return trajectories(
        *overrides,
        "optimizer=shb",
        f"optimizer.lr={lr}",
        f"optimizer.momentum={beta}",
        *unstable,
        f"steps={steps or protocol['steps']}",
        seeds=seeds or protocol["seeds"],
        observe=observe,
        device=protocol.device,
    )


def window_ends(steps: int) -> np.ndarray:
    """K of the observer "windows": 2, 4, ..., the largest power of 2 that is <= steps."""
    return np.array([stop for _, stop in dyadic(steps)])


def late_slopes(values: ArrayLike, steps: int, first: int) -> np.ndarray:
    """Per seed, the least-squares slope of log `values` [n, J] of the windows K >= `first` against log K: [n]."""
    ends = window_ends(steps)
    return slopes(np.log(np.asarray(values)[:, ends >= first]), np.log(ends[ends >= first]))


def slopes(y: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Per row of `y` [n, J], the least-squares slope against `x` [J]: [n]."""
    centred = np.asarray(x) - np.mean(x)
    return np.asarray(y) @ centred / (centred @ centred)


def worst(estimates: Mapping[str, Estimate], region: Region) -> tuple[str, Estimate]:
    """The estimate that lies least surely inside `region`, with its name.

    "All of them lie inside" is supported at a level as soon as this one is (intersection-union test, Berger 1982).
    """

    def doubt(name: str) -> tuple[float, float]:
        low, high = estimates[name].interval()
        return p_inside(estimates[name], region), max(region.low - low, high - region.high)

    name = max(estimates, key=doubt)
    return name, estimates[name]


def excludes(estimate: Estimate, value: float) -> bool:
    """Whether the 95 % interval excludes `value`."""
    low, high = estimate.interval()
    return not low <= value <= high


def unbounded(**columns: Columns) -> str | None:
    """Why the claim does not apply, if any run of these experiments diverged (A5 violated), else None."""
    counts = {name: int(own["diverged"].sum()) for name, own in columns.items()}
    bad = [f"{count} of {len(columns[name]['diverged'])} runs of {name}" for name, count in counts.items() if count]
    return f"A5 (bounded iterates) violated: {', '.join(bad)} diverged" if bad else None
