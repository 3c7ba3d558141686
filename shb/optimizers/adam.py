"""Adam with bias correction, the numbers of ``torch.optim.Adam``.

    m_{k+1} = beta1 m_k + (1 - beta1) g_k             m_0 = 0
    v_{k+1} = beta2 v_k + (1 - beta2) g_k^2           v_0 = 0
    m_hat   = m_{k+1} / (1 - beta1^{k+1}),   v_hat = v_{k+1} / (1 - beta2^{k+1})
    w_{k+1} = w_k - lr_k m_hat / (sqrt(v_hat) + eps)

The powers are running products, kept per member in float64: a vectorised ``pow`` would give a member bits
that depend on its place in the stack. Coordinatewise Polyak parameters: ``conversions.adam_to_polyak``.
Kingma and Ba, arXiv 1412.6980.

Three steps with the gradient of w^2 / 2:

    >>> from shb.optimizers import descend, get_optimizer
    >>> [round(w, 6) for w in descend(get_optimizer("adam"), lambda w: w, start=1.0, steps=3, lr=0.125)]
    [1.0, 0.875, 0.75071, 0.627775]
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
    """Zero moments, products of no factors (1). ConfigurationError if a velocity is given."""
    refuse_velocity("adam", velocity)
    return {
        "first_moment": zeros_like(params),
        "second_moment": zeros_like(params),
        "beta1_product": torch.ones_like(hyperparameters["beta1"]),
        "beta2_product": torch.ones_like(hyperparameters["beta2"]),
    }


def update(
    params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    """One step; uses lr, beta1, beta2 and eps."""
    beta1, beta2 = hyperparameters["beta1"], hyperparameters["beta2"]
    beta1_product, beta2_product = beta1 * state["beta1_product"], beta2 * state["beta2_product"]
    step_size = hyperparameters["lr"] / (1 - beta1_product)
    root_scale = 1 / torch.sqrt(1 - beta2_product)  # sqrt(v_hat) = root_scale sqrt(v)
    new_params, first_moment, second_moment = {}, {}, {}
    for name, w in params.items():
        g = grads[name]
        m = torch.addcmul(expand(beta1, w) * state["first_moment"][name], expand(1 - beta1, w), g)
        v = torch.addcmul(expand(beta2, w) * state["second_moment"][name], expand(1 - beta2, w) * g, g)
        denominator = torch.addcmul(expand(hyperparameters["eps"], w), expand(root_scale, w), torch.sqrt(v))
        new_params[name] = torch.addcdiv(w, expand(step_size, w) * m, denominator, value=-1)
        first_moment[name], second_moment[name] = m, v
    return new_params, {
        "first_moment": first_moment,
        "second_moment": second_moment,
        "beta1_product": beta1_product,
        "beta2_product": beta2_product,
    }


ADAM = Optimizer("adam", {"lr": None, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, init, update, takes_velocity=False)
