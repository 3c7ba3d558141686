"""Steps below which weights of 16 bits do not move: when rounding to the nearest number loses an update.

Where w + u is rounded to the nearest number, it is w again iff |u| is less than half the distance to the neighbour of
w on the side of u. That is ulp(w) / 2, ulp(w) = 2^(floor(log2 |w|) - 7) in bfloat16, but for a power of two, which has
its lower neighbour half as far; at exactly half, the one of both that ends on a 0 bit wins (theory.md section 6).

While nothing moves, the gradients are those of w_0. SGD moves by u_k = -lr g_k; the velocity of the heavy ball goes on
while w does not, u_k = -lr (g_k + beta g_{k-1} + ..), up to 1 / (1 - beta) times as far. So a parameter stays for K
updates iff lr is below

    threshold = min over k < K of (half distance on the side of u_k) / |u_k / lr|

all gradients at w_0, as long as only few others move. So the run's own gradients tell which parameters stay; what can
be known before it are gradients at w_0 of other mini-batches. From K of those a network has two steps:

    median     of ulp(w) / (2 |g_0| / (1 - beta)), what one looks at first
    hundredth  the quantile of order 0.01 of the thresholds: on those mini-batches 99 % would stay below it

Parameters whose gradients are all 0 (constant inputs) are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.cell.cell import Cell
from bench.claims.branches import OTHER_SAMPLES
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.observers import observer
from bench.claims.sampling.monitors import FullGradient
from bench.claims.trajectories import advance, cell_of, overrides_of
from shb.problems import LearningProblem, Params
from shb.training import Member, Plan, Stack, StackStep

SHARE = 0.01  # of the parameters that may move


def half_gap(w: Tensor, towards: Tensor) -> Tensor:
    """Half the distance from w to its neighbour on the side of `towards` (+-1), float64; in the dtype of `w`."""
    other = torch.nextafter(w, towards.to(w.dtype) * torch.inf)
    return (other.double() - w.double()).abs() / 2


def half_ulp(w: Tensor) -> Tensor:
    """ulp(w) / 2: half the distance to the neighbour of larger modulus, float64."""
    return half_gap(w.abs(), torch.ones_like(w))


@observer("rounding_thresholds")
class RoundingThresholds:
    """Of steps with lr = 0, for a heavy ball with `momentum`: columns median, hundredth [n] (module's docstring)."""

    def __init__(self, problem: LearningProblem, plan: Plan, momentum: float) -> None:
        self.momentum = momentum

    def start(self, params: Params) -> None:
        self.least = self.first = torch.empty(0)
        self.velocity = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in params.items()}

    def __call__(self, step: StackStep) -> None:
        found: list[Tensor] = []
        first: list[Tensor] = []
        for name, w in step.params.items():
            u = self.velocity[name] = self.momentum * self.velocity[name] - step.grads[name].double()
            found.append((half_gap(w, u.sign()) / u.abs()).flatten(1))
            first.append((half_ulp(w) / u.abs()).flatten(1))
        threshold = torch.cat(found, 1).nan_to_num(nan=torch.inf)
        if step.k == 0:
            self.least, self.first = threshold, torch.cat(first, 1) * (1 - self.momentum)
        self.least = torch.minimum(self.least, threshold)

    def columns(self) -> dict[str, Tensor]:
        rows = [(f[t.isfinite()], t[t.isfinite()]) for f, t in zip(self.first, self.least)]
        medians = torch.stack([f.median() for f, _ in rows])
        return {"median": medians, "hundredth": torch.stack([t.quantile(SHARE) for _, t in rows])}


@observer("moved_parameters")
class MovedParameters:
    """Columns moved [n], the share of the parameters with a gradient that some update changed, and with `gradient`
    those of the observer "full_gradient" at the end [n].
    """

    def __init__(self, problem: LearningProblem, plan: Plan, gradient: bool = False) -> None:
        self.monitor = FullGradient(problem, plan, [plan.steps]) if gradient else None

    def start(self, params: Params) -> None:
        sizes = sum(p[0].numel() for p in params.values())
        self.moved = self.live = torch.zeros(len(next(iter(params.values()))), sizes, dtype=torch.bool)

    def __call__(self, step: StackStep) -> None:
        moved = torch.cat([(step.new_params[n] != w).flatten(1) for n, w in step.params.items()], 1)
        live = torch.cat([(g != 0).flatten(1) for g in step.grads.values()], 1)
        self.moved, self.live = self.moved | moved, self.live | live
        if self.monitor:
            self.monitor(step)

    def columns(self) -> dict[str, Tensor]:
        found = self.monitor.columns() if self.monitor else {}
        share = (self.moved & self.live).sum(1) / self.live.sum(1)
        return {"moved": share} | {name: values[:, 0] for name, values in found.items()}


def stalled(
    overrides: Sequence[str], at: str, factors: Sequence[float], momentum: float, seeds: int, chunk: int, **options: Any
) -> Experiment:
    """Runs at `factors` times the step `at` ("median", "hundredth") of a heavy ball with `momentum`, of each seed.

    options: gradient, whether that of F is computed at the end; device; seconds, of one run.
    """
    seconds = options.pop("seconds") * seeds * (1 + len(factors))
    settings = {"overrides": sorted(overrides), "at": at, "factors": list(factors), "momentum": momentum} | options
    settings["thresholds"] = "of other samples"
    return Experiment("rounding_stall", settings, seeds, chunk=chunk, seconds=seconds)


def _stack(cell: Cell, members: list[Member]) -> Stack:
    return Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine)


def _ran(stack: Stack, observe: dict[str, dict[str, Any]], state: dict | None = None) -> Columns:
    found = advance(stack, observe, state)
    return {name: values[: len(stack.members)].cpu().numpy() for name, values in found.items()}


@functools.lru_cache(maxsize=32)
def thresholds(overrides: tuple[str, ...], device: str, momentum: float, seeds: tuple[int, ...]) -> Columns:
    """Of networks in bfloat16 at their start, on other samples than their runs have; arms of one network share them."""
    kept = [one for one in overrides if not one.startswith(("optimizer", "dtype"))]
    cell = cell_of(tuple(overrides_of(*kept, {"optimizer": "sgd", "optimizer.lr": 1, "dtype": "bfloat16"})), device)
    own, other = (_stack(cell, [Member(seed + more, {"lr": 0.0}) for seed in seeds]) for more in (0, OTHER_SAMPLES))
    return _ran(other, {"rounding_thresholds": {"momentum": momentum}}, own.start())


@measure("rounding_stall")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns median, hundredth [n]: the two steps of the network in bfloat16; moved and, with `gradient`,
    full_gradient and kinks [n, factors].
    """
    overrides, device = tuple(settings["overrides"]), settings["device"]
    found = thresholds(overrides, device, settings["momentum"], tuple(map(int, seeds)))
    cell = cell_of(overrides, device)
    (one,) = cell.members
    members = [
        Member(int(seed), {**one.hyperparameters, "lr": float(lr) * factor})
        for seed, lr in zip(seeds, found[settings["at"]])
        for factor in settings["factors"]
    ]
    ran = _ran(_stack(cell, members), {"moved_parameters": {"gradient": settings["gradient"]}})
    columns = {name: found[name] for name in ("median", "hundredth")}
    names = ("moved", "full_gradient", "kinks") if settings["gradient"] else ("moved",)
    return columns | {name: ran[name].reshape(len(seeds), -1) for name in names}
