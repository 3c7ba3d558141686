"""What a rule does to one number: for documents, tests, and whoever writes a rule."""

from __future__ import annotations

from collections.abc import Callable

import torch

from shb.optimizers.optimizer import Optimizer
from shb.optimizers.ranges import check_hyperparameters


def descend(
    optimizer: Optimizer, gradient: Callable[[float], float], start: float, steps: int, **hyperparameters: float
) -> list[float]:
    """The iterates w_0, ..., w_steps of `optimizer` on one number, in float64.

    Args:
        optimizer: a rule, e.g. ``get_optimizer("shb")``.
        gradient: the oracle: w_k -> g_k.
        start: w_0.
        steps: number of updates, >= 0.
        hyperparameters: constant; those that are left out have their defaults.

    Raises:
        ConfigurationError: a hyperparameter that the rule does not have, one without a default that is missing, or
            one out of range.

    Example:
        >>> from shb.optimizers import get_optimizer
        >>> descend(get_optimizer("sgd"), lambda w: w, start=1.0, steps=3, lr=0.5)
        [1.0, 0.5, 0.25, 0.125]
    """
    complete = optimizer.complete(hyperparameters)
    check_hyperparameters(complete)
    numbers = {name: torch.tensor(value, dtype=torch.float64) for name, value in complete.items()}
    params = {"w": torch.tensor(start, dtype=torch.float64)}
    state, iterates = optimizer.init(params, numbers), [float(start)]
    for k in range(steps):
        grads = {"w": torch.tensor(gradient(iterates[-1]), dtype=torch.float64)}
        params, state = optimizer.update(params, grads, state, numbers, k)
        iterates.append(params["w"].item())
    return iterates
