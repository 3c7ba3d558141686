"""conf/suite and conf/claim, as far as they are composed: a suite's own file is read in bench/suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.cell.groups.group import Group, without
from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class SuiteConfig(Group):
    """`optimizers`: names instead of those of the suite's file; None for those."""

    group = "suite"
    optimizers: list[str] | None = None

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], fields.get("optimizers"))

    def check(self) -> None:
        names = self.optimizers
        if names is None:
            return
        if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
            raise ConfigurationError("suite.optimizers", names, "a list of different optimizers")
        for name in names:
            if not isinstance(name, str) or name not in OPTIMIZERS:
                allowed = f"{', '.join(sorted(OPTIMIZERS))}, and those of plugins=[file.py]"
                raise ConfigurationError("suite.optimizers", name, allowed)


@dataclass(frozen=True)
class ClaimConfig(Group):
    """`sizes`: level -> name -> number of seeds, steps, ...; {} for claim=all, where each has those of its own file."""

    group = "claim"
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], without(fields, "name"))

    def check(self) -> None:
        for level, sizes in self.sizes.items():
            if not isinstance(sizes, dict):
                raise ConfigurationError(f"claim.{level}", sizes, "sizes, by name")
