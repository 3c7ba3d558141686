"""Deterministic oracles of E1 and E6, in place of the sampled one, and the measures that use them.

    backpropagation   one backward pass through the mean of f(., s) over all samples s
    clarke            the gradient of F written without kinks, which is the only Clarke subgradient everywhere

At the artificial point 0, with t = ReLU'(0) = 0, the first gives 0 although it sees all the data: the chain rule adds
up selections, and a sum of selections is not a selection of the subdifferential of the sum.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.experiment import Columns, measure
from bench.claims.trajectories import advance, cell_of, overrides_of
from shb.nonsmooth import goldstein_batch
from shb.problems import Params
from shb.problems.closed_forms import E1, E6, ClosedForm
from shb.training import Member, Stack

RADIUS, SAMPLES = 1e-2, 20  # of the stationarity measure


class Deterministic(ClosedForm):
    """`problem` whose oracle is the backpropagated gradient of `loss(w)`, the same at every step."""

    def __init__(self, problem: ClosedForm, loss: Callable[[Tensor], Tensor]) -> None:
        self.problem, self._loss = problem, loss
        self.name, self.size, self.minimum = problem.name, problem.size, problem.minimum
        self.dtype, self.device = problem.dtype, problem.device

    def objective(self, w: Tensor) -> Tensor:
        return self.problem.objective(w)

    def clarke_distance(self, w: Tensor) -> Tensor:
        return self.problem.clarke_distance(w)

    def artificial_distance(self, w: Tensor) -> Tensor | None:
        return self.problem.artificial_distance(w)

    def initial_parameters_of(self, seeds: np.ndarray) -> Params:
        return self.problem.initial_parameters_of(seeds)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        return torch.zeros(stop - start, len(seeds), dtype=self.dtype)

    def loss(self, params: Params, unused: Tensor) -> Tensor:
        return self._loss(params["w"])


def full_batch_loss(problem: E1 | E6) -> Callable[[Tensor], Tensor]:
    """w [size] -> mean of f(w, s) over all samples."""
    if isinstance(problem, E1):
        samples = (torch.tensor([1.0, -1.0], dtype=problem.dtype, device=problem.device),)
    else:
        samples = problem.x, problem.y
    losses = torch.func.vmap(problem.loss, in_dims=(None, *(0 for _ in samples)))
    return lambda w: losses({"w": w}, *samples).mean()


ORACLES: dict[str, Callable[[ClosedForm], Callable[[Tensor], Tensor]]] = {
    "backpropagation": full_batch_loss,
    "clarke": lambda problem: problem.objective,
}


@measure("deterministic_descent")
def descent(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """As the measure "trajectories", with the oracle `settings["oracle"]` of the full data."""
    cell = cell_of(tuple(settings["overrides"]), settings["device"])
    problem = cell.problem()
    problem = Deterministic(problem, ORACLES[settings["oracle"]](problem))
    hyperparameters = cell.members[0].hyperparameters
    stack = Stack(problem, cell.optimizer, [Member(int(seed), hyperparameters) for seed in seeds], cell.plan)
    return {name: values[: len(seeds)].cpu().numpy() for name, values in advance(stack, {}).items()}


@measure("oracle_error")
def oracle_error(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """|full-batch backpropagation - grad F| at the artificial point 0 and at the initial point of each seed.

    Columns at_zero, at_random, gradient (|grad F(0)|), stationarity (m_eps(0) from full-batch backpropagation at
    sampled points), each [n].
    """
    problem = cell_of(tuple(settings["overrides"]), settings["device"]).problem()
    backpropagated, true = (torch.func.vmap(torch.func.grad(ORACLES[name](problem))) for name in ORACLES)
    w = problem.initial_parameters_of(seeds)["w"].to(problem.device)
    zero = torch.zeros_like(w)
    return {
        "at_zero": (backpropagated(zero) - true(zero)).norm(dim=1).cpu().numpy(),
        "at_random": (backpropagated(w) - true(w)).norm(dim=1).cpu().numpy(),
        "gradient": true(zero).norm(dim=1).cpu().numpy(),
        "stationarity": goldstein_batch(backpropagated, zero, RADIUS, SAMPLES, [int(seed) for seed in seeds]),
    }


def spec(*settings: Mapping[str, Any] | str, device: str, oracle: str | None = None) -> dict[str, Any]:
    """Settings of these measures, JSON-like."""
    own: dict[str, Any] = {"overrides": sorted(overrides_of(*settings)), "device": device}
    return json.loads(json.dumps(own | ({"oracle": oracle} if oracle else {})))
