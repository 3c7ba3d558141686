"""Convolution and max-pooling that are fast, and bit-stable, in a stack.

Inside a stack, vmap turns torch's convolution into a grouped one. Its last bits were seen to depend on the
number of members where that is smaller than the number of threads (torch 2.14, oneDNN, float32 and float64).
Here it is an operation that knows about members (shb.kernels). Layout inside is channels-last.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shb.kernels import Convolution


class Conv(nn.Module):
    """Convolution over one or two spatial dimensions, same numbers as torch's with the same weight and bias.

    Args:
        in_channels, out_channels: channels.
        kernel: odd side of the kernel; padding is kernel // 2.
        stride: step of the window.
        dims: 1 (input [n, channels, length]) or 2 (input [n, channels, height, width]).

    Attributes:
        weight: [out_channels, in_channels, kernel(, kernel)], drawn as in torch.nn.Conv1d / Conv2d.
        bias: [out_channels], likewise.

    Example:
        >>> Conv(3, 8, kernel=3, stride=2)(torch.zeros(5, 3, 9, 9)).shape
        torch.Size([5, 8, 5, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dims: int = 2) -> None:
        super().__init__()
        self.dims, self.stride = dims, stride
        bound = 1 / math.sqrt(in_channels * kernel**dims)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(kernel,) * dims).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.dims == 2 else self.weight.unsqueeze(2)
        x = x if self.dims == 2 else x.unsqueeze(2)
        out_channels, _, kh, kw = weight.shape
        stride = (self.stride if self.dims == 2 else 1, self.stride)
        matrix = weight.permute(2, 3, 1, 0).reshape(-1, out_channels)
        one_member = (x.permute(0, 2, 3, 1).unsqueeze(0), matrix.unsqueeze(0), self.bias.unsqueeze(0))
        y = Convolution.apply(*one_member, (kh, kw), stride).squeeze(0).permute(0, 3, 1, 2)
        return y if self.dims == 2 else y.squeeze(2)


class MaxPool(nn.Module):
    """Max-pooling with window and stride `size`; at ties the first index gets the gradient, as in torch.

    Args:
        size: window and stride, >= 1; what fills no window is dropped.
        dims: 1 (input [n, channels, length]) or 2 (input [n, channels, height, width]).
    """

    def __init__(self, size: int = 2, dims: int = 2) -> None:
        super().__init__()
        self.size, self.dims = size, dims

    def forward(self, x: Tensor) -> Tensor:
        if self.dims == 2:
            return F.max_pool2d(x, self.size)
        return F.max_pool2d(x.unsqueeze(2), (1, self.size)).squeeze(2)
