"""conf/schedule and conf/momentum_schedule: step size and momentum as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cell.groups.group import ParameterGroup
from shb.errors import ConfigurationError, choose
from shb.schedules import SCHEDULES

SECOND_ORDER = "second_order"  # of the momentum alone: it is made of the step sizes


@dataclass(frozen=True)
class ScheduleConfig(ParameterGroup):
    """Of the step size."""

    group = "schedule"

    def check(self) -> None:
        schedule = SCHEDULES[choose(self.group, self.name, SCHEDULES)]
        self.check_parameters(schedule.parameters)
        for name, (low, high) in schedule.ranges.items():
            for value in self.parameters[name]:
                if not low <= value <= high:
                    raise ConfigurationError(f"{self.group}.{name}", value, f"{low:g} .. {high:g}")


@dataclass(frozen=True)
class MomentumScheduleConfig(ScheduleConfig):
    """As of the step size, or the second-order limit with its damping `r`."""

    group = "momentum_schedule"

    def check(self) -> None:
        if choose(self.group, self.name, (SECOND_ORDER, *SCHEDULES)) == SECOND_ORDER:
            self.check_parameters(["r"])
        else:
            super().check()
