"""The search space of an optimizer: hyperparameter -> low, high and scale (conf/optimizer/*.yaml, `space`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shb.errors import ConfigurationError, choose

SCALES = ("log", "one_minus_log", "linear")


def check_space(optimizer: str, space: Mapping[str, Mapping], known: Mapping[str, float | None]) -> None:
    """Raise a ConfigurationError unless `space` names hyperparameters and has usable bounds."""
    for name, axis in space.items():
        choose(f"optimizer.space of {optimizer}", name, known)
        choose(f"optimizer.space.{name}.scale", axis["scale"], SCALES)
        low, high = axis["low"], axis["high"]
        top = {"log": np.inf, "one_minus_log": 1.0, "linear": np.inf}[axis["scale"]]
        if not low < high < top or (axis["scale"] == "log" and low <= 0):
            raise ConfigurationError(
                f"optimizer.space.{name}",
                dict(axis),
                "low < high, with low > 0 (log), high < 1 (one_minus_log)",
            )
