"""One error for every wrong input: it names the field, the value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ConfigurationError(ValueError):
    """A value that cannot be used, found before any compute.

    Args:
        field: name of the setting as the user writes it, e.g. ``optimizer.lr``.
        value: what was given.
        allowed: what would be accepted, in words.
    """

    def __init__(self, field: str, value: Any, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(" ".join(f"{field}={value}: allowed is {allowed}".split()))

    def __reduce__(self) -> tuple:
        return type(self), (self.field, self.value, self.allowed)


class CompilationError(RuntimeError):
    """A program could not be compiled; the eager engine still can run it."""


def choose(field: str, value: str, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Args:
        field: name of the setting, for the error.

    Raises:
        ConfigurationError: it is none of them; names all, and the nearest match.

    Example:
        >>> choose("optimizer", "shb", ["sgd", "shb"])
        'shb'
        >>> choose("optimizer", "SBH", ["sgd", "shb"])
        Traceback (most recent call last):
        shb.errors.ConfigurationError: optimizer=SBH: allowed is one of sgd, shb (did you mean shb?)
    """
    choices = sorted(choices)
    if value in choices:
        return value
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(str(value).casefold(), folded, n=1)
    hint = f" (did you mean {folded[near[0]]}?)" if near else ""
    raise ConfigurationError(field, value, f"one of {', '.join(choices)}{hint}")


def shown(value: Any) -> str:
    """A stranger's value for an error message: at most 60 characters, none of which a terminal obeys."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
