"""Momentum as an exponential moving average of the gradients.

    m_0     = 0
    m_{k+1} = momentum_k m_k + (1 - momentum_k) g_k
    w_{k+1} = w_k - lr_k m_{k+1}

In Polyak's form alpha_k = (1 - momentum_k) lr_k and beta_k = momentum_k lr_k / lr_{k-1} (theory.md section 1,
``conversions.ema_to_polyak``). Not torch's ``dampening = momentum``, whose first step is not dampened.

Three steps with a gradient of 1:

    >>> from shb.optimizers import descend, get_optimizer
    >>> descend(get_optimizer("ema_momentum"), lambda w: 1.0, start=1.0, steps=3, lr=0.125, momentum=0.5)
    [1.0, 0.9375, 0.84375, 0.734375]
"""

from __future__ import annotations

import torch
from torch import Tensor

from shb.optimizers.optimizer import (
    Hyperparameters,
    Optimizer,
    Params,
    State,
    expand,
    refuse_velocity,
    zeros_like,
)


def init(params: Params, hyperparameters: Hyperparameters, velocity: Params | None = None) -> State:
    """m_0 = 0. ConfigurationError if a velocity is given."""
    refuse_velocity("ema_momentum", velocity)
    return {"average": zeros_like(params)}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr and momentum."""
    lr, momentum, new_share = (
        hyperparameters["lr"],
        hyperparameters["momentum"],
        1 - hyperparameters["momentum"],
    )
    new_params, new_average = {}, {}
    for name, w in params.items():
        average = torch.addcmul(expand(momentum, w) * state["average"][name], expand(new_share, w), grads[name])
        new_params[name], new_average[name] = torch.addcmul(w, expand(lr, w), average, value=-1), average
    return new_params, {"average": new_average}


EMA_MOMENTUM = Optimizer("ema_momentum", {"lr": None, "momentum": 0.9}, init, update, takes_velocity=False)
