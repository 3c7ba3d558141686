"""conf/optimizer: an update rule with its hyperparameters, and weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.bounds import check_numbers
from bench.cell.groups.group import Group, axes, check_boolean, check_complete, without
from bench.cell.space import Axis, check_space
from shb.errors import ConfigurationError
from shb.optimizers import get_optimizer

DECAY = "weight_decay"  # a hyperparameter of every rule, for which 0 is none


@dataclass(frozen=True)
class OptimizerConfig(Group):
    """An update rule.

    Attributes:
        hyperparameters: name -> numbers; several are an axis of the grid. `weight_decay` among them, but of own rules
            that have not declared it.
        allow_unstable: also momentum outside (-1, 1).
        space: what a suite searches, hyperparameter -> axis; {} if nothing.
        decoupled: whether weight decay is beside the update instead of in the gradient.
    """

    group = "optimizer"
    hyperparameters: dict[str, list[float]] = field(default_factory=dict)
    allow_unstable: bool = False
    space: dict[str, Axis] = field(default_factory=dict)
    decoupled: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        hyperparameters = axes("optimizer", without(fields, "name", "decoupled", "allow_unstable", "space"))
        flags = {name: fields.get(name, False) for name in ("decoupled", "allow_unstable")}
        return cls(fields["name"], hyperparameters, **flags, space=fields.get("space") or {})

    def check(self) -> None:
        known = get_optimizer(self.name).hyperparameters
        settable = {**known, DECAY: 0.0}
        self.refuse_others(self.hyperparameters, settable)
        check_complete("optimizer", self.hyperparameters, known)
        check_numbers("optimizer", self.hyperparameters)
        check_boolean("optimizer.decoupled", self.decoupled)
        if self.decoupled and (DECAY in known or "lr" not in known):
            why = "its weight_decay is its own" if DECAY in known else "it has no lr"
            raise ConfigurationError("optimizer.decoupled", self.decoupled, f"false for optimizer={self.name}: {why}")
        check_boolean("optimizer.allow_unstable", self.allow_unstable)
        check_space(self.name, self.space, settable)
