"""ReLU whose derivative at 0 is a parameter t.

    relu(x) = max(x, 0),    backprop at x:  upstream * (1 if x > 0, 0 if x < 0, t if x == 0)

This is the chain rule with the selection t of the Clarke subdifferential [0, 1] of the scalar ReLU
(theory.md section 3, "ReLU'(0) = t family"; rule `chain` of section 6). torch.relu is t = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shb.errors import ConfigurationError


class _ReLUAtZero(torch.autograd.Function):
    """ReLU with derivative t at exact zeros; `generate_vmap_rule` lets it run inside a stack."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, at_zero: float) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        x, ctx.at_zero = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        zero = torch.zeros_like(upstream)
        return torch.where(x > 0, upstream, torch.where(x == 0, ctx.at_zero * upstream, zero)), None


def check_at_zero(at_zero: float) -> float:
    """Return t if it is an element of the Clarke subdifferential [0, 1] of ReLU at 0, else raise."""
    if not 0.0 <= at_zero <= 1.0:
        raise ConfigurationError("relu_at_zero", at_zero, "a number in [0, 1]")
    return float(at_zero)


def relu(x: Tensor, at_zero: float = 0.0) -> Tensor:
    """ReLU of `x` (any shape) with derivative `at_zero` (t in [0, 1]) where x == 0."""
    return torch.relu(x) if at_zero == 0.0 else _ReLUAtZero.apply(x, check_at_zero(at_zero))


class ReLU(nn.Module):
    """`relu` as a layer: `ReLU(at_zero=t)`."""

    def __init__(self, at_zero: float = 0.0) -> None:
        super().__init__()
        self.at_zero = check_at_zero(at_zero)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x, self.at_zero)
