"""Whole paths of closed forms, from starts with a velocity of choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.claims.trajectories import cell_of
from shb.problems.closed_forms import ClosedForm
from shb.streams import BLOCK
from shb.training import Member, Stack, StackStep


class Paths(NamedTuple):
    """`w` [K + 1, n, size]; lr and momentum of every step, [K]; `previous` = w_{-1}, [n, size]."""

    problem: ClosedForm
    w: np.ndarray
    lr: np.ndarray
    momentum: np.ndarray
    previous: np.ndarray


def paths(
    overrides: Sequence[str], device: str, seeds: np.ndarray, starts: np.ndarray | None = None, velocity: float = 0.0
) -> Paths:
    """Paths of SGD or SHB in the cell `overrides` (of `python -m bench.run`), in float64.

    Args:
        seeds: [n], of the samples (and of w_0 where `starts` is None).
        starts: w_0, [n, size] or None for the cell's initialisation.
        velocity: w_0 - w_{-1}, every coordinate, units of w per step; SHB only.
    """
    cell = cell_of(tuple(overrides), device)
    hyperparameters = cell.members[0].hyperparameters
    stack = Stack(cell.problem(), cell.optimizer, [Member(int(s), hyperparameters) for s in seeds], cell.plan)
    state = stack.start()
    w = state["params"]["w"]
    if starts is not None:
        filled = np.concatenate([starts, np.repeat(starts[-1:], stack.width - len(starts), 0)])
        w = torch.from_numpy(filled).to(w)
        state["params"]["w"] = w
    if velocity:
        state["optimizer"]["velocity"]["w"] = torch.full_like(w, velocity)
    points, lr, momentum = [w], [], []

    def see(step: StackStep) -> None:
        points.append(step.new_params["w"])
        lr.append(float(step.hyperparameters["lr"][0]))
        momentum.append(float(step.hyperparameters["momentum"][0]) if "momentum" in step.hyperparameters else 0.0)

    for start in range(0, cell.plan.steps, BLOCK):
        stack.advance(state, start, min(start + BLOCK, cell.plan.steps), see)
    path = torch.stack(points)[:, : len(seeds)].cpu().numpy()
    return Paths(stack.problem, path, np.array(lr), np.array(momentum), path[0] - velocity)


def heavy_ball(effective: float, momentum: float) -> dict[str, Any]:
    """Settings of SHB, SGD for momentum 0, with a constant step alpha = effective (1 - momentum)."""
    if momentum == 0:
        return {"optimizer": "sgd", "optimizer.lr": effective}
    return {"optimizer": "shb", "optimizer.lr": effective * (1 - momentum), "optimizer.momentum": momentum}
