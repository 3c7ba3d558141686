"""What is checked: the optimizer, model, data set and problem of a configuration, made small, and members of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.cell.cell import build_cell
from bench.cell.config import Config, compose_config
from bench.cell.problem import build_problem, first_rows, learning_problem
from shb.datasets import load_dataset
from shb.errors import ConfigurationError
from shb.optimizers import Optimizer
from shb.problems import Problem
from shb.streams import BLOCK
from shb.training import ENGINES, Member, Plan, Stack

MEMBERS = 33
STEPS = {"learning": 4, "closed": BLOCK + 3}  # a step of a closed form costs nothing: more than one block of samples
BATCH = 8
OWN = (
    "seeds",
    "evaluations",
    "epochs",
    "device",
    "workers",
    "memory",
    "results_dir",
)  # fields that a check sets itself
OWN_GROUPS = ("suite", "logger", "velocity", "momentum_schedule")


class Subject:
    """A configuration that is checked.

    Args:
        overrides: of `conf/config.yaml`; without `steps` and `batch_size` they are small.

    Attributes:
        cell: one member of the configuration, under the engine "eager".
        members: 33 of it, each with a seed and hyperparameters of its own, none larger than those of the configuration.
        engines: those to check.

    Raises:
        ConfigurationError: whatever `bench.run` refuses, and fields that a check sets itself.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        given = {}
        for override in overrides:
            name, _, value = override.partition("=")
            if name.startswith("-"):
                raise ConfigurationError("option", name, "name=value, see conf/config.yaml")
            given[name.lstrip("+~")] = value
        for name, value in given.items():
            if name.split(".")[0] in (*OWN, *OWN_GROUPS):
                raise ConfigurationError(name, value, "left out: a check has members of its own, and stores nothing")
        config = compose_config([*overrides, "device=cpu", "seeds=1"])
        self._fill(config, {})
        self.engines = ENGINES if config.engine == "auto" else (config.engine,)
        if "steps" not in given or "batch_size" not in given:
            config.steps = config.steps or STEPS["closed" if self.closed else "learning"]
            if not self.closed and "batch_size" not in given:
                config.batch_size = min(BATCH, config.batch_size)
            self._fill(config, {})

    def _fill(self, config: Config, problems: dict[str, Problem]) -> None:
        self.config = config
        engine, config.engine = config.engine, "eager"
        self.cell = build_cell(config, rule_tried=False)  # a check of its own does
        config.engine = engine
        self._problems = problems

    def changed(self, config: Config) -> Subject:
        """The same with another configuration; problems are made once for all."""
        other = object.__new__(Subject)
        other.engines = self.engines
        other._fill(config, self._problems)
        return other

    @property
    def closed(self) -> bool:
        """Whether the problem is a closed form."""
        return self.cell.problem_spec["name"] != "learning"

    @property
    def optimizer(self) -> Optimizer:
        return self.cell.optimizer

    @property
    def dtype(self) -> str:
        return self.cell.problem_spec["dtype"]

    @property
    def plan(self) -> Plan:
        """Evaluates at the start, in the middle and at the end."""
        steps = self.cell.plan.steps
        return Plan(steps, schedule=self.cell.plan.schedule, evaluate_at=tuple(sorted({0, steps // 2, steps})))

    @property
    def members(self) -> list[Member]:
        first, own = self.cell.members[0], self.optimizer.hyperparameters
        members = []
        for i in range(MEMBERS):
            scale = {name: 1 - i / (2 * MEMBERS if name == "lr" else 10 * MEMBERS) for name in own}
            hyperparameters = {name: value * scale.get(name, 1.0) for name, value in first.hyperparameters.items()}
            members.append(Member(first.seed + i, hyperparameters))
        return members

    def problem(self, dtype: str | None = None) -> Problem:
        """The problem, on as few samples as one batch of an evaluation holds; the same object for the same dtype."""
        spec = {**self.cell.problem_spec, "dtype": dtype or self.dtype}
        key = json.dumps(spec, sort_keys=True)
        if key not in self._problems:
            if self.closed:
                self._problems[key] = build_problem.__wrapped__(key, self.cell.data_root)
            else:
                data = load_dataset(spec["dataset"], self.cell.data_root)
                rows = max(64, 2 * spec["batch_size"])
                self._problems[key] = learning_problem(spec, first_rows(data, rows))
        return self._problems[key]

    def stack(self, members: Sequence[Member], engine: str = "eager", dtype: str | None = None) -> Stack:
        return Stack(self.problem(dtype), self.optimizer, members, self.plan, engine=engine)

    def __str__(self) -> str:
        cell, problem = self.cell, self.cell.problem_spec
        size = "" if self.closed else f", batch_size {problem['batch_size']}"
        return f"{cell.label} with {cell.optimizer.name}: {self.plan.steps} steps{size}, {self.dtype}"
