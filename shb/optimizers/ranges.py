"""What a hyperparameter may be, by its name: asked where the members of a stack enter, before any compute.

lr = 0 is allowed, unlike in conf/: a member at rest. Momentum may be any number, for outside (-1, 1) is where a theory
ends, and no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.optimizers.clipping import AT


@dataclass(frozen=True)
class _Range:
    """From `low`, or above it where `open`, to below `high`."""

    low: float = 0.0
    high: float | None = None
    open: bool = False

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Where it does, bool like `values`; not for nan."""
        above = values > self.low if self.open else values >= self.low
        return above if self.high is None else above & (values < self.high)

    @property
    def words(self) -> str:
        if self.high is not None:
            return f"a number in [{self.low:g}, {self.high:g})"
        return f"a number {'>' if self.open else '>='} {self.low:g}"


RANGES = {
    "lr": _Range(),
    "dampening": _Range(high=1.0),
    "beta1": _Range(high=1.0),
    "beta2": _Range(high=1.0),
    "eps": _Range(),
    "weight_decay": _Range(),
    AT: _Range(open=True),
}
"""Name -> range of every rule's hyperparameter of that name."""


def check_hyperparameters(given: Mapping[str, ArrayLike]) -> None:
    """Refuse the first number that is out of the range of its name; names without a range pass.

    Args:
        given: name -> number, or one for each member [M].

    Raises:
        ConfigurationError: names the hyperparameter, the number and what is allowed.
    """
    for name, allowed in RANGES.items():
        values = np.atleast_1d(np.asarray(given.get(name, []), np.float64))
        wrong = values[~allowed.holds(values)]
        if wrong.size:
            raise ConfigurationError(name, float(wrong[0]), allowed.words)
