"""Gradient clipping for any rule, by the global norm of a member's gradient or by value.

    norm:   g <- g min(1, at / (|g| + 1e-6))      |g| over all parameters of the member
    value:  g <- min(max(g, -at), at)             every coordinate by itself

These are the numbers of torch.nn.utils.clip_grad_norm_, its 1e-6 included (so the clipped norm is below ``at`` by about
1e-6 / |g| of it), and of clip_grad_value_. The squares are summed in float64. A gradient is clipped before weight decay
is added and before the rule sees it.

Neither is unbiased: the mean of a clipped stochastic gradient is not the gradient of F, nor of anything else in
general, so the limits of a clipped method need not be critical points of F (theory.md 2.2, CL54).

    >>> from shb.optimizers import descend, get_optimizer
    >>> clipped = with_clipping(get_optimizer("sgd"), "value")
    >>> descend(clipped, lambda w: w, start=4.0, steps=4, lr=0.5, **{"clip.at": 2.0})
    [4.0, 3.0, 2.0, 1.0, 0.5]
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.optimizers.optimizer import Hyperparameters, Optimizer, Params, State, expand

AT = "clip.at"
"""Name of the hyperparameter: the norm or value at which a gradient is clipped (> 0), in units of the gradient."""

_NORM_OFFSET = 1e-6  # of torch.nn.utils.clip_grad_norm_


def clip_by_norm(grads: Params, at: Tensor) -> Params:
    """Scale the whole gradient of every member down to the norm `at`, [] (one trajectory) or [M] (a stack)."""
    squares = [(g.double() * g.double()).reshape(*at.shape, -1).sum(-1) for g in grads.values()]
    norm = torch.sqrt(sum(squares[1:], squares[0])) + _NORM_OFFSET
    share = torch.where(norm > at, at / norm, 1.0)
    return {name: expand(share, g) * g for name, g in grads.items()}


def clip_by_value(grads: Params, at: Tensor) -> Params:
    """Cut every coordinate off at -`at` and `at`, [] (one trajectory) or [M] (a stack)."""
    bounds = {name: expand(at, g) for name, g in grads.items()}
    return {name: torch.minimum(torch.maximum(g, -bounds[name]), bounds[name]) for name, g in grads.items()}


CLIPS = {"norm": clip_by_norm, "value": clip_by_value}


@functools.cache
def with_clipping(rule: Optimizer, by: str) -> Optimizer:
    """The same rule on clipped gradients, with one hyperparameter more, ``clip.at``; the same object every time.

    Args:
        rule: one that is not clipped so far.
        by: "norm" or "value".

    Raises:
        ConfigurationError: an unknown way, or the rule is clipped already.
    """
    choose("clip", by, CLIPS)
    if rule.clip != "none":
        raise ConfigurationError(f"clipping of optimizer {rule.name}", by, f"none: it is clipped by {rule.clip}")
    return dataclasses.replace(
        rule,
        hyperparameters={**rule.hyperparameters, AT: None},
        update=functools.partial(_clipped, rule, by),
        clip=by,
    )


def _clipped(
    rule: Optimizer,
    by: str,
    params: Params,
    grads: Params,
    state: State,
    hyperparameters: Hyperparameters,
    k: int | Tensor,
) -> tuple[Params, State]:
    return rule.update(params, CLIPS[by](grads, hyperparameters[AT]), state, hyperparameters, k)
