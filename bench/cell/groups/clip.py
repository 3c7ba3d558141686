"""conf/clip: whether, how and where the gradient of a member is clipped."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cell.groups.group import ParameterGroup
from shb.errors import choose
from shb.optimizers.clipping import CLIPS


@dataclass(frozen=True)
class ClipConfig(ParameterGroup):
    """None, by norm or by value, with the parameter `at`."""

    group = "clip"

    def check(self) -> None:
        self.check_parameters([] if choose(self.group, self.name, ("none", *CLIPS)) == "none" else ["at"])
