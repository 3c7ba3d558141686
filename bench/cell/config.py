"""The typed configuration of one cell: composed by Hydra from `conf/`, checked before any compute."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.cell.added import added, contents, plugin_list
from bench.cell.bounds import check_numbers, check_sizes
from bench.cell.groups import (
    ClaimConfig,
    ClipConfig,
    DatasetConfig,
    Group,
    InitConfig,
    LoggerConfig,
    ModelConfig,
    MomentumScheduleConfig,
    OptimizerConfig,
    ProblemConfig,
    ScheduleConfig,
    SuiteConfig,
    VelocityConfig,
)
from bench.store.yaml_file import read_yaml
from shb.errors import ConfigurationError, choose

Schema = TypeVar("Schema", "Config", "ClaimsConfig")

CONF = Path(__file__).resolve().parents[2] / "conf"
_WORDS = {
    " | None": " or null",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
}


@dataclass
class Config:
    """Types of `conf/config.yaml`, where every field is explained; groups are checked already (bench/cell/groups/)."""

    problem: ProblemConfig
    model: ModelConfig
    dataset: DatasetConfig
    optimizer: OptimizerConfig
    clip: ClipConfig
    schedule: ScheduleConfig
    momentum_schedule: MomentumScheduleConfig
    init: InitConfig
    velocity: VelocityConfig
    logger: LoggerConfig
    suite: SuiteConfig
    seeds: int
    seed_offset: int
    steps: int | None
    epochs: float | None
    batch_size: int
    sampling: str
    loss: str
    relu_derivative: float
    relu_rule: str
    evaluations: int
    dtype: str
    device: str
    engine: str
    threads: int | None
    workers: int | None
    memory: float | None
    data_root: str | None
    download: bool
    plugins: list[str]
    results_dir: str


@dataclass
class ClaimsConfig:
    """Types of `conf/claims.yaml`."""

    claim: ClaimConfig
    level: str
    device: str
    threads: int | None
    workers: int | None
    data_root: str | None
    download: bool
    figures: bool
    results_dir: str


LITERAL = ("results_dir", "data_root", "logger.dir", "logger.project", "logger.entity")  # names of the user's own

_FILES: dict[type, str] = {Config: "config", ClaimsConfig: "claims"}  # schema -> file in conf/


def compose_config(overrides: Sequence[str]) -> Config:
    """Compose and type-check; every mistake becomes a ConfigurationError of one line."""
    return compose_as(Config, overrides)


def literal(override: str) -> str:
    """An override of a path or name, quoted so that Hydra's grammar takes it as it stands; others as they are.

    `~` is expanded; null stays null. A value in single quotes is quoted already, so that quoting twice changes nothing.
    """
    field, separator, value = override.partition("=")
    if field == "plugins":
        return f"plugins=[{','.join(_quoted(os.path.expanduser(one)) for one in plugin_list(value))}]"
    quoted = len(value) > 1 and value[0] == value[-1] == "'"
    if not separator or field.lstrip("+") not in LITERAL or value in ("", "null") or quoted:
        return override
    if field.lstrip("+") != "logger.project":
        value = os.path.expanduser(value)
    return f"{field}={_quoted(value)}"


def _quoted(value: str) -> str:
    value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # no interpolation of OmegaConf's
    value = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{value}'"


def compose_as(schema: type[Schema], overrides: Sequence[str]) -> Schema:
    """As `compose_config`, for the file of any schema."""
    overrides = [literal(one) for one in overrides]
    for one in overrides:
        if one.startswith("~") and not one.startswith("~hydra."):
            raise ConfigurationError(one[1:].partition("=")[0], "(deleted)", "a value: a field cannot be deleted")
    try:
        return typed(_composed(_FILES[schema], overrides), schema)
    except (HydraException, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise _explained(error, overrides, schema) from None


def _composed(file: str, overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes. That takes 0.1 s, and a suite or a report on claims has hundreds of settings, so each choice
    of groups is composed once, and values are set in a copy, as Hydra sets them.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for one in parsed:
        _check_plain(one)
    values = [one for one in parsed if _is_value(one)]
    groups = tuple(text for text, one in zip(overrides, parsed) if not _is_value(one))
    files = sorted((str(path), path.stat().st_mtime_ns) for path in CONF.rglob("*.yaml"))
    config = copy.deepcopy(_of_groups(str(CONF), file, groups, (*files, *contents())))
    try:
        for one in values:
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
    except OmegaConfBaseException:
        return _by_hydra(str(CONF), file, tuple(overrides))  # which says what is wrong
    return config


def _check_plain(override: Override) -> None:
    """Refuse a value with ${...}, which would be resolved where a user cannot see it, or not at all; and for a group
    what is no name.
    """
    field, type_ = override.key_or_group, override.type
    if override.is_hydra_override() or override.is_sweep_override() or type_ == OverrideType.DEL:
        return
    value = override.value()
    text = value if isinstance(value, str) else override.get_value_string()
    if field not in LITERAL and field != "plugins" and "${" in str(value):
        raise ConfigurationError(field, text, "a value itself: ${...} is not resolved here")
    if (CONF / field).is_dir() and not isinstance(value, str | dict):  # the latter: values of its fields
        raise ConfigurationError(field, text, f"one of {', '.join(entries(field))}")


def _is_value(override: Override) -> bool:
    """Whether it is `field=value`: no choice of a group, nothing added, deleted or swept, no field of Hydra's own."""
    plain = override.type == OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
    return plain and not override.is_hydra_override() and not (CONF / override.key_or_group).is_dir()


@functools.lru_cache(maxsize=256)
def _of_groups(conf: str, file: str, groups: tuple[str, ...], files: tuple) -> DictConfig:
    """`files` and when each was changed, and what plug-ins added, are part of the key: who edits one sees it."""
    return _by_hydra(conf, file, groups)


def _by_hydra(conf: str, file: str, overrides: tuple[str, ...]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf, version_base="1.3"):
        return compose(file, overrides=list(overrides))


def typed(composed: DictConfig, schema: type[Schema]) -> Schema:
    """Check the types and bounds of a composed configuration and return it as a `Config` (or another schema)."""
    for key in sorted(OmegaConf.missing_keys(composed)):
        raise ConfigurationError(key, "???", "a value: this one is missing")
    try:
        plain = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(_plain(cast(type, schema))), composed))
    except OmegaConfBaseException as error:
        key = error.full_key or str(error.key)
        value = OmegaConf.select(composed, key)
        if key.split(".")[0] not in schema.__annotations__:
            raise _unknown_field(key, [f"{key}={value}"], schema) from None
        words = str(schema.__annotations__[key.split(".")[0]])
        for type_name, word in _WORDS.items():
            words = words.replace(type_name, word)
        raise ConfigurationError(key, value, words) from None
    values, groups = dict(vars(plain)), _groups(cast(type, schema))
    for name, value in values.items():
        if name in groups:
            _check_fields(name, value)
            values[name] = groups[name].of(value)
        else:
            check_numbers(name, value)
    if not values["results_dir"]:
        raise ConfigurationError("results_dir", "", "a folder")
    return schema(**values)


@functools.cache
def _groups(schema: type) -> dict[str, type[Group]]:
    """The fields of a schema that are groups, with their types."""
    return {
        name: kind
        for name, kind in get_type_hints(schema).items()
        if isinstance(kind, type) and issubclass(kind, Group)
    }


@functools.cache
def _plain(schema: type) -> type:
    """The schema as Hydra composes it: groups are mappings."""
    kinds = {**get_type_hints(schema), **dict.fromkeys(_groups(schema), dict[str, Any])}
    return make_dataclass(schema.__name__, kinds.items())


def _check_fields(group: str, values: Mapping[str, Any]) -> None:
    """Refuse a field that the chosen entry does not declare (`+group.field=`): it would be ignored without a word."""
    if not isinstance(values.get("name"), str):
        raise ConfigurationError(f"{group}.name", values.get("name"), f"one of {', '.join(entries(group))}")
    known = fields(group, values["name"])
    for name, value in values.items():
        if known and name not in known:
            own = " ".join(f"{group}.{key}" for key in known if key != "name") or "nothing"
            allowed = f"{own}: this field does not apply for {group}={values['name']}"
            raise ConfigurationError(f"{group}.{name}", value, allowed)
    if group == "claim":  # whose entries have the same sizes, but not the same numbers
        check_sizes(group, values, read_yaml(CONF / group / f"{values['name']}.yaml"))


def fields(group: str, entry: str) -> tuple[str, ...]:
    """Names of the fields that an entry declares; none for an unknown entry, which its users refuse."""
    if entry in added(group):
        return tuple(added(group)[entry])
    path = CONF / group / f"{entry}.yaml"
    return _fields_of(str(path), path.stat().st_mtime_ns) if path.is_file() else ()


@functools.lru_cache(maxsize=256)
def _fields_of(path: str, changed: int) -> tuple[str, ...]:
    """Names of the fields of a file; `changed`, its time of change, is part of the key."""
    return tuple(OmegaConf.load(path))


def entries(group: str) -> list[str]:
    """Names of the entries of a configuration group."""
    return sorted({*own_entries(group), *added(group)})


def own_entries(group: str) -> list[str]:
    """Those of `entries` that are of this project, and of no plug-in."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _explained(error: Exception, overrides: Sequence[str], schema: type) -> ConfigurationError:
    """Say in one line which override is wrong and what is allowed."""
    text = str(error)
    if match := re.search(r"Sweep parameters '(\S+?)=(.*?)' requires", text):
        return ConfigurationError(match[1], match[2], "one value, or a matrix with -m")
    if "set --multirun" in text or "Ambiguous value" in text:
        swept = next((o for o in overrides if "," in o and not o.partition("=")[2].startswith(("[", "{"))), "")
        return ConfigurationError(swept.partition("=")[0], swept.partition("=")[2], "one value, or a matrix with -m")
    if match := re.search(r"Could not find '([\w/]+)/([^'/]*)'", text):
        group, value = match.groups()
        if not (CONF / group).is_dir():
            installed = re.findall(r"^\t(\w+)$", text, re.MULTILINE)
            return ConfigurationError(group, value, f"one of {', '.join(installed)} (what is installed)")
        try:
            choose(group, value, entries(group))
        except ConfigurationError as wrong:
            return wrong
    if match := re.search(r"[Kk]ey '([\w.]+)' (?:is not in struct|not in '\w+')", text) or re.search(
        r"Could not (?:override|append to config\. An item is already at) '([\w./@]+)'", text
    ):
        full = re.search(r"full_key: ([\w.]+)", text)
        return _unknown_field(full.group(1) if full else match.group(1), overrides, schema)
    if match := re.search(r"Error merging override ([\w.]+)=(.*)", text):
        place = f"conf/{match[1].split('.')[0]}" if "." in match[1] else f"conf/{_FILES[schema]}.yaml"
        return ConfigurationError(match[1], match[2], f"a value of the kind that stands in {place}")
    culprit = next((o for o in overrides if o in text), " ".join(overrides))
    return ConfigurationError(
        "override", culprit, f"name=value, see conf/{_FILES[schema]}.yaml ({text.splitlines()[0]})"
    )


def _unknown_field(name: str, overrides: Sequence[str], schema: type) -> ConfigurationError:
    value = next((o.split("=", 1)[1] for o in overrides if "=" in o and o.lstrip("+~").startswith(name)), "")
    group, chosen = name.split(".")[0], ""
    known = list(schema.__annotations__)
    if (CONF / group).is_dir():
        default = next(e[group] for e in OmegaConf.load(CONF / f"{_FILES[schema]}.yaml").defaults if group in e)
        given = (o.partition("=")[2] for o in overrides if o.startswith(f"{group}="))
        chosen = next((value for value in given if value in entries(group)), default)
        known = sorted({group, *(f"{group}.{key}" for entry in entries(group) for key in fields(group, entry))})
        hint = f" for {group}={chosen}"
    else:
        hint = ""
    try:
        choose(name, name, known)
    except ConfigurationError as error:
        return ConfigurationError(name, value, error.allowed)
    own = [f"{group}.{key}" for key in fields(group, chosen) if key != "name"] if chosen in entries(group) else []
    return ConfigurationError(name, value, f"{' '.join(own) or 'nothing'}: this field does not apply{hint}")
