"""The patches of a convolution, as operations that tracers see as one node.

Traced through, they are a gather that a compiler fuses into the loops that read it, which made compiled steps of
CNNs six times slower than eager ones (torch 2.14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LIBRARY = torch.library.Library("shb", "FRAGMENT")
_LIBRARY.define("patches(Tensor x, int[2] kernel, int[2] stride, int[2] padding) -> Tensor")
_LIBRARY.define(
    "patches_backward(Tensor upstream, int[4] shape, int[2] kernel, int[2] stride, int[2] padding) -> Tensor"
)


def _patches(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    padded = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    n, height, width, channels = padded.shape
    out = [(size - k) // s + 1 for size, k, s in zip((height, width), kernel, stride)]
    sn, sh, sw, sc = padded.stride()
    windows = padded.as_strided((n, *out, *kernel, channels), (sn, sh * stride[0], sw * stride[1], sh, sw, sc))
    return windows.reshape(n, *out, math.prod(kernel) * channels)


def _patches_backward(
    upstream: Tensor, shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    n, height, width, channels = shape
    oh, ow = upstream.shape[1:3]
    windows = upstream.reshape(n, oh, ow, kh, kw, channels)
    padded = upstream.new_zeros(n, height + 2 * ph, width + 2 * pw, channels)
    for i in range(kh):
        for j in range(kw):
            padded[:, i : i + sh * oh : sh, j : j + sw * ow : sw] += windows[:, :, :, i, j]
    return padded[:, ph : ph + height, pw : pw + width]


for _name, _function in (("patches", _patches), ("patches_backward", _patches_backward)):
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")
    _LIBRARY.impl(_name, _function, "Meta")  # shapes and strides follow from the same operations


class Patches(torch.autograd.Function):
    """[n, height, width, channels] -> [n, height', width', kh * kw * channels], zero padding."""

    @staticmethod
    def forward(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        return torch.ops.shb.patches(x, kernel, stride, padding)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        x, *ctx.geometry = inputs
        ctx.shape = tuple(x.shape)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return PatchesBackward.apply(upstream, ctx.shape, *ctx.geometry), None, None, None

    @staticmethod
    def vmap(info: object, in_dims: tuple, x: Tensor, *geometry: tuple[int, int]) -> tuple[Tensor, int]:
        members = x.movedim(in_dims[0], 0)
        merged = Patches.apply(members.flatten(0, 1), *geometry)
        return merged.unflatten(0, members.shape[:2]), 0


class PatchesBackward(torch.autograd.Function):
    """Adds the kh * kw shifted slices back in a fixed order, so it is deterministic."""

    @staticmethod
    def forward(upstream: Tensor, shape: tuple[int, ...], *geometry: tuple[int, int]) -> Tensor:
        return torch.ops.shb.patches_backward(upstream, shape, *geometry)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        ctx.geometry = inputs[2:]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return Patches.apply(upstream, *ctx.geometry), None, None, None, None

    @staticmethod
    def vmap(
        info: object, in_dims: tuple, upstream: Tensor, shape: tuple[int, ...], *geometry: tuple[int, int]
    ) -> tuple[Tensor, int]:
        members = upstream.movedim(in_dims[0], 0)
        merged = PatchesBackward.apply(members.flatten(0, 1), (members.shape[0] * shape[0], *shape[1:]), *geometry)
        return merged.unflatten(0, members.shape[:2]), 0
