"""The stored text of a member's spec, read as data: it may be a stranger's.

JSON with the right fields, names that exist, and bounded sizes; no text in it that anything could interpret. Whether
the values fit each other is checked by the code that checks the command line (bench/cell/rebuild.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cell.added import added
from bench.cell.bounds import MOST_EVALUATIONS, MOST_SIZE, is_size
from bench.cell.config import entries, fields, own_entries
from bench.cell.groups import DECAY
from bench.cell.plugins import check_record, names_of
from shb.datasets import DATASETS
from shb.errors import ConfigurationError, choose, shown
from shb.models import MODELS
from shb.optimizers import get_optimizer
from shb.problems import CLOSED_FORMS, LOSSES
from shb.training import ENGINES

MAX_TEXT = 1_000_000  # characters of a spec
MAX_LIST = 200  # numbers in any other list: widths, curvatures, slopes
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "engine": str,
    "evaluate_at": list,
    "hyperparameters": dict,
    "momentum_schedule": str,
    "numerics": int,
    "optimizer": str,
    "problem": dict,
    "schedule": str,
    "seed": int,
    "steps": int,
    "velocity_std": (int, float),
}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {"plugins": dict, "clip": str, "decoupled": bool}
PROBLEM_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "init": dict,
    "relu_derivative": (int, float),
    "relu_rule": str,
    "dtype": str,
    "device": str,
}
_LEARNING: dict[str, type | tuple[type, ...]] = {
    "model": dict,
    "dataset": str,
    "loss": str,
    "batch_size": int,
    "sampling": str,
    "checksum": str,
}


def read_spec(text: str) -> dict[str, Any]:
    """The spec as a dictionary with the right fields, names that exist and bounded sizes; nothing is built."""
    if len(text) > MAX_TEXT:
        raise ConfigurationError("spec", f"{len(text)} characters", f"at most {MAX_TEXT}")
    try:
        spec = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("spec", shown(text), f"JSON ({str(error)[:100]})") from None
    optional = {name: kind for name, kind in _OPTIONAL.items() if isinstance(spec, dict) and name in spec}
    _check_fields("spec", spec, {**_FIELDS, **optional})
    _check_plain("spec", spec)
    if "plugins" in spec:
        _check_plugins(spec)
    _check_problem(spec["problem"])
    choose("spec.engine", spec["engine"], ENGINES)
    optimizer = get_optimizer(spec["optimizer"])
    for group in ("schedule", "momentum_schedule"):
        choose(f"spec.{group}", spec[group], entries(group))
    clip = choose("spec.clip", spec.get("clip", "none"), entries("clip"))
    groups = {"clip": clip, **{group: spec[group] for group in ("schedule", "momentum_schedule")}}
    for name, value in spec["hyperparameters"].items():
        group, _, parameter = name.rpartition(".")
        known = fields(group, groups[group]) if group in groups else (*optimizer.hyperparameters, DECAY)
        choose("spec.hyperparameters", parameter if group else name, set(known) - {"name"})
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"spec.hyperparameters.{name}", shown(value), "a number")
    if spec["numerics"] < 1:
        raise ConfigurationError("spec.numerics", spec["numerics"], "a whole number >= 1")
    if not 0 <= spec["seed"] < 2**63:
        raise ConfigurationError("spec.seed", spec["seed"], "a whole number from 0 to 2^63 - 1")
    return spec


def _check_plugins(spec: Mapping[str, Any]) -> None:
    """Of what a member uses, its plug-ins by content; PluginMissing if they are not loaded."""
    _check_fields("spec.problem", spec["problem"], {"name": str}, exact=False)
    if "model" in spec["problem"]:
        _check_fields("spec.problem.model", spec["problem"]["model"], {"name": str}, exact=False)
    names = names_of(spec)
    for group, sha256 in spec["plugins"].items():
        choose("spec.plugins", group, names)
        if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ConfigurationError(f"spec.plugins.{group}", shown(sha256), "a SHA-256: 64 hexadecimal digits")
        own = LOSSES.keys() - added("loss") if group == "loss" else own_entries(group)
        if not isinstance(names[group], str) or names[group] in own:
            raise ConfigurationError(
                f"spec.plugins.{group}", sha256, f"nothing: {shown(names[group])} is of no plug-in"
            )
    check_record(spec["plugins"], names)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def _check_fields(where: str, value: Any, types: Mapping[str, type | tuple[type, ...]], exact: bool = True) -> None:
    if not isinstance(value, dict):
        raise ConfigurationError(where, shown(value), "an object")
    for name in types.keys() - value.keys():
        raise ConfigurationError(f"{where}.{name}", "(missing)", "there")
    for name in value.keys() - types.keys() if exact else ():
        raise ConfigurationError(f"{where}.{shown(name)}", shown(value[name]), "nothing: no such field")
    for name, kind in types.items():
        if not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool):
            words: dict[Any, str] = {str: "a name", list: "a list", dict: "an object", int: "a whole number"}
            words[bool] = "true or false"
            raise ConfigurationError(f"{where}.{name}", shown(value[name]), words.get(kind, "a number"))


def _check_plain(where: str, value: Any) -> None:
    """Names of letters, digits and . _ + -; numbers of float64 size; short lists: no text that anything could
    interpret."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not _NAME.fullmatch(name):
                raise ConfigurationError(where, shown(name), "names of letters, digits and . _ + -")
            _check_plain(f"{where}.{name}", item)
    elif isinstance(value, list):
        limit = MOST_EVALUATIONS if where == "spec.evaluate_at" else MAX_LIST
        if len(value) > limit:
            raise ConfigurationError(where, f"{len(value)} items", f"at most {limit}")
        for item in value:
            _check_plain(where, item)
    elif isinstance(value, str) and not _NAME.fullmatch(value):
        raise ConfigurationError(where, shown(value), "names of letters, digits and . _ + -")
    elif isinstance(value, int | float) and not abs(value) < 1e300:
        raise ConfigurationError(where, shown(value), "a finite number")
    elif isinstance(value, int | float) and is_size(where) and value > MOST_SIZE:
        raise ConfigurationError(where, value, f"at most {MOST_SIZE}")


def _check_problem(problem: Mapping[str, Any]) -> None:
    _check_fields("spec.problem", problem, PROBLEM_FIELDS, exact=False)
    kind = choose("spec.problem.name", problem["name"], ("learning", *CLOSED_FORMS))
    choose("spec.problem.device", problem["device"], ("cpu", "cuda"))
    _check_fields("spec.problem.init", problem["init"], {"name": str}, exact=False)
    init = choose("spec.problem.init.name", problem["init"]["name"], set(entries("init")) - {"auto"})
    _choose_all("spec.problem.init", problem["init"], fields("init", init))
    if kind == "learning":
        _check_fields("spec.problem", problem, {**PROBLEM_FIELDS, **_LEARNING})
        _check_fields("spec.problem.model", problem["model"], {"name": str}, exact=False)
        model = choose("spec.problem.model.name", problem["model"]["name"], MODELS)
        _choose_all("spec.problem.model", problem["model"], fields("model", model))
        choose("spec.problem.dataset", problem["dataset"], DATASETS)
    else:
        _choose_all("spec.problem", problem, [*PROBLEM_FIELDS, *fields("problem", kind), "checksum", "sampling"])
        for name, value in problem.items():  # a list of names would reach the problem's own checks as something else
            if isinstance(value, dict) and name != "init":
                raise ConfigurationError(f"spec.problem.{name}", shown(value), "a name, a number or a list of numbers")


def _choose_all(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        choose(where, name, known)
