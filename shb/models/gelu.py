"""GELU(x) = x P(N(0, 1) <= x) = x (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel, arXiv 1606.08415)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GELU(nn.Module):
    """torch.nn.GELU, from erf: torch's own has other last bits where a tensor ends, so in other places of a stack.

    Example:
        >>> GELU()(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.1587,  0.0000,  0.8413])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.erf(x * math.sqrt(0.5)) * 0.5 + 0.5)
