"""conf/init and conf/velocity: where a trajectory starts, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.bounds import check_numbers, finite_number, finite_numbers
from bench.cell.groups.group import Group, without
from shb.errors import ConfigurationError, choose

_NUMBERS = ("std", "value", "low", "high")


@dataclass(frozen=True)
class InitConfig(Group):
    """The law of w_0; which laws there are depends on the problem, which says so.

    Attributes:
        options: numbers; `std` may be None, which the problem settles, and `value` a list.
    """

    group = "init"
    options: dict[str, float | list[float] | None] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        own = without(fields, "name")
        cls(fields["name"]).refuse_others(own, _NUMBERS)
        options: dict[str, float | list[float] | None] = {}
        for name, value in own.items():
            numbers = [] if name == "std" and value is None else finite_numbers(f"init.{name}", value)
            options[name] = (*numbers, None)[0] if len(numbers) < 2 else numbers
        return cls(fields["name"], options)

    def check(self) -> None:
        self.refuse_others(self.options, _NUMBERS)
        check_numbers("init", self.options)
        for name, value in self.options.items():
            if isinstance(value, list) and name != "value":
                raise ConfigurationError(f"init.{name}", value, "one number")


@dataclass(frozen=True)
class VelocityConfig(Group):
    """The initial velocity: `std`, its standard deviation per coordinate, in units of w; 0 for none."""

    group = "velocity"
    std: float = 0.0

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        cls(fields["name"]).refuse_others(without(fields, "name"), ["std"])
        return cls(fields["name"], finite_number("velocity.std", fields["std"]) if "std" in fields else 0.0)

    def check(self) -> None:
        if choose("velocity", self.name, ("zero", "normal")) == "normal":
            check_numbers("velocity.std", self.std)
        elif self.std != 0:
            raise ConfigurationError("velocity.std", self.std, "0 for velocity=zero")
