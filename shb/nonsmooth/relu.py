"""ReLU whose derivative at 0 is a parameter t, under one of two rules.

    relu(x) = max(x, 0),    backprop with upstream gradient u:  u if x > 0,  0 if x < 0,  and at x == 0

    chain      t u   the chain rule with the selection t of the Clarke subdifferential [0, 1] of the scalar ReLU
    injected   t     whatever u is: what the public code of Bertoin et al. (NeurIPS 2021) does

(theory.md section 3, "ReLU'(0) = t family", and section 6.) torch.relu is t = 0, where the two rules agree.

The injected rule is no derivative of the network: it does not scale with the loss (sum or mean, loss scaling in
fp16), it loses the sign of u, and it puts t also where u = 0, so a branch that `torch.where` masks out still sends
a gradient back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shb.errors import ConfigurationError, choose

RULES = ("chain", "injected")


class _ReLU(torch.autograd.Function):
    """ReLU with derivative t at exact zeros; `generate_vmap_rule` lets it run inside a stack."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, derivative: float, rule: str) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, ctx.derivative, ctx.rule = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        at_kink = ctx.derivative * (upstream if ctx.rule == "chain" else torch.ones_like(upstream))
        zero = torch.zeros_like(upstream)
        return torch.where(x > 0, upstream, torch.where(x == 0, at_kink, zero)), None, None


def check_derivative(derivative: float) -> float:
    """Return t if it is an element of the Clarke subdifferential [0, 1] of ReLU at 0, else raise."""
    if not 0.0 <= derivative <= 1.0:
        raise ConfigurationError("relu_derivative", derivative, "a number in [0, 1]")
    return float(derivative)


def check_rule(rule: str) -> str:
    """Return `rule` if it is one of `RULES`, else raise."""
    return choose("relu_rule", rule, RULES)


def relu(x: Tensor, derivative: float = 0.0, rule: str = "chain") -> Tensor:
    """ReLU whose backpropagated derivative at exact zeros is t.

    Args:
        x: any shape.
        derivative: t in [0, 1]; 0 is torch.relu.
        rule: "chain": a gradient u that arrives at a zero goes on as t u; "injected": as t, whatever u is, which is
            no derivative (Bertoin et al., NeurIPS 2021; `shb.nonsmooth.relu` has more).

    Returns:
        Shaped like x.

    Raises:
        ConfigurationError: a derivative outside [0, 1], or an unknown rule.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
        >>> [torch.autograd.grad(3 * relu(x, 0.5, rule).sum(), x)[0].tolist() for rule in RULES]
        [[0.0, 1.5, 3.0], [0.0, 0.5, 3.0]]
    """
    check_rule(rule)
    return torch.relu(x) if derivative == 0.0 else _ReLU.apply(x, check_derivative(derivative), rule)


class ReLU(nn.Module):
    """`shb.nonsmooth.relu` as a layer: tensor of any shape -> tensor of the same shape.

    Args:
        derivative: t in [0, 1].
        rule: "chain" or "injected".

    Raises:
        ConfigurationError: a derivative outside [0, 1], or an unknown rule.
    """

    def __init__(self, derivative: float = 0.0, rule: str = "chain") -> None:
        super().__init__()
        self.derivative, self.rule = check_derivative(derivative), check_rule(rule)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x, self.derivative, self.rule)
