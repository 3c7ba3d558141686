"""What the claims on step sizes and limits share: heavy-ball runs, their step sizes, log-log slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.claims.claim import Protocol
from bench.claims.experiment import Columns, Experiment
from bench.claims.observers import dyadic
from bench.claims.trajectories import trajectories
from bench.statistics.slope import exponents
from shb.schedules import schedule_table


def power(q: float, k0: float = 10.0) -> dict[str, Any]:
    """Settings of alpha_k = lr / (k + 1 + k0)^q."""
    return {"schedule": "power", "schedule.q": q, "schedule.k0": k0}


def power_steps(lr: float, q: float, steps: int, k0: float = 10.0) -> np.ndarray:
    """alpha_0, ..., alpha_{steps-1} of `power`: [steps]."""
    return schedule_table("power", [lr], {"q": q, "k0": k0}, 0, steps, steps)[:, 0]


def heavy_ball(
    protocol: Protocol,
    *settings: Mapping[str, Any],
    lr: float,
    beta: float = 0.0,
    steps: int | None = None,
    seeds: int | None = None,
    observe: Mapping[str, Mapping[str, Any]] | None = None,
) -> Experiment:
    """SHB from rest with constant momentum `beta` (0: SGD); `steps` and `seeds` are the protocol's unless given."""
    unstable = {} if -1 < beta < 1 else {"optimizer.allow_unstable": True}
    return trajectories(
        *settings,
        {"optimizer": "shb", "optimizer.lr": lr, "optimizer.momentum": beta, **unstable},
        {"steps": steps or protocol["steps"]},
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
    return exponents(np.asarray(values)[:, ends >= first], ends[ends >= first])


def unbounded(**columns: Columns) -> str | None:
    """Why the claim does not apply, if any run of these experiments diverged (A5 violated), else None."""
    counts = {name: int(own["diverged"].sum()) for name, own in columns.items()}
    bad = [f"{count} of {len(columns[name]['diverged'])} runs of {name}" for name, count in counts.items() if count]
    return f"A5 (bounded iterates) violated: {', '.join(bad)} diverged" if bad else None
