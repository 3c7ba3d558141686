"""A cell: one problem, one optimizer, its settings (hyperparameters) and seeds; its members and their identities.

A member's identity is a hash of everything that determines its bits and what is recorded of it, but of nothing
else: not of the machine, not of the stack, not of the suite that asked for it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.config import Config, numbers, settings
from shb.datasets import DATASETS, check_files, load_dataset
from shb.errors import ConfigurationError, choose
from shb.models import MODELS, check_initialization
from shb.optimizers import Optimizer, get_optimizer
from shb.problems import CLOSED_FORMS, E6, LOSSES, SAMPLINGS, LearningProblem, Problem, check_loss
from shb.schedules import SCHEDULES, get_schedule
from shb.training import Member, Plan

NUMERICS = 1  # raised when a change of shb changes the bits of members
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
DEVICES = ("auto", "cpu", "cuda")
CLOSED_FORM_STEPS, DEFAULT_EPOCHS = 1000, 10


@dataclass(frozen=True)
class Cell:
    """Everything needed to compute and to find the members of one cell.

    Attributes:
        label: name of the problem in tables: "dataset/model", or the closed form's name.
        problem_spec: JSON-like description from which `build_problem` makes the problem.
        optimizer: the update rule.
        plan: steps, schedules, evaluations.
        members, ids: trajectories and their identities, in the same order.
        specs: what each identity is the hash of.
        unstable: per member, True if its momentum is outside (-1, 1) (allowed by a flag, and marked).
    """

    label: str
    problem_spec: Mapping[str, Any]
    optimizer: Optimizer
    plan: Plan
    members: tuple[Member, ...]
    ids: tuple[str, ...]
    specs: tuple[dict[str, Any], ...]
    unstable: tuple[bool, ...]
    data_root: str | None

    @property
    def name(self) -> str:
        """The cell in one phrase, for progress and errors."""
        return f"{self.label} {self.optimizer.name}"

    def problem(self) -> Problem:
        """The problem on its device; the same object for cells that share it."""
        return build_problem(json.dumps(self.problem_spec, sort_keys=True), self.data_root)

    def spec_json(self, index: int) -> str:
        return canonical(self.specs[index])


def canonical(spec: Mapping[str, Any]) -> str:
    """JSON with sorted keys: the text whose hash is a member's identity."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda" for auto, cpu, cuda; raises if CUDA is asked for and absent."""
    choose("device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device", device, "auto or cpu: torch finds no CUDA device here")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def build_cell(config: Config, trials: Sequence[Mapping[str, float]] | None = None) -> Cell:
    """Check a configuration and expand it into members.

    Args:
        config: one composed cell.
        trials: settings to use instead of the optimizer's numbers (from the tuner).

    Raises:
        ConfigurationError: before any compute, for any value that cannot be used.
    """
    _at_least("seeds", config.seeds, 1)
    _at_least("seed_offset", config.seed_offset, 0)
    _at_least("evaluations", config.evaluations, 1)
    if config.threads is not None:
        _at_least("threads", config.threads, 1)
    if config.memory is not None and not config.memory > 0:
        raise ConfigurationError("memory", config.memory, "a number of GiB > 0")
    choose("dtype", config.dtype, DTYPES)
    if not (math.isfinite(config.velocity_std) and config.velocity_std >= 0):
        raise ConfigurationError("velocity_std", config.velocity_std, "a number >= 0")
    problem_spec, label, train_size = _problem_spec(config)
    optimizer = get_optimizer(config.optimizer["name"])
    if config.velocity_std > 0 and not optimizer.takes_velocity:
        raise ConfigurationError(
            "velocity_std", config.velocity_std, f"0 for optimizer={optimizer.name}; only shb has it"
        )
    plan = Plan.with_evaluations(
        _steps(config, train_size),
        config.evaluations,
        schedule=config.schedule["name"],
        momentum_schedule=config.momentum_schedule["name"],
        velocity_std=config.velocity_std,
    )
    grid = _settings_grid(config, optimizer, trials)
    seeds = range(config.seed_offset, config.seed_offset + config.seeds)
    members = tuple(Member(seed, setting) for setting in grid for seed in seeds)
    shared = {
        "numerics": NUMERICS,
        "problem": problem_spec,
        "optimizer": optimizer.name,
        "steps": plan.steps,
        "evaluate_at": list(plan.evaluate_at),
        "schedule": plan.schedule,
        "momentum_schedule": plan.momentum_schedule,
        "velocity_std": plan.velocity_std,
        "engine": "eager",
    }
    specs = tuple({**shared, "seed": m.seed, "hyperparameters": dict(m.hyperparameters)} for m in members)
    return Cell(
        label=label,
        problem_spec=problem_spec,
        optimizer=optimizer,
        plan=plan,
        members=members,
        ids=tuple(hashlib.sha256(canonical(spec).encode()).hexdigest()[:16] for spec in specs),
        specs=specs,
        unstable=tuple(not -1 < m.hyperparameters.get("momentum", 0.0) < 1 for m in members),
        data_root=config.data_root,
    )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigurationError(name, value, f"a whole number >= {least}")


def _problem_spec(config: Config) -> tuple[dict[str, Any], str, int | None]:
    """Description of the problem, its label, and the size of its training part (None for closed forms)."""
    kind = choose("problem", config.problem["name"], ("learning", *CLOSED_FORMS))
    closed = kind != "learning"
    init = dict(config.init)
    if init["name"] == "auto":
        init = {"name": "scaled_normal", "std": None} if closed else {"name": "torch_default"}
    for name in ("std", "value"):
        if name in init and init[name] is None:
            init[name] = 2.0 if closed else 0.1
        elif name in init:
            (init[name],) = numbers(f"init.{name}", [init[name]])
    check_initialization(init["name"], init.get("std", 1.0))
    choose("loss", config.loss, ("auto", *LOSSES))
    choose("sampling", config.sampling, SAMPLINGS)
    spec = {
        "name": kind,
        "init": init,
        "relu_at_zero": config.relu_at_zero,
        "dtype": config.dtype,
        "device": resolve_device(config.device),
    }
    if closed:
        spec |= {name: value for name, value in config.problem.items() if name != "name"}
        if "b" in spec:
            (spec["b"],) = numbers("problem.b", [spec["b"]])
        if kind == "e6" and choose("problem.data", spec["data"], ("pair", "diabetes")) == "diabetes":
            spec["checksum"] = load_dataset("diabetes").checksum
        build_problem(json.dumps(spec, sort_keys=True), None)  # its own checks
        return spec, kind, None
    dataset = choose("dataset", config.dataset["name"], DATASETS)
    facts = DATASETS[dataset]
    loss = config.loss
    if loss == "auto":
        loss = "cross_entropy" if facts.task == "classification" else "squared"
    check_loss(loss, facts.task)
    if not 1 <= config.batch_size <= facts.train_size:
        allowed = f"1..{facts.train_size}, the training part of {dataset}"
        raise ConfigurationError("batch_size", config.batch_size, allowed)
    spec |= {
        "model": dict(config.model),
        "dataset": dataset,
        "loss": loss,
        "batch_size": config.batch_size,
        "sampling": config.sampling,
    }
    with torch.device("meta"):  # the model's own checks, without memory
        _model(spec)(facts.feature_shape, facts.outputs)
    check_files(dataset, config.data_root, config.download)
    spec["checksum"] = load_dataset(dataset, config.data_root, config.download).checksum
    return spec, f"{dataset}/{config.model['name']}", facts.train_size


def _model(spec: Mapping[str, Any]) -> functools.partial:
    options = {name: value for name, value in spec["model"].items() if name != "name"}
    model = MODELS[choose("model", spec["model"]["name"], MODELS)]
    defaults = {name: p.default for name, p in inspect.signature(model).parameters.items()}
    for name in {"hidden", "channels", "kernel"} & options.keys():
        values, many = options[name], isinstance(defaults.get(name), Sequence)
        items = values if many and isinstance(values, list | tuple) else [None] if many else [values]
        if any(isinstance(item, bool) or not isinstance(item, int) for item in items):
            raise ConfigurationError(f"model.{name}", values, "a list of whole numbers" if many else "a whole number")
    return functools.partial(model, **options, relu_at_zero=spec["relu_at_zero"])


@functools.lru_cache(maxsize=4)
def build_problem(spec_json: str, data_root: str | None) -> Problem:
    """The problem that a `problem_spec` describes, with its data on the device."""
    spec = json.loads(spec_json)
    init = dict(spec["init"])
    shared = {"init": init.pop("name"), **init, "dtype": DTYPES[spec["dtype"]], "device": spec["device"]}
    if spec["name"] == "learning":
        return LearningProblem(
            _model(spec),
            load_dataset(spec["dataset"], data_root),
            loss=spec["loss"],
            batch_size=spec["batch_size"],
            sampling=spec["sampling"],
            **shared,
        )
    shared["relu_at_zero"] = spec["relu_at_zero"]
    if spec["name"] == "e6":
        data = {}
        if spec["data"] == "diabetes":
            train = load_dataset("diabetes", data_root).train
            data = {"x": train.x, "y": train.y[:, 0]}
        return E6(**data, **shared)
    options = {name: spec[name] for name in ("noise", "b") if name in spec}
    return CLOSED_FORMS[spec["name"]](**options, **shared)


def _steps(config: Config, train_size: int | None) -> int:
    if config.steps is not None and config.epochs is not None:
        raise ConfigurationError("epochs", config.epochs, f"null when steps is given (steps={config.steps})")
    if config.steps is not None:
        _at_least("steps", config.steps, 1)
        return config.steps
    if train_size is None:
        if config.epochs is not None:
            raise ConfigurationError("epochs", config.epochs, "null for closed forms, which have no data: use steps")
        return CLOSED_FORM_STEPS
    epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
    if not 0 < epochs < math.inf:
        raise ConfigurationError("epochs", epochs, "a number > 0")
    return math.ceil(epochs * train_size / config.batch_size)


def _settings_grid(
    config: Config, optimizer: Optimizer, trials: Sequence[Mapping[str, float]] | None
) -> list[dict[str, float]]:
    """Every combination of the optimizer's numbers (or the trials) with the schedules' parameters."""
    axes = settings("optimizer", config.optimizer, list(optimizer.hyperparameters))
    for name in optimizer.hyperparameters.keys() - axes.keys():
        raise ConfigurationError(f"optimizer.{name}", "(missing)", "a number or a list of them")
    allow_unstable = config.optimizer.get("allow_unstable", False)
    if not isinstance(allow_unstable, bool):
        raise ConfigurationError("optimizer.allow_unstable", allow_unstable, "true or false")
    if trials is not None:
        own = [{**{n: v[0] for n, v in axes.items()}, **trial} for trial in trials]
    else:
        own = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    schedules = _schedule_axes(config, optimizer)
    combined = [
        {**setting, **dict(zip(schedules, values))}
        for setting in own
        for values in itertools.product(*schedules.values())
    ]
    for setting in combined:
        _check_setting(setting, allow_unstable=allow_unstable)
    return combined


def _schedule_axes(config: Config, optimizer: Optimizer) -> dict[str, list[float]]:
    axes: dict[str, list[float]] = {}
    for group in ("schedule", "momentum_schedule"):
        values = getattr(config, group)
        if values["name"] == "second_order":
            if group == "schedule" or "momentum" not in optimizer.hyperparameters:
                raise ConfigurationError(group, values["name"], "constant for an optimizer without momentum")
            (axes["momentum_schedule.r"],) = ([r] for r in numbers("momentum_schedule.r", [values["r"]]))
            if axes["momentum_schedule.r"][0] <= 0:
                raise ConfigurationError("momentum_schedule.r", values["r"], "a number > 0")
            continue
        schedule = get_schedule(values["name"])
        if group == "momentum_schedule" and schedule.name != "constant" and "momentum" not in optimizer.hyperparameters:
            raise ConfigurationError(
                group, schedule.name, f"constant for optimizer={optimizer.name}, which has no momentum"
            )
        for name, items in settings(group, values, list(schedule.parameters)).items():
            low, high = SCHEDULES[schedule.name].ranges[name]
            for item in items:
                if not low <= item <= high:
                    raise ConfigurationError(f"{group}.{name}", item, f"{low:g} .. {high:g}")
            axes[f"{group}.{name}"] = items
    return axes


_RANGES = {  # hyperparameter -> (test, what is allowed)
    "lr": (lambda v: v > 0, "a number > 0"),
    "dampening": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "beta1": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "beta2": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "eps": (lambda v: v >= 0, "a number >= 0"),
}


def _check_setting(setting: Mapping[str, float], *, allow_unstable: bool) -> None:
    for name, value in setting.items():
        test, allowed = _RANGES.get(name, (lambda v: True, ""))
        if not test(value):
            raise ConfigurationError(f"optimizer.{name}", value, allowed)
    momentum = setting.get("momentum", 0.0)
    if not -1 < momentum < 1 and not allow_unstable:
        allowed = "a number in (-1, 1), or any with optimizer.allow_unstable=true"
        raise ConfigurationError("optimizer.momentum", momentum, allowed)
