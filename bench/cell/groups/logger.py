"""conf/logger: what shows results elsewhere, beside the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Any, Self

from bench.cell.groups.group import Group, check_boolean, without
from shb.errors import ConfigurationError, choose

LOGGERS = ("none", "wandb")
MODES = ("auto", "online", "offline")


@dataclass(frozen=True)
class LoggerConfig(Group):
    """The fields of conf/logger/wandb.yaml, where they are explained; logger=none uses none of them."""

    group = "logger"
    project: str = ""
    entity: str | None = None
    mode: str = "auto"
    per_seed: bool = False
    tuning: bool = False
    dir: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        known = [one.name for one in fields_of(cls) if one.name != "name"]
        cls(fields["name"]).refuse_others(without(fields, "name"), known)
        for name in known:
            if name not in fields and fields["name"] != "none":
                raise ConfigurationError(f"logger.{name}", "(missing)", "a value, see conf/logger/wandb.yaml")
        return cls(**fields)

    def check(self) -> None:
        if choose("logger", self.name, LOGGERS) == "none":
            return
        choose("logger.mode", self.mode, MODES)
        check_boolean("logger.per_seed", self.per_seed)
        check_boolean("logger.tuning", self.tuning)
        if not isinstance(self.project, str) or not re.fullmatch(r"[^/\\#?%:]{1,128}", self.project):
            raise ConfigurationError("logger.project", self.project, r"1 to 128 characters without / \ # ? % :")
        if self.entity is not None and not (isinstance(self.entity, str) and self.entity):
            raise ConfigurationError("logger.entity", self.entity, "the name of a W&B user or team, or null")
        if not (isinstance(self.dir, str) and self.dir):
            raise ConfigurationError("logger.dir", self.dir, "a folder")
