"""conf/problem, conf/model and conf/dataset: what is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.cell.bounds import MODEL_SIZES, check_numbers, finite_number
from bench.cell.groups.group import Group, OpenGroup, without
from shb.datasets import DATASETS
from shb.errors import ConfigurationError, choose
from shb.models import MODELS
from shb.problems import CLOSED_FORMS, ClosedForm

DATA = ("pair", "diabetes")  # of the closed forms that have samples
RELU = ("relu_derivative", "relu_rule")  # fields of conf/config.yaml, which every model and problem gets


@dataclass(frozen=True)
class ProblemConfig(OpenGroup):
    """`learning` (model, data set, loss), or a closed form with its options."""

    group = "problem"

    def check(self) -> None:
        if choose("problem", self.name, ("learning", *CLOSED_FORMS)) == "learning":
            self.refuse_others(self.options, ())
            return
        parameters = problem_parameters(CLOSED_FORMS[self.name])
        if not takes_any(parameters):
            data = ["data"] if {"x", "y"} <= parameters.keys() else []
            self.refuse_others(self.options, [*parameters, *data])
        check_numbers("problem", self.options)
        for name in self.numeric:
            finite_number(f"problem.{name}", self.options[name])
        if "data" in self.options:
            choose("problem.data", self.options["data"], DATA)

    @property
    def numeric(self) -> list[str]:
        """Names of the options of a closed form that are one number, as their defaults are."""
        parameters = problem_parameters(CLOSED_FORMS[self.name])
        defaults = {name: parameters[name].default for name in self.options if name in parameters}
        return [name for name, one in defaults.items() if isinstance(one, int | float) and not isinstance(one, bool)]


@dataclass(frozen=True)
class ModelConfig(OpenGroup):
    """A network with its options."""

    group = "model"

    def check(self) -> None:
        parameters = model_parameters(MODELS[choose("model", self.name, MODELS)])
        if not takes_any(parameters):
            self.refuse_others(self.options, parameters)
        check_numbers("model", self.options)
        for name in MODEL_SIZES:
            if name in self.options:
                many = name in parameters and isinstance(parameters[name].default, Sequence)
                _check_whole(f"model.{name}", self.options[name], many)
        if "pool_beta" in self.options:
            finite_number("model.pool_beta", self.options["pool_beta"])


@dataclass(frozen=True)
class DatasetConfig(Group):
    """A data set."""

    group = "dataset"

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        made = cls(fields["name"])
        made.refuse_others(without(fields, "name"), ())
        return made

    def check(self) -> None:
        choose("dataset", self.name, DATASETS)


def problem_parameters(kind: type[ClosedForm]) -> dict[str, inspect.Parameter]:
    """The options of a closed form: its arguments beside those of all."""
    shared = inspect.signature(ClosedForm).parameters
    return {name: one for name, one in inspect.signature(kind).parameters.items() if name not in shared}


def model_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options of a model: its arguments beside shape, outputs and the two of the ReLU."""
    parameters = inspect.signature(factory).parameters
    return dict([(name, one) for name, one in parameters.items() if name not in RELU][2:])


def takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether there is a `**` among them."""
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _check_whole(name: str, value: Any, many: bool) -> None:
    items = value if many and isinstance(value, list | tuple) else [None] if many else [value]
    if any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise ConfigurationError(name, value, "a list of whole numbers" if many else "a whole number")
