"""What an optimizer is here: a pure ``init`` and a pure ``update`` on dictionaries of tensors.

    state = init(params, hyperparameters)
    params, state = update(params, grads, state, hyperparameters, k)          k = 0, 1, 2, ...

A stack traces ``update`` once and calls it with k as an int64 tensor []: no ``if`` on k or on values, ``torch.where``.

One call advances one trajectory (tensors shaped like the parameter) or a whole stack of M trajectories
("members": every tensor has a leading axis [M, ...], every hyperparameter has the shape [M]).

A member's bits must not depend on the width of its stack, so the rules use only operations that are exactly
rounded, + - * / sqrt. On the CPU the body of a vectorised loop and its remainder give different last bits for
``pow`` (float32, float64) and for ``torch.add(alpha=...)`` (bfloat16): neither is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose

Params = dict[str, Tensor]
"""Name -> parameter (or gradient, or velocity), each [...] or, in a stack, [M, ...]."""

Hyperparameters = dict[str, Tensor]
"""Name -> value for step k, float64, shape [] (one trajectory) or [M] (a stack)."""

State = dict[str, Any]
"""Name -> a dictionary shaped like the parameters, or one tensor shaped like a hyperparameter: a rule knows which."""

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Optimizer:
    """One update rule.

    Args:
        name: the name in ``OPTIMIZERS``.
        hyperparameters: name -> default; None means that it has no default and must be given (the step size
            ``lr``).
        init: ``init(params, hyperparameters, velocity=None) -> state``; ``velocity`` is w_0 - w_{-1}, shaped
            like the parameters. ConfigurationError if one is given and ``takes_velocity`` is False.
        update: ``update(params, grads, state, hyperparameters, k) -> (params, state)``; ``hyperparameters``
            holds all names, already evaluated for step ``k`` (int, 0 first). New tensors are returned, none
            is modified.
        takes_velocity: True if the rule can start with a velocity.
        decay: "none", "coupled" or "decoupled": what ``with_weight_decay`` made of it.
        clip: "none", "norm" or "value": what ``with_clipping`` made of it.

    Example:
        >>> import torch
        >>> from shb.optimizers import get_optimizer
        >>> shb = get_optimizer("shb")
        >>> numbers = {n: torch.tensor([v, v]).double() for n, v in shb.complete({"lr": 0.5}).items()}
        >>> params, grads = {"w": torch.ones(2, 3)}, {"w": torch.ones(2, 3)}  # two members, w of [3]
        >>> state = shb.init(params, numbers)
        >>> params, state = shb.update(params, grads, state, numbers, 0)
        >>> params["w"].shape, params["w"][0, 0].item(), list(state)
        (torch.Size([2, 3]), 0.5, ['velocity'])
    """

    name: str
    hyperparameters: Mapping[str, float | None]
    init: Callable[..., State]
    update: Callable[[Params, Params, State, Hyperparameters, int | Tensor], tuple[Params, State]]
    takes_velocity: bool = False
    decay: str = "none"
    clip: str = "none"

    def complete(self, given: Mapping[str, Value]) -> dict[str, Value | float]:
        """Return ``given``, name -> value, with the defaults filled in, in the order of ``hyperparameters``.

        Raises:
            ConfigurationError: for a name that the rule does not have, or a missing one without a default.
        """
        for name in given:
            choose(f"hyperparameters of optimizer {self.name}", name, self.hyperparameters)
        complete: dict[str, Value | float] = {}
        for name, value in {**self.hyperparameters, **given}.items():
            if value is None:
                raise ConfigurationError(f"{self.name}.{name}", None, "a number: it has no default")
            complete[name] = value
        return complete


def expand(h: Tensor, like: Tensor) -> Tensor:
    """Cast ``h`` ([] or [M]) to the dtype of ``like`` and append axes: [M] broadcasts over [M, ...].

    >>> expand(torch.tensor([0.5, 2.0], dtype=torch.float64), torch.zeros(2, 3, 4)).shape
    torch.Size([2, 1, 1])
    """
    return h.to(like.dtype).reshape(h.shape + (1,) * (like.dim() - h.dim()))


def zeros_like(params: Params) -> Params:
    """A zero tensor for every parameter, in its shape, dtype and device."""
    return {name: torch.zeros_like(w) for name, w in params.items()}


def refuse_velocity(name: str, velocity: Params | None) -> None:
    """Refuse an initial velocity: for the ``init`` of a rule that cannot start with one.

    Args:
        name: of the rule, for the error.
        velocity: what ``init`` was given; None is fine.

    Raises:
        ConfigurationError: a velocity is given.
    """
    if velocity is not None:
        raise ConfigurationError(
            f"initial velocity of optimizer {name}",
            "given",
            "none: only shb starts with one (theory.md, D4(A))",
        )


def check_velocity(params: Params, velocity: Params) -> None:
    """Refuse a ``velocity`` that has not the names, shapes and dtypes of ``params``.

    Raises:
        ConfigurationError: names the parameter, what was given and what is allowed.
    """
    if velocity.keys() != params.keys():
        raise ConfigurationError(
            "names of the initial velocity", sorted(velocity), f"those of the parameters, {sorted(params)}"
        )
    for name, w in params.items():
        v = velocity[name]
        if v.shape != w.shape or v.dtype != w.dtype:
            given = f"{tuple(v.shape)} {v.dtype}"
            raise ConfigurationError(
                f"initial velocity of {name}", given, f"{tuple(w.shape)} {w.dtype}, like the parameter"
            )
