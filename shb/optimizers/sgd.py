"""SGD, the stochastic subgradient method.

    w_{k+1} = w_k - lr_k g_k

The case momentum = 0 of the heavy ball (theory.md section 1). Robbins and Monro (1951).

Three steps with a gradient of 1:

    >>> from shb.optimizers import descend, get_optimizer
    >>> descend(get_optimizer("sgd"), lambda w: 1.0, start=1.0, steps=3, lr=0.125)
    [1.0, 0.875, 0.75, 0.625]
"""

from __future__ import annotations

import torch
from torch import Tensor

from shb.optimizers.optimizer import Hyperparameters, Optimizer, Params, State, expand, refuse_velocity


def init(params: Params, hyperparameters: Hyperparameters, velocity: Params | None = None) -> State:
    """SGD keeps no state. ConfigurationError if a velocity is given."""
    refuse_velocity("sgd", velocity)
    return {}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr."""
    lr = hyperparameters["lr"]
    return {name: torch.addcmul(w, expand(lr, w), grads[name], value=-1) for name, w in params.items()}, state


SGD = Optimizer("sgd", {"lr": None}, init, update, takes_velocity=False)
