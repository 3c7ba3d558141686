"""Gradient fields of smooth functions, for the facts of closed forms (theory.md section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shb.nonsmooth import PiecewiseField

Gradient = Callable[[np.ndarray], np.ndarray]


def smooth_field(gradient: Gradient, conservative: Mapping[float, tuple[float, float]] | None = None) -> PiecewiseField:
    """F' without kinks, in one variable; `conservative` as in `PiecewiseField`."""
    return PiecewiseField((), gradient, gradient, conservative or {})


@dataclass(frozen=True)
class SmoothPieces:
    """grad F of a smooth F on R^p as the only piece: gradient [p] -> [p]."""

    gradient: Gradient

    def pieces(self, w: np.ndarray, radius: float) -> np.ndarray:
        """The gradient at w [p], the only piece: [1, p]."""
        return self.gradient(w)[None]


def diagonal_stationarity(gradient: Tensor, curvature: Tensor, radius: float) -> Tensor:
    """min |g + diag(h) u| over |u| <= radius: dist(0, d_radius F) of a quadratic, whose gradients on a ball are convex.

    The minimiser is u_i = -h_i g_i / (h_i^2 + m) with the multiplier m >= 0, which bisection finds to 1e-15
    relative: gradient [..., p], curvature h [p] -> [...]. For one coordinate it is max(|g| - |h| radius, 0).
    """
    if gradient.shape[-1] == 1:
        return (gradient[..., 0].abs() - curvature.abs() * radius).clamp(min=0)
    g, h = gradient.double(), curvature.double().to(gradient.device)
    low, high = torch.zeros_like(g[..., :1]), (h * g).norm(dim=-1, keepdim=True) / radius  # |u(high)| <= radius
    for _ in range(200):
        middle = (low + high) / 2
        u = h * g / (h * h + middle).clamp(min=torch.finfo(g.dtype).tiny)
        outside = u.norm(dim=-1, keepdim=True) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    return (g * torch.where(h == 0, 1.0, high / (h * h + high))).norm(dim=-1)
