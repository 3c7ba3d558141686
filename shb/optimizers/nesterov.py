"""The Nesterov momentum of ``torch.optim.SGD(lr, momentum, nesterov=True)``, without dampening.

    b_0     = 0
    b_{k+1} = momentum_k b_k + g_k
    w_{k+1} = w_k - lr_k (g_k + momentum_k b_{k+1})

With constant lr and momentum mu: w_{k+1} = w_k + mu (w_k - w_{k-1}) - lr [(1 + mu) g_k - mu g_{k-1}]
(theory.md section 1, ``conversions.nesterov_to_polyak``). Source: torch/optim/sgd.py.

Three steps with a gradient of 1:

    >>> from shb.optimizers import descend, get_optimizer
    >>> descend(get_optimizer("nesterov"), lambda w: 1.0, start=1.0, steps=3, lr=0.125, momentum=0.5)
    [1.0, 0.8125, 0.59375, 0.359375]
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
    """b_0 = 0. ConfigurationError if a velocity is given."""
    refuse_velocity("nesterov", velocity)
    return {"buffer": zeros_like(params)}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr and momentum."""
    lr, momentum = hyperparameters["lr"], hyperparameters["momentum"]
    new_params, new_buffer = {}, {}
    for name, w in params.items():
        g, mu = grads[name], expand(momentum, w)
        buffer = torch.addcmul(g, mu, state["buffer"][name])
        direction = torch.addcmul(g, mu, buffer)
        new_params[name], new_buffer[name] = torch.addcmul(w, expand(lr, w), direction, value=-1), buffer
    return new_params, {"buffer": new_buffer}


NESTEROV = Optimizer("nesterov", {"lr": None, "momentum": 0.9}, init, update, takes_velocity=False)
