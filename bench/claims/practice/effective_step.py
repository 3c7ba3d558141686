"""Training losses against the effective step a = lr / (1 - momentum): the measures "critical_step" and "step_scan".

The critical step a* of a seed is where training stops to work: at a* the loss after all updates is below a share of
the reference, at the next step of the grid it is not. The reference is the loss of the best constant predictor, the
entropy of the classes in the training data (closed forms: the loss at the start). A dead network ends there, hence a
share below 1. Survival need not be monotone in the step; a* is the crossing at which a bisection in log a from two
fixed ends arrives, and so well defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.cell.cell import NUMERICS
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.observers import objective
from bench.claims.trajectories import advance, cell_of, overrides_of
from shb.errors import ConfigurationError
from shb.problems import LearningProblem
from shb.training import Member, Stack


class Trainer:
    """Runs of one cell at other step sizes.

    Args:
        settings: `overrides` of `python -m bench.run` (one value each) and `device`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.cell = cell_of(tuple(settings["overrides"]), settings["device"])
        (self.member,) = self.cell.members
        self.remaining = 1 - self.member.hyperparameters.get("momentum", 0.0)  # lr over effective step

    def losses(self, seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """F after all updates, of each seed at its effective `steps` [n, m] -> [n, m]; inf where a run diverged."""
        members = [
            Member(int(seed), {**self.member.hyperparameters, "lr": float(a) * self.remaining})
            for seed, row in zip(seeds, steps)
            for a in row
        ]
        stack = Stack(self.cell.problem(), self.cell.optimizer, members, self.cell.plan, engine=self.cell.engine)
        columns = {name: values[: len(members)].cpu().numpy() for name, values in advance(stack, {}).items()}
        lost = columns["diverged"].astype(bool) | ~np.isfinite(columns["objective"])
        return np.where(lost, np.inf, columns["objective"]).reshape(steps.shape)

    def reference(self, seeds: np.ndarray) -> np.ndarray:
        """Loss of the best constant predictor, of closed forms F(w_0): [n]."""
        problem = self.cell.problem()
        if not isinstance(problem, LearningProblem):
            starts = [problem.initial_parameters(int(seed)) for seed in seeds]
            start = {name: torch.stack([one[name] for one in starts]) for name in starts[0]}
            return objective(problem, start)["objective"].cpu().numpy()
        if problem.loss_name != "cross_entropy":
            raise ConfigurationError("loss", problem.loss_name, "cross_entropy, whose best constant is the entropy")
        return np.full(len(seeds), entropy(problem))


def entropy(problem: LearningProblem) -> float:
    """Entropy of the classes in the training part, in nats."""
    targets = [batch.tensors[1] for batch in problem.evaluation(full=True) if batch.part == "train_"]
    p = torch.cat(targets).double().mean(0)
    return float(-torch.special.xlogy(p, p).sum())


@measure("critical_step")
def critical_step(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Bisection in log a. Columns: critical [n]; edge [n], 1 where it ended beside one of the two ends."""
    trainer = Trainer(settings)
    bound = settings["share"] * trainer.reference(seeds)
    cells = 2 ** settings["rounds"]
    low, high = np.zeros(len(seeds), int), np.full(len(seeds), cells)
    ratio = (settings["high"] / settings["low"]) ** (1 / cells)
    for _ in range(settings["rounds"]):
        middle = (low + high) // 2
        survives = trainer.losses(seeds, settings["low"] * ratio ** middle[:, None])[:, 0] < bound
        low, high = np.where(survives, middle, low), np.where(survives, high, middle)
    return {"critical": settings["low"] * ratio**low, "edge": (low == 0) | (high == cells)}


@measure("step_scan")
def step_scan(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns: objective [n, steps], inf where a run diverged; reference [n]."""
    trainer = Trainer(settings)
    steps = np.broadcast_to(np.asarray(settings["steps"], float), (len(seeds), len(settings["steps"])))
    return {"objective": trainer.losses(seeds, steps), "reference": trainer.reference(seeds)}


def experiment(
    name: str,
    settings: Sequence[Mapping[str, Any] | str],
    numbers: Mapping[str, Any],
    *,
    seeds: int,
    device: str,
    seconds: float,
    first_seed: int = 0,
    chunk: int | None = None,
) -> Experiment:
    """The measure `name` on a cell, `settings` as for `trajectories`."""
    overrides = overrides_of(*settings)
    spec = {"overrides": sorted(overrides), "device": device, **numbers}
    if "engine=compiled" in overrides:
        spec["numerics"] = NUMERICS["compiled"]
    return Experiment(name, spec, seeds, first_seed, chunk or seeds, seconds)


def rule(optimizer: str, momentum: float | None = None) -> dict[str, Any]:
    """Settings of an optimizer: SGD, or one with `momentum`."""
    return {"optimizer": optimizer} | ({} if momentum is None else {"optimizer.momentum": f"{momentum:g}"})
