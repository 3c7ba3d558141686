"""The measure "pool_form": training of a CNN whose max-pooling has one of the forms of `shb.nonsmooth.max_pool`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

import bench.claims.precision.held_out  # noqa: F401  registers the observer
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.trajectories import advance, cell_of, overrides_of
from shb.nonsmooth.max_pool import BetaMaxPool2d
from shb.training import Member, Stack


def pooled(dtype: str, beta: float, form: str, seeds: int, steps: int, device: str) -> Experiment:
    """A CNN on digits by heavy ball: settings of the measure "pool_form"."""
    network = {"problem": "learning", "model": "cnn", "model.channels": [8, 16], "model.pool_beta": beta}
    data = {"dataset": "digits", "batch_size": 32}
    rule = {"optimizer": "shb", "optimizer.lr": 0.02, "optimizer.momentum": 0.9, "steps": steps, "dtype": dtype}
    settings = {"overrides": overrides_of(network, data, rule), "form": form, "device": device}
    return Experiment("pool_form", settings, seeds, chunk=10, seconds=0.002 * steps * seeds)


@measure("pool_form")
def pool_form(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns test_accuracy, diverged (0 or 1), objective and accuracy on the training part: [n]."""
    cell = cell_of(tuple(settings["overrides"]), settings["device"])
    problem = copy.copy(cell.problem())  # shared by everyone: only the copy gets another form
    problem.module = copy.deepcopy(problem.module)
    for module in problem.module.modules():
        if isinstance(module, BetaMaxPool2d):
            module.form = settings["form"]
    (member,) = cell.members
    members = [Member(int(seed), member.hyperparameters) for seed in seeds]
    stack = Stack(problem, cell.optimizer, members, cell.plan)
    return {name: values[: len(seeds)].cpu().numpy() for name, values in advance(stack, {"held_out": {}}).items()}
