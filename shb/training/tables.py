"""The hyperparameters of every member at every step: float64, computed per member, outside the stack."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from shb.schedules import schedule_table, second_order_momentum
from shb.training.member import Member, Plan

_SCHEDULES = ("schedule.", "momentum_schedule.")  # prefixes of their parameters


class Tables:
    """What `members` have under the schedules of `plan`.

    Args:
        members: with hyperparameters of the same names; "schedule.q" and the like are parameters of the schedules.
        device: where the tables are given.
    """

    def __init__(self, members: Sequence[Member], plan: Plan, device: torch.device) -> None:
        self._plan, self._device = plan, device
        self._base = {
            name: np.array([m.hyperparameters[name] for m in members], dtype=np.float64)
            for name in members[0].hyperparameters
        }

    @property
    def names(self) -> Iterable[str]:
        """The hyperparameters of the optimizer."""
        return (name for name in self._base if not name.startswith(_SCHEDULES))

    def initial(self) -> dict[str, Tensor]:
        """What members begin with, parameters of schedules too: name -> [members]."""
        return {name: torch.from_numpy(base).to(self._device) for name, base in self._base.items()}

    def steps(self, start: int, stop: int, rows: slice) -> dict[str, Tensor]:
        """Of the members `rows` in steps start..stop-1: name -> float64 [stop - start, members]."""
        plan, own = self._plan, {name: base[rows] for name, base in self._base.items()}
        tables: dict[str, Tensor | np.ndarray] = {}
        for name, base in own.items():
            if name in self._constant:
                tables[name] = self._constant[name][rows].expand(stop - start, -1)
            elif name == "lr":
                tables[name] = self._table(plan.schedule, "schedule.", base, own, start, stop)
            elif name == "momentum" and plan.momentum_schedule == "second_order":
                lr = self._table(plan.schedule, "schedule.", own["lr"], own, max(start - 1, 0), stop)
                previous = np.concatenate([lr[:1], lr])[: stop - start] if start == 0 else lr[:-1]
                tables[name] = second_order_momentum(previous, lr[-(stop - start) :], own["momentum_schedule.r"])
            elif name == "momentum":
                tables[name] = self._table(plan.momentum_schedule, "momentum_schedule.", base, own, start, stop)
        return {name: torch.as_tensor(table).to(self._device) for name, table in tables.items()}

    @functools.cached_property
    def _constant(self) -> dict[str, Tensor]:
        """Hyperparameters that are the same in every step: name -> [members]."""
        varying = {
            "lr": (self._plan.schedule, "schedule."),
            "momentum": (self._plan.momentum_schedule, "momentum_schedule."),
        }
        constant = {}
        for name, base in self._base.items():
            schedule, prefix = varying.get(name, ("constant", f"{name}."))
            if not name.startswith(_SCHEDULES) and schedule == "constant":
                (constant[name],) = self._table(schedule, prefix, base, self._base, 0, 1)
        return {name: torch.from_numpy(base).to(self._device) for name, base in constant.items()}

    def _table(
        self, schedule: str, prefix: str, base: np.ndarray, own: dict[str, np.ndarray], start: int, stop: int
    ) -> np.ndarray:
        parameters = {n.removeprefix(prefix): v for n, v in own.items() if n.startswith(prefix)}
        return schedule_table(schedule, base, parameters, start, stop, self._plan.steps)
