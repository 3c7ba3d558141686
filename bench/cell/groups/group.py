"""What a configuration group is: the chosen entry, made from its fields and checked once, when it is composed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from bench.cell.bounds import check_numbers, finite_numbers
from shb.errors import ConfigurationError


@dataclass(frozen=True)
class Group:
    """The chosen entry of a group: its `name`, and what its other fields say."""

    group: ClassVar[str]
    name: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read and check the `fields` of an entry, as they are composed.

        Raises:
            ConfigurationError: a value that cannot be used; it names field, value and what is allowed.
        """
        made = cls.read(fields)
        made.check()
        return made

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """The fields as values of their types; a ConfigurationError where that cannot be."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise a ConfigurationError unless every value, by itself, can be used."""
        raise NotImplementedError

    def refuse_others(self, given: Mapping[str, Any], known: Iterable[str]) -> None:
        """Raise for the first of `given` that is not `known` to what the entry names: nobody would read it."""
        known = list(known)
        for name, value in given.items():
            if name not in known:
                own = " ".join(f"{self.group}.{one}" for one in known) or "nothing"
                raise ConfigurationError(f"{self.group}.{name}", value, f"{own}: {self.name} has no such field")


@dataclass(frozen=True)
class OpenGroup(Group):
    """A group whose entries have `options` of their own, kept as they are given."""

    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], without(fields, "name"))


@dataclass(frozen=True)
class ParameterGroup(Group):
    """A group whose entries are functions with `parameters`: name -> numbers; several are an axis of the grid."""

    parameters: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        return cls(fields["name"], axes(cls.group, without(fields, "name")))

    def check_parameters(self, known: Iterable[str]) -> None:
        """Raise unless exactly the `known` ones are given, and within their bounds."""
        known = list(known)
        self.refuse_others(self.parameters, known)
        check_complete(self.group, self.parameters, known)
        check_numbers(self.group, self.parameters)


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The other fields than these."""
    return {name: value for name, value in fields.items() if name not in names}


def axes(group: str, fields: Mapping[str, Any]) -> dict[str, list[float]]:
    """Every field, a number or a list of them, as the list of its numbers: an axis of the grid."""
    return {name: finite_numbers(f"{group}.{name}", value) for name, value in fields.items()}


def check_complete(group: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise unless each of `known` is given."""
    for name in known:
        if name not in given:
            raise ConfigurationError(f"{group}.{name}", "(missing)", "a number or a list of them")


def check_boolean(name: str, value: object) -> None:
    """Raise unless `value`, of the field `name`, is true or false."""
    if not isinstance(value, bool):
        raise ConfigurationError(name, value, "true or false")
