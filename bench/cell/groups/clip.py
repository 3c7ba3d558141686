"""conf/clip: whether, how and where the gradient of a member is clipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.bounds import check_numbers
from bench.cell.groups.group import Group, axes, check_complete, without
from shb.errors import choose
from shb.optimizers.clipping import CLIPS


@dataclass(frozen=True)
class ClipConfig(Group):
    """None, by norm or by value. `parameters`: `at` -> numbers; several are an axis of the grid."""

    group = "clip"
    parameters: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], axes(cls.group, without(fields, "name")))

    def check(self) -> None:
        known = [] if choose(self.group, self.name, ("none", *CLIPS)) == "none" else ["at"]
        self.refuse_others(self.parameters, known)
        check_complete(self.group, self.parameters, known)
        check_numbers(self.group, self.parameters)
