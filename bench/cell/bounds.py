"""What a number of a user may be at least and at most: one table, for command lines, suites, claims and stored specs.

A bound is what no run could need, or what no machine could hold; what this machine can hold is asked for separately
(bench/cell/memory.py). What a part of the library knows and checks is not here, for it says more: ranges of schedules
(`shb.schedules.Schedule`), sizes of batches, probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shb.errors import ConfigurationError

LARGEST = 2**63 - 1  # of the store's whole numbers
HUGE = 1e300  # of other numbers: twice as much is finite, too
MOST_STEPS = 10**12
MOST_EVALUATIONS = 100_000  # of a member, that of w_0 included
MOST_THREADS = 1024
MOST_SIZE = 10**6  # of a layer, a kernel, a number of atoms
MOST_OF_A_CLAIM = 10**8  # seeds, steps, ...: ten times the catalogue's largest


@dataclass(frozen=True)
class Bound:
    """From `low` (or above it, where `open`) to `high` (or below it, where `below`); `unit` and `hint` in words."""

    low: float
    high: float = math.inf
    whole: bool = True
    open: bool = False
    below: bool = False
    unit: str = ""
    hint: str = ""

    def check(self, field: str, value: float) -> None:
        """Raise a ConfigurationError unless the number `value` is within; nan is not."""
        above = value > self.low if self.open else value >= self.low
        if not above or not (value < self.high if self.below else value <= self.high):
            raise ConfigurationError(field, value if self.whole else float(value), self.words)

    @property
    def words(self) -> str:
        what = f"{'a whole number' if self.whole else 'a number'}{self.unit}"
        if self.below:
            return f"{what} in [{_shown(self.low)}, {_shown(self.high)}){self.hint}"
        end = "" if self.high == math.inf else f" and <= {_shown(self.high)}"
        return f"{what} {'>' if self.open else '>='} {_shown(self.low)}{end}{self.hint}"


BOUNDS = {
    "seeds": Bound(1, LARGEST),
    "seed_offset": Bound(0, LARGEST),
    "steps": Bound(1, MOST_STEPS),
    "epochs": Bound(0, MOST_STEPS, whole=False, open=True),
    "evaluations": Bound(1, MOST_EVALUATIONS - 1),
    "threads": Bound(1, MOST_THREADS),
    "workers": Bound(1, MOST_THREADS),
    "memory": Bound(0, 2.0**20, whole=False, open=True, unit=" of GiB"),
    "optimizer.lr": Bound(0, whole=False, open=True),
    "optimizer.dampening": Bound(0, 1, whole=False, below=True),
    "optimizer.beta1": Bound(0, 1, whole=False, below=True),
    "optimizer.beta2": Bound(0, 1, whole=False, below=True),
    "optimizer.eps": Bound(0, whole=False),
    "optimizer.weight_decay": Bound(0, whole=False),
    "clip.at": Bound(0, whole=False, open=True),
    "momentum_schedule.r": Bound(0, whole=False, hint=" (0 only with optimizer.allow_unstable=true)"),
    "velocity.std": Bound(0, whole=False, open=True, hint=" (velocity=zero for 0)"),
    "suite.version": Bound(1, LARGEST),
    "suite.trials": Bound(1, 10**6),
    "suite.tuning_seeds": Bound(1, LARGEST),
    "suite.tuning_seed_offset": Bound(0, LARGEST),
    "suite.tuning_evaluations": Bound(1, MOST_EVALUATIONS - 1),
    "suite.evaluation_seeds": Bound(1, LARGEST),
    "suite.evaluation_seed_offset": Bound(0, LARGEST),
    "n": Bound(1, LARGEST),  # options of bench.verify, bench.reproduce, bench.compare, bench.speed.plain_matrix
    "seed": Bound(0, LARGEST),
    "limit": Bound(0, 10**9, whole=False, open=True, unit=" of seconds"),
    "show": Bound(0, LARGEST),
    "sample": Bound(1, LARGEST),
}
MODEL_SIZES = ("hidden", "channels", "kernel", "width", "patch", "depth", "heads")  # a whole number, or a list of them
SIZES = (*(f"model.{name}" for name in MODEL_SIZES), "problem.atoms")  # the width of problem=e14 is a length
_SIZE = Bound(-(2**63), MOST_SIZE)  # whose least value the model says
_WHOLE = Bound(-(2**63), LARGEST)


def check_numbers(field: str, value: Any) -> None:
    """Raise a ConfigurationError for the first number in `value` that is out of bounds; others than numbers pass.

    Args:
        field: name of the setting as the user writes it; the items of a mapping are `field.key`, those of a list are
            called like the list.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_numbers(f"{field}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_numbers(field, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _bound(field, value)


def _bound(field: str, value: float) -> None:
    own = BOUNDS.get(field)
    if own is None or own.high == math.inf:
        _any(field, value)
    if own is not None:
        own.check(field, value)


def _any(field: str, value: float) -> None:
    """What holds for a number of which nothing else is known."""
    if isinstance(value, int):
        (_SIZE if is_size(field) else _WHOLE).check(field, value)
    elif not math.isfinite(value):
        raise ConfigurationError(field, value, "a finite number")
    elif abs(value) > HUGE:
        raise ConfigurationError(field, value, f"a number in -{HUGE:g} .. {HUGE:g}")


def is_size(field: str) -> bool:
    """Whether `field`, `model.width` or `spec.problem.model.width`, says how large an array is."""
    return ".".join(field.split(".")[-2:]) in SIZES


def finite_numbers(field: str, value: Any) -> list[float]:
    """A number or a list of numbers as a list of finite floats; a ConfigurationError for anything else."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not values:
        raise ConfigurationError(field, value, "a number or a non-empty list of numbers")
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise ConfigurationError(field, item, "a finite number or a list of them")
        _any(field, item)
    return [float(item) for item in values]


def finite_number(field: str, value: Any) -> float:
    """A number as a finite float; a ConfigurationError for anything else, a list of one included."""
    (number,) = finite_numbers(field, [value])
    return number


def check_sizes(field: str, given: Any, declared: Any) -> None:
    """Raise a ConfigurationError unless `given` has the form of `declared`, the sizes of a claim in its file: the same
    names, texts for texts, whole numbers for whole numbers, none of them too large.
    """
    if isinstance(declared, Mapping):
        if not isinstance(given, Mapping):
            raise ConfigurationError(field, given, f"left as it is: it has the fields {', '.join(map(str, declared))}")
        for key in [*declared, *(key for key in given if key not in declared)]:
            if key not in declared:
                raise ConfigurationError(f"{field}.{key}", given[key], f"one of {', '.join(map(str, declared))}")
            if key not in given:
                raise ConfigurationError(f"{field}.{key}", "(missing)", "a value: a field cannot be deleted")
            check_sizes(f"{field}.{key}", given[key], declared[key])
    elif isinstance(declared, list):
        if not isinstance(given, list) or not given:
            raise ConfigurationError(field, given, "a list that is not empty")
        for item in given:
            check_sizes(field, item, declared[0])
    elif isinstance(declared, int) and not isinstance(declared, bool):
        bound = Bound(min(1, declared), MOST_OF_A_CLAIM)
        if isinstance(given, bool) or not isinstance(given, int):
            raise ConfigurationError(field, given, bound.words)
        bound.check(field, given)
    elif isinstance(declared, float):
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ConfigurationError(field, given, "a finite number")
        check_numbers(field, given)
    elif not isinstance(given, type(declared)):
        raise ConfigurationError(field, given, f"a value like {declared}")


def _shown(number: float) -> str:
    if abs(number) >= LARGEST:
        return "2^63 - 1" if number > 0 else "-2^63"
    power = round(math.log10(number)) if number >= 10**6 else 0
    return f"10^{power}" if power and number == 10**power else f"{number:g}"
