"""Weight decay lambda = ``weight_decay`` for any rule, in the two forms that are in use.

    coupled:    g_k <- g_k + lambda w_k                     L2: what torch.optim.SGD and Adam have as weight_decay
    decoupled:  w_{k+1} = (1 - lr_k lambda) w_k + d_k        d_k: what the rule adds to w_k, made of g_k alone

Coupled decay is a part of the gradient: it passes the momentum, and Adam divides it by sqrt(v). Decoupled decay is
beside the update, as in torch.optim.AdamW, and, with momentum, in SGDW of Loshchilov and Hutter (arXiv 1711.05101):

    SHB, decoupled:  velocity_{k+1} = momentum_k velocity_k - lr_k g_k
                     w_{k+1}        = (1 - lr_k lambda) w_k + velocity_{k+1}

so the decay is no part of the velocity, which is then not w_{k+1} - w_k but that plus lr_k lambda w_k. With a constant
lr and momentum the coupled form has the critical points of F + lambda |w|^2 / 2, the decoupled one those of
F + (1 - momentum) lambda |w|^2 / 2 (theory.md 2.2; ``conversions`` says which decay is which).

Three steps with a gradient of 0:

    >>> from shb.optimizers import descend, get_optimizer
    >>> coupled, decoupled = (with_weight_decay(get_optimizer("shb"), d) for d in (False, True))
    >>> descend(coupled, lambda w: 0.0, start=1.0, steps=3, lr=0.5, momentum=0.5, weight_decay=0.5)
    [1.0, 0.75, 0.4375, 0.171875]
    >>> descend(decoupled, lambda w: 0.0, start=1.0, steps=3, lr=0.5, momentum=0.5, weight_decay=0.5)
    [1.0, 0.75, 0.5625, 0.421875]
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.optimizers.optimizer import Hyperparameters, Optimizer, Params, State, expand


def with_weight_decay(rule: Optimizer, decoupled: bool = False) -> Optimizer:
    """The same rule with one hyperparameter more, ``weight_decay`` (>= 0, default 0); the same object every time.

    A weight decay of 0 gives the bits of the rule itself.

    Args:
        rule: without weight decay or clipping so far.
        decoupled: the form, see above.

    Raises:
        ConfigurationError: the rule has a ``weight_decay`` already, is clipped (a gradient is clipped before the decay
            is added to it), or has no ``lr`` for the decoupled form.
    """
    return _extended(rule, bool(decoupled))


@functools.cache
def _extended(rule: Optimizer, decoupled: bool) -> Optimizer:
    if "weight_decay" in rule.hyperparameters or rule.clip != "none":
        allowed = "a rule without weight_decay, that is not clipped: with_clipping(with_weight_decay(rule), ...)"
        raise ConfigurationError(f"weight decay of optimizer {rule.name}", "given", allowed)
    if decoupled and "lr" not in rule.hyperparameters:
        raise ConfigurationError(f"decoupled weight decay of optimizer {rule.name}", "given", "of a rule with lr")
    return dataclasses.replace(
        rule,
        hyperparameters={**rule.hyperparameters, "weight_decay": 0.0},
        update=functools.partial(_decoupled if decoupled else _coupled, rule),
        decay="decoupled" if decoupled else "coupled",
    )


def _coupled(
    rule: Optimizer, params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    decay = hyperparameters["weight_decay"]
    decayed = {}
    for name, w in params.items():
        added = torch.addcmul(grads[name], expand(decay, w), w)
        decayed[name] = torch.where(expand(decay, w) == 0, grads[name], added)  # -0 + 0 has other bits than -0
    return rule.update(params, decayed, state, hyperparameters, k)


def _decoupled(
    rule: Optimizer, params: Params, grads: Params, state: State, hyperparameters: Hyperparameters, k: int | Tensor
) -> tuple[Params, State]:
    kept = 1 - hyperparameters["lr"] * hyperparameters["weight_decay"]
    return rule.update({n: _shrunk(kept, w) for n, w in params.items()}, grads, state, hyperparameters, k)


def _shrunk(kept: Tensor, w: Tensor) -> Tensor:
    """kept w, rounded once: 16 bits have no number between 1 and 1 - 2^-8 (bfloat16) or 1 - 2^-11 (float16)."""
    wide = w.float() if w.dtype.itemsize == 2 else w
    return (expand(kept, wide) * wide).to(w.dtype)
