"""conf/optimizer: an update rule with its hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.bounds import check_numbers
from bench.cell.groups.group import Group, axes, check_boolean, check_complete, without
from bench.cell.space import Axis, check_space
from shb.optimizers import get_optimizer


@dataclass(frozen=True)
class OptimizerConfig(Group):
    """An update rule.

    Attributes:
        hyperparameters: name -> numbers; several are an axis of the grid.
        allow_unstable: also momentum outside (-1, 1).
        space: what a suite searches, hyperparameter -> axis; {} if nothing.
    """

    group = "optimizer"
    hyperparameters: dict[str, list[float]] = field(default_factory=dict)
    allow_unstable: bool = False
    space: dict[str, Axis] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        hyperparameters = axes("optimizer", without(fields, "name", "allow_unstable", "space"))
        return cls(fields["name"], hyperparameters, fields.get("allow_unstable", False), fields.get("space") or {})

    def check(self) -> None:
        known = get_optimizer(self.name).hyperparameters
        self.refuse_others(self.hyperparameters, known)
        check_complete("optimizer", self.hyperparameters, known)
        check_numbers("optimizer", self.hyperparameters)
        check_boolean("optimizer.allow_unstable", self.allow_unstable)
        check_space(self.name, self.space, known)
