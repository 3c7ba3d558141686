"""A cell: one problem, one optimizer, its grid of settings and its seeds; its members and their identities.

A member's identity is a hash of everything that determines its bits and what is recorded of it, but of nothing
else: not of the machine, not of the stack, not of the suite that asked for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.cell.added import source_of
from bench.cell.bounds import LARGEST, MOST_STEPS
from bench.cell.config import Config
from bench.cell.grid import build_grid, check_schedule, is_unstable
from bench.cell.memory import check_members
from bench.cell.plugins import names_of, plugin_record
from bench.cell.problem import build_problem, problem_spec, try_optimizer
from bench.cell.rule import rule_of, rule_spec
from bench.store.identity import canonical, identity
from shb.errors import ConfigurationError, choose
from shb.optimizers import Optimizer
from shb.problems import Problem
from shb.training import ENGINES, Member, Plan, why_not

NUMERICS = {"eager": 1, "compiled": 3}  # raised when a change of shb changes the bits of members
CLOSED_FORM_STEPS, DEFAULT_EPOCHS = 1000, 10


@dataclass(frozen=True)
class Cell:
    """Everything needed to compute and to find the members of one cell.

    Attributes:
        label: name of the problem in tables: "dataset/model", or the closed form's name.
        problem_spec: JSON-like description from which `build_problem` makes the problem.
        optimizer: the update rule, with weight decay and clipping where they are on.
        plan: steps, schedules, evaluations.
        members, ids: trajectories and their identities, in the same order.
        specs: what each identity is the hash of.
        engine: "eager" or "compiled".
        engine_open: True if a run may choose the engine (engine=auto); see `bench.execution.engine.settle`.
        unstable: per member, True if its momentum leaves (-1, 1) (allowed by a flag, and marked).
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
    engine: str = "eager"
    engine_open: bool = False

    @property
    def name(self) -> str:
        """The cell in one phrase, for progress and errors."""
        return f"{self.label} {self.optimizer.name}"

    def problem(self) -> Problem:
        """The problem on its device; the same object for cells that share it."""
        return build_problem(json.dumps(self.problem_spec, sort_keys=True), self.data_root)

    def under(self, engine: str, engine_open: bool = False) -> Cell:
        """The same members under another engine, which gives them other identities."""
        specs = tuple({**spec, "engine": engine, "numerics": NUMERICS[engine]} for spec in self.specs)
        return replace(self, specs=specs, ids=_ids(specs), engine=engine, engine_open=engine_open)

    def setting(self, index: int) -> dict[str, float]:
        """Hyperparameters of a member as the store has them: without those that are off."""
        return self.specs[index]["hyperparameters"]

    def spec_json(self, index: int) -> str:
        return canonical(self.specs[index])


def build_cell(config: Config, trials: Sequence[Mapping[str, float]] | None = None, *, rule_tried: bool = True) -> Cell:
    """Check a configuration and expand it into members. It opens no store: see `bench.execution.engine.settle`.

    Args:
        config: one composed cell.
        trials: settings to use instead of the optimizer's hyperparameters (from the tuner).
        rule_tried: False leaves it to the caller to try an own rule.

    Raises:
        ConfigurationError: before any compute, for any value that cannot be used.
    """
    if config.seed_offset + config.seeds > LARGEST:
        field = "seeds" if config.seeds > config.seed_offset else "seed_offset"
        allowed = "a whole number with seed_offset + seeds <= 2^63 - 1, which the store can hold"
        raise ConfigurationError(field, getattr(config, field), allowed)
    if config.suite.optimizers is not None:
        raise ConfigurationError("suite.optimizers", config.suite.optimizers, "given together with suite=NAME only")
    choose("engine", config.engine, ("auto", *ENGINES))
    spec, label, train_size = problem_spec(config)
    optimizer = rule_of(config, trials)
    if config.velocity.std and not optimizer.takes_velocity:
        allowed = f"zero for optimizer={optimizer.name}; only shb has a velocity"
        raise ConfigurationError("velocity", config.velocity.name, allowed)
    plan = Plan.with_evaluations(
        _steps(config, train_size),
        config.evaluations,
        schedule=config.schedule.name,
        momentum_schedule=config.momentum_schedule.name,
        velocity_std=config.velocity.std,
    )
    grid = build_grid(config, optimizer, trials)
    check_members(config.seeds, max(1, len(grid)), len(plan.evaluate_at))
    if source_of("schedule", plan.schedule) is not None:  # shipped ones are tested
        check_schedule(plan.schedule, grid, plan.steps)
    if rule_tried:
        try_optimizer(optimizer, spec, config.data_root)
    seeds = range(config.seed_offset, config.seed_offset + config.seeds)
    members = tuple(Member(seed, setting) for setting in grid for seed in seeds)
    shared = {
        "numerics": NUMERICS["eager"],
        "problem": spec,
        "optimizer": optimizer.name,
        "steps": plan.steps,
        "evaluate_at": list(plan.evaluate_at),
        "schedule": plan.schedule,
        "momentum_schedule": plan.momentum_schedule,
        "velocity_std": plan.velocity_std,
        "engine": "eager",
    }
    shared |= plugin_record(names_of(shared))
    specs = tuple({**shared, "seed": m.seed, **rule_spec(optimizer, m.hyperparameters)} for m in members)
    cell = Cell(
        label=label,
        problem_spec=spec,
        optimizer=optimizer,
        plan=plan,
        members=members,
        ids=_ids(specs),
        specs=specs,
        unstable=tuple(is_unstable(m.hyperparameters, plan.momentum_schedule) for m in members),
        data_root=config.data_root,
        engine_open=config.engine == "auto",
    )
    return cell.under("compiled") if config.engine == "compiled" and why_not() is None else cell


def _ids(specs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(map(identity, specs))


def _steps(config: Config, train_size: int | None) -> int:
    if config.steps is not None and config.epochs is not None:
        raise ConfigurationError("epochs", config.epochs, f"null when steps is given (steps={config.steps})")
    if config.steps is not None:
        return config.steps
    if train_size is None:
        if config.epochs is not None:
            raise ConfigurationError("epochs", config.epochs, "null for closed forms, which have no data: use steps")
        return CLOSED_FORM_STEPS
    epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
    steps = epochs * train_size / config.batch_size
    if steps > MOST_STEPS:
        raise ConfigurationError("epochs", epochs, f"a number that makes at most {MOST_STEPS:g} steps")
    return math.ceil(steps)
