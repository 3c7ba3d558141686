"""What a plug-in file offers: its tables, checked whole before anything of them is entered anywhere.

    OPTIMIZERS  [Optimizer, ...]              SPACES  {optimizer: {hyperparameter: {low, high, scale}}}, for suites
    MODELS      {name: (feature_shape, outputs, *, relu_derivative, relu_rule, OPTION=default, ...) -> Module}
    DATASETS    {name: () -> Dataset}         loaded once, together with the plug-in
    PROBLEMS    {name: subclass of ClosedForm, with OPTION=default in its __init__}
    LOSSES      {name: (output, y) -> loss of every sample}
    SCHEDULES   [Schedule, ...]               of the step size; no momentum schedule grows, which one of these might

Options and hyperparameters become fields of the configuration, with their defaults.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.cell.added import add_entry
from bench.cell.config import entries
from bench.cell.groups.optimizer import DECAY
from bench.cell.groups.problem import model_parameters, problem_parameters
from bench.cell.space import check_space
from shb.datasets import Dataset, register_dataset
from shb.models import MODELS
from shb.optimizers import OPTIMIZERS, Optimizer
from shb.problems import CLOSED_FORMS, LOSSES, ClosedForm
from shb.schedules import SCHEDULES, Schedule, schedule_table

TABLES = ("OPTIMIZERS", "SPACES", "MODELS", "DATASETS", "PROBLEMS", "LOSSES", "SCHEDULES")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")


class PluginError(ValueError):
    """What is wrong with a plug-in's tables, in words."""


@dataclass(frozen=True)
class Offer:
    """One thing of a plug-in: `fields` are those of its configuration, `enter` makes the library know it.

    Without `fields` it is a value of the field `group`.
    """

    group: str
    name: str
    fields: Mapping[str, Any] | None
    enter: Callable[[], None]


def read_tables(names: Mapping[str, Any]) -> list[Offer]:
    """Everything that the module with these `names` offers.

    Raises:
        PluginError: no table, a wrong one, or a name that is taken.
    """
    if not any(table in names for table in TABLES):
        raise PluginError(f"at least one of the tables {', '.join(TABLES)}")
    offers = [
        *_optimizers(names.get("OPTIMIZERS", []), _table(names, "SPACES")),
        *(_model(name, factory) for name, factory in _table(names, "MODELS").items()),
        *(_dataset(name, loader) for name, loader in _table(names, "DATASETS").items()),
        *(_problem(name, kind) for name, kind in _table(names, "PROBLEMS").items()),
        *(_loss(name, function) for name, function in _table(names, "LOSSES").items()),
        *_schedules(names.get("SCHEDULES", [])),
    ]
    seen = set()
    for offer in offers:
        if not isinstance(offer.name, str) or not _NAME.fullmatch(offer.name):
            raise PluginError(f"names of letters, digits and _, not {offer.group}={offer.name!r}")
        taken = ("auto", *LOSSES) if offer.group == "loss" else entries(offer.group)
        if offer.name in taken or (offer.group, offer.name) in seen:
            raise PluginError(f"a new name for {offer.group}={offer.name}, which is taken")
        seen.add((offer.group, offer.name))
    return offers


def enter(offers: list[Offer], sha256: str) -> None:
    """Let configuration and library know what a plug-in of this content offers."""
    for offer in offers:
        offer.enter()
        add_entry(offer.group, offer.name, offer.fields, sha256)


def _table(names: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    found = names.get(table, {})
    if not isinstance(found, Mapping):
        raise PluginError(f"a dictionary name -> ... in {table}, not {type(found).__name__}")
    return found


def _optimizers(rules: Any, spaces: Mapping[str, Any]) -> list[Offer]:
    rules = list(rules.values()) if isinstance(rules, Mapping) else rules
    if not isinstance(rules, list | tuple) or not all(isinstance(rule, Optimizer) for rule in rules):
        raise PluginError("a list of shb.optimizers.Optimizer in OPTIMIZERS")
    for name in spaces:
        if name not in [rule.name for rule in rules]:
            raise PluginError(f"names of OPTIMIZERS in SPACES, not {name!r}")
    offers = []
    for rule in rules:
        space = spaces.get(rule.name, {})
        check_space(rule.name, space, {**rule.hyperparameters, DECAY: 0.0})
        unstable = {"allow_unstable": False} if "momentum" in rule.hyperparameters else {}
        decay: dict[str, Any] = {}
        if DECAY not in rule.hyperparameters:
            decay = {DECAY: 0.0, **({"decoupled": False} if "lr" in rule.hyperparameters else {})}
        fields = {
            "name": rule.name,
            **rule.hyperparameters,
            **decay,
            **unstable,
            "space": {n: dict(a) for n, a in space.items()},
        }
        offers.append(Offer("optimizer", rule.name, fields, functools.partial(OPTIMIZERS.update, {rule.name: rule})))
    return offers


def _model(name: str, factory: Any) -> Offer:
    if not callable(factory):
        raise PluginError(f"a function in MODELS[{name!r}], not {type(factory).__name__}")
    fields = {"name": name, **_defaults(f"MODELS[{name!r}]", model_parameters(factory))}
    return Offer("model", name, fields, lambda: MODELS.update({name: factory}))


def _dataset(name: str, loader: Any) -> Offer:
    if not callable(loader):
        raise PluginError(f"a function without arguments in DATASETS[{name!r}], not {type(loader).__name__}")
    data = loader()
    if not isinstance(data, Dataset) or data.name != name:
        raise PluginError(f"a Dataset named {name!r} from DATASETS[{name!r}] (build_dataset makes one)")
    return Offer("dataset", name, {"name": name}, lambda: register_dataset(data))


def _problem(name: str, kind: Any) -> Offer:
    if not (isinstance(kind, type) and issubclass(kind, ClosedForm)) or getattr(kind, "name", None) != name:
        raise PluginError(f"a subclass of ClosedForm whose name is {name!r} in PROBLEMS[{name!r}]")
    fields = {"name": name, **_defaults(f"PROBLEMS[{name!r}]", problem_parameters(kind))}
    return Offer("problem", name, fields, lambda: CLOSED_FORMS.update({name: kind}))


def _loss(name: str, function: Any) -> Offer:
    if not callable(function):
        raise PluginError(f"a function in LOSSES[{name!r}], not {type(function).__name__}")
    return Offer("loss", name, None, lambda: LOSSES.update({name: function}))


def _schedules(schedules: Any) -> list[Offer]:
    if not isinstance(schedules, list | tuple) or not all(isinstance(one, Schedule) for one in schedules):
        raise PluginError("a list of shb.schedules.Schedule in SCHEDULES")
    offers = []
    for one in schedules:
        if one.parameters.keys() != one.ranges.keys():
            raise PluginError(f"a range for every parameter of schedule {one.name}: {', '.join(one.parameters)}")
        schedule_table(one, [1.0], {}, 0, 10, 10)  # of its defaults
        fields = {"name": one.name, **one.parameters}
        offers.append(Offer("schedule", one.name, fields, functools.partial(SCHEDULES.update, {one.name: one})))
    return offers


def _defaults(where: str, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Option -> default; each has one, of a kind that a configuration can hold."""
    found = {}
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        value = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if not isinstance(value, bool | int | float | str | list):
            raise PluginError(f"a default (number, text, true, false or list) for option {parameter.name} of {where}")
        found[parameter.name] = value
    return found
