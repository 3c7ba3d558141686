"""The search space of an optimizer: hyperparameter -> low, high and scale (conf/optimizer/*.yaml, `space`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from shb.errors import ConfigurationError, choose

SCALES = ("log", "one_minus_log", "linear")


class Axis(TypedDict):
    """Where a hyperparameter is searched: from `low` to `high`, in its own units, evenly on the `scale`."""

    low: float
    high: float
    scale: str


def check_space(optimizer: str, space: Mapping[str, Any], known: Mapping[str, float | None]) -> None:
    """Raise a ConfigurationError unless `space` is hyperparameter -> `Axis`, with usable bounds."""
    if not isinstance(space, Mapping):
        raise ConfigurationError("optimizer.space", space, "hyperparameter -> low, high and scale")
    for name, axis in space.items():
        choose(f"optimizer.space of {optimizer}", name, known)
        if not isinstance(axis, Mapping) or set(axis) != {"low", "high", "scale"}:
            raise ConfigurationError(f"optimizer.space.{name}", axis, f"low, high and scale ({', '.join(SCALES)})")
        choose(f"optimizer.space.{name}.scale", axis["scale"], SCALES)
        low, high = axis["low"], axis["high"]
        for end in ("low", "high"):
            if isinstance(axis[end], bool) or not isinstance(axis[end], int | float):
                raise ConfigurationError(f"optimizer.space.{name}.{end}", axis[end], "a number")
        top = {"log": np.inf, "one_minus_log": 1.0, "linear": np.inf}[axis["scale"]]
        if not low < high < top or (axis["scale"] == "log" and low <= 0):
            raise ConfigurationError(
                f"optimizer.space.{name}",
                dict(axis),
                "low < high, with low > 0 (log), high < 1 (one_minus_log)",
            )
