"""Convolution and max-pooling that are fast, and bit-stable, in a stack.

Inside a stack, vmap turns torch's convolution into a grouped one. Its last bits were seen to depend on the
number of members where that is smaller than the number of threads (torch 2.14, oneDNN, float32 and float64).
Here a convolution is a gather of patches followed by a matrix product, which a stack turns into a batched
product. Layout inside is channels-last.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Patches(torch.autograd.Function):
    """[n, height, width, channels] -> [n, height', width', kh * kw * channels], zero padding.

    The backward pass adds the kh * kw shifted slices back in a fixed order, so it is deterministic.
    """

    @staticmethod
    def forward(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        padded = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
        n, height, width, channels = padded.shape
        out = [(size - k) // s + 1 for size, k, s in zip((height, width), kernel, stride)]
        sn, sh, sw, sc = padded.stride()
        windows = padded.as_strided((n, *out, *kernel, channels), (sn, sh * stride[0], sw * stride[1], sh, sw, sc))
        return windows.reshape(n, *out, math.prod(kernel) * channels)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        x, ctx.kernel, ctx.stride, ctx.padding = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (kh, kw), (sh, sw), (ph, pw) = ctx.kernel, ctx.stride, ctx.padding
        n, height, width, channels = ctx.shape
        oh, ow = upstream.shape[1:3]
        windows = upstream.reshape(n, oh, ow, kh, kw, channels)
        padded = upstream.new_zeros(n, height + 2 * ph, width + 2 * pw, channels)
        for i in range(kh):
            for j in range(kw):
                padded[:, i : i + sh * oh : sh, j : j + sw * ow : sw] += windows[:, :, :, i, j]
        return padded[:, ph : ph + height, pw : pw + width], None, None, None

    @staticmethod
    def vmap(info: object, in_dims: tuple, x: Tensor, *geometry: tuple[int, int]) -> tuple[Tensor, int]:
        members = x.movedim(in_dims[0], 0)
        merged = _Patches.apply(members.flatten(0, 1), *geometry)
        return merged.unflatten(0, members.shape[:2]), 0


class Conv(nn.Module):
    """Convolution over one or two spatial dimensions, same numbers as torch's with the same weight and bias.

    Args:
        in_channels, out_channels: channels.
        kernel: odd side of the kernel; padding is kernel // 2.
        stride: step of the window.
        dims: 1 (input [n, channels, length]) or 2 (input [n, channels, height, width]).

    Parameters: weight [out, in, kernel(, kernel)] and bias [out], as in torch.nn.Conv1d / Conv2d.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dims: int = 2) -> None:
        super().__init__()
        self.dims, self.stride = dims, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(kernel,) * dims))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.dims == 2 else self.weight.unsqueeze(2)
        x = x if self.dims == 2 else x.unsqueeze(2)
        out_channels, _, kh, kw = weight.shape
        stride = (self.stride if self.dims == 2 else 1, self.stride)
        patches = _Patches.apply(x.permute(0, 2, 3, 1), (kh, kw), stride, (kh // 2, kw // 2))
        n, height, width, size = patches.shape
        matrix = weight.permute(2, 3, 1, 0).reshape(size, out_channels)
        y = (patches.reshape(n * height * width, size) @ matrix + self.bias).reshape(n, height, width, out_channels)
        y = y.permute(0, 3, 1, 2)
        return y if self.dims == 2 else y.squeeze(2)


class MaxPool(nn.Module):
    """Max-pooling with window and stride `size`; at ties the first index gets the gradient, as in torch."""

    def __init__(self, size: int = 2, dims: int = 2) -> None:
        super().__init__()
        self.size, self.dims = size, dims

    def forward(self, x: Tensor) -> Tensor:
        if self.dims == 2:
            return F.max_pool2d(x, self.size)
        return F.max_pool2d(x.unsqueeze(2), (1, self.size)).squeeze(2)
