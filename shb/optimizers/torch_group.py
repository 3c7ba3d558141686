"""What a parameter group and a stored state of ``SHB`` may hold; the rest gets one line that names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from shb.errors import ConfigurationError

NUMBERS = ("lr", "momentum", "weight_decay")  # of every step: floats or tensors of one element
# what groups of an older state_dict may lack; lr and momentum were always there
LATER = {"weight_decay": 0.0, "decoupled": False, "velocity_std": 0.0, "foreach": None, "allow_unstable": False}
FOREIGN = ("dampening", "nesterov", "centered", "betas")  # options of other optimizers that SHB would ignore

_ALLOWED = {
    "momentum": "a number in (-1, 1), or any finite one with allow_unstable=True",
    "weight_decay": "a finite number >= 0",
    "velocity_std": "a finite number >= 0",
}


def check_group(group: Mapping[str, Any], *, started: bool) -> None:
    """Refuse wrong types and numbers of one group.

    Args:
        group: options of a parameter group, all of SHB's.
        started: False when the group is made, where lr must be > 0; True in training, where a scheduler may
            have set it to 0. Numbers on an accelerator are looked at only when the group is made, because
            reading them makes the host wait.

    Raises:
        ConfigurationError: names the field, its value and what is allowed.
    """
    flags = (("foreach", (None, True, False)), ("allow_unstable", (True, False)), ("decoupled", (True, False)))
    for flag, allowed in flags:
        if not any(group[flag] is value for value in allowed):
            raise ConfigurationError(f"SHB.{flag}", repr(group[flag]), ", ".join(map(str, allowed)))
    number = host_number if started else float
    low = "a finite number >= 0" if started else "a finite number > 0"
    _check("lr", group, number, low, lambda lr: (lr >= 0 if started else lr > 0) and lr < math.inf)
    bound = math.inf if group["allow_unstable"] else 1
    _check("momentum", group, number, _ALLOWED["momentum"], lambda momentum: abs(momentum) < bound)
    for name in ("weight_decay", "velocity_std"):
        _check(name, group, number, _ALLOWED[name], lambda value: 0 <= value < math.inf)


def _check(
    name: str,
    group: Mapping[str, Any],
    number: Callable[[Any], float | Tensor],
    allowed: str,
    fits: Callable[[float], bool],
) -> None:
    value = group[name]
    if isinstance(value, Tensor):
        suitable = name in NUMBERS and value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool
    else:
        suitable = isinstance(value, Real) and not isinstance(value, bool)
    if suitable:
        read = number(value)
        # `not`, because nan must be refused too
        suitable = isinstance(read, Tensor) or fits(read)
    if not suitable:
        tensor = ", or a tensor of one element that holds one" if name in NUMBERS else ""
        raise ConfigurationError(f"SHB.{name}", repr(value), allowed + tensor)


def host_number(value: Any) -> float | Tensor:
    """``value`` as a float, or as a 0-d tensor where reading it would make the host wait for an accelerator."""
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return value.squeeze()
    return float(value)


def check_stored(groups: list[dict[str, Any]], states: Mapping[Any, Any]) -> None:
    """Complete the groups of an older state and refuse a state that is not SHB's, before it is taken over.

    Raises:
        ConfigurationError: for the state of another optimizer, a velocity of another shape, a number out of range.
    """
    ours = "a state_dict of SHB (shb.optimizers.conversions translates other momenta)"
    for group in groups:
        foreign = [name for name in FOREIGN if name in group]
        lacking = [name for name in ("lr", "momentum") if name not in group]
        if foreign or lacking:
            what = f"with {', '.join(foreign)}" if foreign else f"without {', '.join(lacking)}"
            raise ConfigurationError("state_dict", f"a group {what}", ours)
        for name, value in LATER.items():
            group.setdefault(name, value)
        check_group(group, started=True)
        for w in group["params"]:
            state = states.get(w)
            if not state:
                continue
            if "velocity" not in state:
                raise ConfigurationError("state_dict", f"a state of {', '.join(map(str, state))}", ours)
            if state["velocity"].shape != w.shape:
                shape = tuple(state["velocity"].shape)
                raise ConfigurationError("state_dict velocity", shape, f"the parameter's shape {tuple(w.shape)}")
            if group["velocity_std"] > 0:
                state.setdefault("drawn", True)
