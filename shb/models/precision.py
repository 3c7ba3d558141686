"""Numbers of 16 bits, in which sums, squares and factors near 1 lose too much."""

from __future__ import annotations

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


def widened(x: Tensor) -> Tensor:
    """`x` in float32 if its dtype has 16 bits, else `x` itself.

    >>> [widened(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.bfloat16, torch.float64)]
    [torch.float32, torch.float64]
    """
    return x.float() if x.dtype in HALVES else x
