"""SHB, the stochastic heavy ball in Polyak's form: the canonical form of this project.

    w_{k+1} = w_k - lr_k g_k + momentum_k (w_k - w_{k-1})                     (P), theory.md section 1

carried as  velocity_k = w_k - w_{k-1}:

    velocity_{k+1} = momentum_k velocity_k - lr_k g_k
    w_{k+1}        = w_k + velocity_{k+1}

Every other momentum of this package converts to it (``conversions.py``). Polyak (1964); T. Le, arXiv
2304.13328.

Three steps with a gradient of 1:

    >>> from shb.optimizers import descend, get_optimizer
    >>> descend(get_optimizer("shb"), lambda w: 1.0, start=1.0, steps=3, lr=0.125, momentum=0.5)
    [1.0, 0.875, 0.6875, 0.46875]
"""

from __future__ import annotations

import torch
from torch import Tensor

from shb.optimizers.optimizer import (
    Hyperparameters,
    Optimizer,
    Params,
    State,
    check_velocity,
    expand,
    zeros_like,
)


def init(params: Params, hyperparameters: Hyperparameters, velocity: Params | None = None) -> State:
    """Start at rest (w_{-1} = w_0), or with ``velocity`` = w_0 - w_{-1}, shaped like ``params``.

    A velocity with a density is the phase-space randomisation of theory.md D4(A).
    """
    if velocity is None:
        return {"velocity": zeros_like(params)}
    check_velocity(params, velocity)
    return {"velocity": {name: velocity[name].clone() for name in params}}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr and momentum."""
    lr, momentum = hyperparameters["lr"], hyperparameters["momentum"]
    new_params, new_velocity = {}, {}
    for name, w in params.items():
        kept = expand(momentum, w) * state["velocity"][name]
        velocity = torch.addcmul(kept, expand(lr, w), grads[name], value=-1)
        new_params[name], new_velocity[name] = w + velocity, velocity
    return new_params, {"velocity": new_velocity}


HEAVY_BALL = Optimizer("shb", {"lr": None, "momentum": 0.9}, init, update, takes_velocity=True)
