"""The momentum of ``torch.optim.SGD(lr, momentum, dampening)``.

    b_1     = g_0                                        (the first step is not dampened)
    b_{k+1} = momentum_k b_k + (1 - dampening_k) g_k     k >= 1
    w_{k+1} = w_k - lr_k b_{k+1}

In Polyak's form alpha_k = (1 - dampening) lr_k and beta_k = momentum lr_k / lr_{k-1}: with a varying lr
these are not SHB's numbers (theory.md section 1, ``conversions.torch_to_polyak``). Source:
torch/optim/sgd.py.

Three steps with a gradient of 1:

    >>> from shb.optimizers import descend, get_optimizer
    >>> descend(get_optimizer("torch_momentum"), lambda w: 1.0, start=1.0, steps=3, lr=0.125, momentum=0.5)
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
    expand,
    refuse_velocity,
    zeros_like,
)


def init(params: Params, hyperparameters: Hyperparameters, velocity: Params | None = None) -> State:
    """A zero buffer, replaced by g_0 in step 0. ConfigurationError if a velocity is given."""
    refuse_velocity("torch_momentum", velocity)
    return {"buffer": zeros_like(params)}


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr, momentum and dampening (the last two not at ``k == 0``)."""
    lr, momentum, kept_share = (
        hyperparameters["lr"],
        hyperparameters["momentum"],
        1 - hyperparameters["dampening"],
    )
    first = torch.as_tensor(k == 0, device=lr.device)
    new_params, new_buffer = {}, {}
    for name, w in params.items():
        g = grads[name]
        dampened = torch.addcmul(expand(momentum, w) * state["buffer"][name], expand(kept_share, w), g)
        buffer = torch.where(first, g, dampened)
        new_params[name], new_buffer[name] = torch.addcmul(w, expand(lr, w), buffer, value=-1), buffer
    return new_params, {"buffer": new_buffer}


TORCH_MOMENTUM = Optimizer(
    "torch_momentum", {"lr": None, "momentum": 0.9, "dampening": 0.0}, init, update, takes_velocity=False
)
