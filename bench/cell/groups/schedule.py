"""conf/schedule and conf/momentum_schedule: step size and momentum as functions of the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.bounds import check_numbers
from bench.cell.groups.group import Group, axes, check_complete, without
from shb.errors import ConfigurationError, choose
from shb.schedules import SCHEDULES

SECOND_ORDER = "second_order"  # of the momentum alone: it is made of the step sizes


@dataclass(frozen=True)
class ScheduleConfig(Group):
    """Of the step size. `parameters`: name -> numbers; several are an axis of the grid."""

    group = "schedule"
    parameters: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], axes(cls.group, without(fields, "name")))

    def check(self) -> None:
        schedule = SCHEDULES[choose(self.group, self.name, SCHEDULES)]
        self._check_parameters(schedule.parameters)
        for name, (low, high) in schedule.ranges.items():
            for value in self.parameters[name]:
                if not low <= value <= high:
                    raise ConfigurationError(f"{self.group}.{name}", value, f"{low:g} .. {high:g}")

    def _check_parameters(self, known: Iterable[str]) -> None:
        self.refuse_others(self.parameters, known)
        check_complete(self.group, self.parameters, known)
        check_numbers(self.group, self.parameters)


@dataclass(frozen=True)
class MomentumScheduleConfig(ScheduleConfig):
    """As of the step size, or the second-order limit with its damping `r`."""

    group = "momentum_schedule"

    def check(self) -> None:
        if choose(self.group, self.name, (SECOND_ORDER, *SCHEDULES)) == SECOND_ORDER:
            self._check_parameters(["r"])
        else:
            super().check()
