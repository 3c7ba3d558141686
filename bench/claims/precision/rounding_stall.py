"""Steps below which weights of 16 bits do not move: when rounding to the nearest number loses an update.

Where w + u is rounded to the nearest number, it is w again iff |u| is less than half the distance to the neighbour of
w on the side of u. That is ulp(w) / 2, ulp(w) = 2^(floor(log2 |w|) - 7) in bfloat16, but for a power of two, which has
its lower neighbour half as far; at exactly half, the one of both that ends on a 0 bit wins (theory.md section 6).

While nothing moves, the gradients are those of w_0. SGD moves by u_k = -lr g_k; the velocity of the heavy ball goes on
while w does not, u_k = -lr (g_k + beta g_{k-1} + ..), up to 1 / (1 - beta) times as far. So a parameter stays for K
updates iff lr is below

    threshold = min over k < K of (half distance on the side of u_k) / |u_k / lr|

all gradients at w_0, as long as only few others move. From its parameters a network has two steps:

    median     of ulp(w) / (2 |g_0| / (1 - beta)), what one looks at first
    hundredth  the quantile of order 0.01 of the thresholds: below it, 99 % stay

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
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.observers import observer
from bench.claims.sampling.monitors import NetworkStationarity
from bench.claims.trajectories import advance, cell_of, overrides_of
from shb.problems import LearningProblem, Params
from shb.training import Member, Plan, Stack, StackStep

SHARE = 0.01  # of the parameters that may move
RADIUS, SAMPLES = 1e-3, 8  # of m_eps


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
    """Columns moved [n], the share of the parameters with a gradient that some update changed, and stationarity [n],
    m_eps of the mean loss over `rows` training samples at the end (shb.nonsmooth.stationarity), NaN if there are none.
    """

    def __init__(self, problem: LearningProblem, plan: Plan, rows: int = 0) -> None:
        at = [plan.steps] if rows else []
        self.monitor = NetworkStationarity(problem, plan, at, RADIUS, SAMPLES, rows) if rows else None

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
        share = (self.moved & self.live).sum(1) / self.live.sum(1)
        if not self.monitor:
            return {"moved": share, "stationarity": torch.full_like(share, torch.nan)}
        return {"moved": share, "stationarity": self.monitor.columns()["stationarity"][:, 0]}


def stalled(
    overrides: Sequence[str], at: str, factors: Sequence[float], momentum: float, seeds: int, chunk: int, **options: Any
) -> Experiment:
    """Runs at `factors` times the step `at` ("median", "hundredth") of a heavy ball with `momentum`, of each seed.

    options: rows, of m_eps, 0 for none; device; seconds, of one run.
    """
    seconds = options.pop("seconds") * seeds * (1 + len(factors))
    settings = {"overrides": sorted(overrides), "at": at, "factors": list(factors), "momentum": momentum} | options
    return Experiment("rounding_stall", settings, seeds, chunk=chunk, seconds=seconds)


def _ran(cell: Cell, members: list[Member], observe: dict[str, dict[str, Any]]) -> Columns:
    stack = Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine)
    return {name: values[: len(members)].cpu().numpy() for name, values in advance(stack, observe).items()}


@functools.lru_cache(maxsize=32)
def thresholds(overrides: tuple[str, ...], device: str, momentum: float, seeds: tuple[int, ...]) -> Columns:
    """Of networks in bfloat16 at their start; arms of one network share them."""
    kept = [one for one in overrides if not one.startswith(("optimizer", "dtype"))]
    cell = cell_of(tuple(overrides_of(*kept, {"optimizer": "sgd", "optimizer.lr": 1, "dtype": "bfloat16"})), device)
    return _ran(cell, [Member(seed, {"lr": 0.0}) for seed in seeds], {"rounding_thresholds": {"momentum": momentum}})


@measure("rounding_stall")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns median, hundredth [n]: the two steps of the network in bfloat16; moved, stationarity [n, factors]."""
    overrides, device = tuple(settings["overrides"]), settings["device"]
    found = thresholds(overrides, device, settings["momentum"], tuple(map(int, seeds)))
    cell = cell_of(overrides, device)
    (one,) = cell.members
    members = [
        Member(int(seed), {**one.hyperparameters, "lr": float(lr) * factor})
        for seed, lr in zip(seeds, found[settings["at"]])
        for factor in settings["factors"]
    ]
    ran = _ran(cell, members, {"moved_parameters": {"rows": settings["rows"]}})
    steps = {name: found[name] for name in ("median", "hundredth")}
    return steps | {name: ran[name].reshape(len(seeds), -1) for name in ("moved", "stationarity")}
