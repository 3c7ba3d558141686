"""A member as most people would write it: torch's own layers and optimizers, one mini-batch after the other.

A plain user writes shb as torch.optim.SGD with momentum. Under a step size that varies, this is another sequence than
the heavy ball (shb/optimizers/conversions.py).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.cell.cell import Cell
from shb.datasets import load_dataset
from shb.errors import ConfigurationError
from shb.models import evaluating
from shb.optimizers import Optimizer
from shb.optimizers.clipping import AT
from shb.schedules import schedule_table
from shb.training import Member, Plan


class PlainRun(NamedTuple):
    """Seconds of one plain run, and per evaluation its metrics (`val_loss`, at the end also `train_loss`, ...)."""

    seconds: float
    evaluations: list[dict[str, float]]


def check_plain(cell: Cell) -> None:
    """Raise a ConfigurationError for a cell that torch's own layers and optimizers cannot express."""
    spec, plan = cell.problem_spec, cell.plan
    model = spec.get("model", {})
    for name, value, allowed in (
        ("model", model.get("name"), ("mlp", "cnn")),
        ("optimizer", cell.optimizer.name, ("sgd", "shb", "nesterov", "adam")),
        ("model.pool_beta", model.get("pool_beta", 0.0), (0.0,)),
        ("relu_derivative", spec["relu_derivative"], (0.0,)),
        ("momentum_schedule", plan.momentum_schedule, ("constant",)),
        ("velocity.std", plan.velocity_std, (0.0,)),
    ):
        if value not in allowed:
            raise ConfigurationError(name, value, f"{' or '.join(map(str, allowed))} in a plain torch run")


def plain_module(spec: Mapping[str, Any], feature_shape: Sequence[int], outputs: int) -> nn.Module:
    """The network that a cell's `problem_spec` describes, from torch's own layers."""
    model = spec["model"]
    if model["name"] == "mlp":
        widths = [math.prod(feature_shape), *model["hidden"]]
        hidden: list[nn.Module] = []
        for pair in itertools.pairwise(widths):
            hidden += [nn.Linear(*pair), *_norm(model, [pair[1]]), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], outputs))
    two, pool = len(feature_shape) == 3, model["downsample"] == "maxpool"
    conv, max_pool = (nn.Conv2d, nn.MaxPool2d) if two else (nn.Conv1d, nn.MaxPool1d)
    layers: list[nn.Module] = []
    for channels in itertools.pairwise([feature_shape[0], *model["channels"]]):
        layers.append(conv(*channels, model["kernel"], 1 if pool else 2, padding=model["kernel"] // 2))
        layers += [*_norm(model, _shape(layers, feature_shape)), nn.ReLU(), *([max_pool(2)] if pool else [])]
    features = [*layers, nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(_shape(features, feature_shape)[0], outputs))


def _shape(layers: Sequence[nn.Module], feature_shape: Sequence[int]) -> list[int]:
    """Of one sample behind `layers`."""
    with torch.no_grad(), evaluating(nn.Sequential(*layers)) as module:
        return list(module(torch.zeros(1, *feature_shape)).shape[1:])


def _norm(model: Mapping[str, Any], shape: Sequence[int]) -> list[nn.Module]:
    """torch's own layer for `model.norm`, if any."""
    norm = model.get("norm", "none")
    if norm == "batch":
        return [(nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 1](shape[0])]
    return [nn.LayerNorm(list(shape))] if norm == "layer" else []


class PlainUpdate:
    """torch.optim.SGD, Adam or AdamW and torch's clipping as most people would write them in the place of `rule`.

    Args:
        rule: sgd, shb, nesterov or adam, with weight decay and clipping or without.
        model: whose parameters are trained.
        numbers: hyperparameters of the rule.
    """

    def __init__(self, rule: Optimizer, model: nn.Module, numbers: Mapping[str, float]) -> None:
        self._rule, self._numbers, self._parameters = rule, numbers, list(model.parameters())
        lr, decay = numbers["lr"], numbers.get("weight_decay", 0.0)
        self._shrinks = rule.decay == "decoupled" and rule.name != "adam"  # torch.optim.SGD has no such weight decay
        if rule.name == "adam":
            kind = torch.optim.AdamW if rule.decay == "decoupled" else torch.optim.Adam
            betas = numbers["beta1"], numbers["beta2"]
            self._optimizer = kind(self._parameters, lr=lr, betas=betas, eps=numbers["eps"], weight_decay=decay)
            return
        moving = {} if rule.name == "sgd" else {"momentum": numbers["momentum"], "nesterov": rule.name == "nesterov"}
        self._optimizer = torch.optim.SGD(self._parameters, lr, weight_decay=0 if self._shrinks else decay, **moving)

    def step(self, lr: float) -> None:
        """One update with the gradients that the parameters have."""
        if self._rule.clip == "norm":
            torch.nn.utils.clip_grad_norm_(self._parameters, self._numbers[AT])
        elif self._rule.clip == "value":
            torch.nn.utils.clip_grad_value_(self._parameters, self._numbers[AT])
        if self._shrinks:
            with torch.no_grad():
                for p in self._parameters:
                    p.mul_(1 - lr * self._numbers["weight_decay"])
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()


def train_plain(cell: Cell, member: Member) -> PlainRun:
    """Train one member alone; initial parameters and mini-batches are those of its seed."""
    problem, plan = cell.problem(), cell.plan
    dataset = load_dataset(cell.problem_spec["dataset"], cell.data_root)
    criterion = F.cross_entropy if problem.loss_name == "cross_entropy" else plain_squared
    parts = {}
    for name, part in (("train_", dataset.train), ("val_", dataset.validation), ("test_", dataset.test)):
        y = F.one_hot(part.y, dataset.outputs) if problem.classification and criterion is plain_squared else part.y
        y = y.to(problem.device, None if criterion is F.cross_entropy else problem.dtype)
        parts[name] = part.x.to(problem.device, problem.dtype), y
    model = plain_module(cell.problem_spec, dataset.feature_shape, dataset.outputs).to(problem.device, problem.dtype)
    model.load_state_dict({**problem.initial_parameters(member.seed), **problem.initial_buffers(member.seed)})
    optimizer = PlainUpdate(cell.optimizer, model, member.hyperparameters)
    x, y = parts["train_"]
    due, evaluations = {0, *plan.evaluate_at, plan.steps}, []

    started = time.perf_counter()
    indices = problem.sample(member.seed, 0, plan.steps).to(problem.device)
    rates = step_sizes(plan, member)
    for k in range(plan.steps + 1):
        if k in due:
            now = parts if k == plan.steps else {"val_": parts["val_"]}
            with evaluating(model):
                evaluations.append(_evaluate(model, criterion, now, problem.classification))
        if k == plan.steps:
            break
        optimizer.zero_grad()
        criterion(model(x[indices[k]]), y[indices[k]]).backward()
        optimizer.step(rates[k])
    return PlainRun(time.perf_counter() - started, evaluations)


def step_sizes(plan: Plan, member: Member) -> list[float]:
    """The step size of every step."""
    numbers = member.hyperparameters
    parameters = {name.removeprefix("schedule."): v for name, v in numbers.items() if name.startswith("schedule.")}
    return schedule_table(plan.schedule, [numbers["lr"]], parameters, 0, plan.steps, plan.steps)[:, 0].tolist()


def plain_squared(output: Tensor, y: Tensor) -> Tensor:
    """The mean over samples of |output - y|^2 / 2, as torch has it."""
    return F.mse_loss(output, y) * y.shape[1] / 2


@torch.no_grad()
def _evaluate(model: nn.Module, criterion: Any, parts: Mapping[str, tuple], classification: bool) -> dict[str, float]:
    """Loss and accuracy on whole parts."""
    metrics = {}
    for part, (x, y) in parts.items():
        output = model(x)
        metrics[f"{part}loss"] = criterion(output, y).item()
        if classification:
            labels = y if y.ndim == 1 else y.argmax(1)
            metrics[f"{part}accuracy"] = (output.argmax(1) == labels).float().mean().item()
    return metrics
