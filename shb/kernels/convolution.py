"""Convolution of the members of a stack, as operations that tracers see as one node.

    shb::convolution         x [m, n, h, w, c], weight [m, kh kw c, o], bias [m, o]  ->  y [m, n, h', w', o]
    shb::convolution_input   upstream [m, n, h', w', o], weight                      ->  gradient of x
    shb::convolution_weight  x, upstream                                             ->  gradient of the weight

for m members with n images each, channels last, zero padding kernel // 2. Here they are a gather of patches and a
batched product; schemas.py has faster ones. Without the bias each is linear in its two tensors, so the three are each
other's derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

LIBRARY = torch.library.Library("shb", "FRAGMENT")
LIBRARY.define("convolution(Tensor x, Tensor weight, Tensor? bias, int[2] kernel, int[2] stride) -> Tensor")
LIBRARY.define("convolution_input(Tensor upstream, Tensor weight, int[2] size, int[2] kernel, int[2] stride) -> Tensor")
LIBRARY.define("convolution_weight(Tensor x, Tensor upstream, int[2] kernel, int[2] stride) -> Tensor")


_GROUP_BYTES = 2 << 20  # of patches: those of as many members are made at a time on a CPU, and stay in its caches


def _by_members(function: Callable[..., Tensor], patches: int, first: Tensor, *others: Tensor | None) -> Tensor:
    """`function(first, *others)`, on a CPU some members after the others, on whose number no bit depends.

    Args:
        patches: numbers that the function makes for a member on its way.
    """
    members, width = first.shape[0], max(2, torch.get_num_threads())  # the least, as in a stack
    groups = members // max(width, _GROUP_BYTES // (patches * first.element_size() + 1))
    if first.device.type != "cpu" or groups < 2:
        return function(first, *others)

    def part(start: int, end: int) -> Tensor:
        return function(*(None if t is None else t[start:end] for t in (first, *others)))

    ends = [members * (i + 1) // groups for i in range(groups)]
    made = part(0, ends[0])
    out = made.new_empty_strided((members, *made.shape[1:]), (math.prod(made.shape[1:]), *made.stride()[1:]))
    out[: ends[0]] = made
    for start, end in pairwise(ends):
        made = part(start, end)
        out[start:end] = made
    return out


def _patches(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """[m, n, h, w, c] -> [m, n h' w', kh kw c]."""
    members, images = x.shape[:2]
    (ph, pw) = (side // 2 for side in kernel)
    padded = F.pad(x.flatten(0, 1), (0, 0, pw, pw, ph, ph)).contiguous()
    n, height, width, channels = padded.shape
    out = [(size - k) // s + 1 for size, k, s in zip((height, width), kernel, stride)]
    sn, sh, sw, sc = padded.stride()
    windows = padded.as_strided((n, *out, *kernel, channels), (sn, sh * stride[0], sw * stride[1], sh, sw, sc))
    return windows.reshape(members, images * math.prod(out), math.prod(kernel) * channels)


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, kernel: Sequence[int], stride: Sequence[int]
) -> Tensor:
    images, height, width = x.shape[1:4]
    out = [(size + 2 * (k // 2) - k) // s + 1 for size, k, s in zip((height, width), kernel, stride)]

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = _patches(x, kernel, stride) @ weight
        return (y if bias is None else y + bias.unsqueeze(1)).reshape(len(x), images, *out, weight.shape[2])

    return _by_members(convolution, images * math.prod(out) * weight.shape[1], x, weight, bias)


def _convolution_input(
    upstream: Tensor, weight: Tensor, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """Adds the kh * kw shifted slices back in a fixed order, so it is deterministic."""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, (side // 2 for side in kernel)
    images, oh, ow, out = upstream.shape[1:]
    channels = weight.shape[1] // (kh * kw)

    def gradient(upstream: Tensor, weight: Tensor) -> Tensor:
        windows = upstream.reshape(len(upstream), images * oh * ow, out) @ weight.mT
        windows = windows.reshape(len(upstream), images, oh, ow, kh, kw, channels)
        padded = upstream.new_zeros(len(upstream), images, size[0] + 2 * ph, size[1] + 2 * pw, channels)
        for i in range(kh):
            for j in range(kw):
                padded[:, :, i : i + sh * oh : sh, j : j + sw * ow : sw] += windows[:, :, :, :, i, j]
        return padded[:, :, ph : ph + size[0], pw : pw + size[1]].contiguous()

    return _by_members(gradient, images * oh * ow * weight.shape[1], upstream, weight)


def _convolution_weight(x: Tensor, upstream: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    def gradient(x: Tensor, upstream: Tensor) -> Tensor:
        patches, upstream = _patches(x, kernel, stride), upstream.flatten(1, 3)
        if x.shape[4] == 1:  # the product whose bits stored members have
            return (upstream.mT @ patches).mT
        return patches.mT @ upstream

    return _by_members(gradient, math.prod((*upstream.shape[1:4], *kernel, x.shape[4])), x, upstream)


for _function in (_convolution, _convolution_input, _convolution_weight):
    LIBRARY.impl(_function.__name__[1:], _function, "CompositeExplicitAutograd")
    LIBRARY.impl(_function.__name__[1:], _function, "Meta")  # shapes and strides follow from the same operations


@register_flop_formula(torch.ops.shb.convolution)
def _flops(x: Sequence[int], weight: Sequence[int], *_: object, out_shape: Sequence[int], **__: object) -> int:
    return 2 * math.prod(out_shape[:4]) * weight[1] * weight[2]


@register_flop_formula(torch.ops.shb.convolution_input)
def _input_flops(upstream: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(upstream[:4]) * weight[1] * weight[2]


@register_flop_formula(torch.ops.shb.convolution_weight)
def _weight_flops(x: Sequence[int], upstream: Sequence[int], *_: object, out_shape: Sequence[int], **__: object) -> int:
    return 2 * math.prod(upstream[:4]) * out_shape[1] * out_shape[2]


class _Members(torch.autograd.Function):
    """What the three operations share: a vmap makes more members."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple, *inputs: Tensor | tuple | None) -> tuple[Tensor, int]:
        merged = []
        for value, dim in zip(inputs, in_dims):
            if isinstance(value, Tensor):
                value = value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
                value = value.flatten(0, 1)
            merged.append(value)
        return cls.apply(*merged).unflatten(0, (info.batch_size, -1)), 0

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        first, second, *ctx.rest = inputs
        ctx.save_for_backward(first, second)


class Convolution(_Members):
    """y of x, weight, bias or None, kernel, stride (module docstring)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple, stride: tuple) -> Tensor:
        return torch.ops.shb.convolution(x, weight, bias, kernel, stride)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (_, kernel, stride) = ctx.saved_tensors, ctx.rest
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        size = (x.shape[2], x.shape[3])
        return (
            ConvolutionInput.apply(upstream, weight, size, kernel, stride) if needs_x else None,
            ConvolutionWeight.apply(x, upstream, kernel, stride) if needs_weight else None,
            upstream.flatten(1, 3).sum(1) if needs_bias else None,
            None,
            None,
        )


class ConvolutionInput(_Members):
    """Gradient of x [height, width = size] of upstream, weight, size, kernel, stride."""

    @staticmethod
    def forward(upstream: Tensor, weight: Tensor, size: tuple, kernel: tuple, stride: tuple) -> Tensor:
        return torch.ops.shb.convolution_input(upstream, weight, size, kernel, stride)

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        (upstream, weight), (_, kernel, stride) = ctx.saved_tensors, ctx.rest
        return (
            Convolution.apply(second, weight, None, kernel, stride),
            ConvolutionWeight.apply(second, upstream, kernel, stride),
            None,
            None,
            None,
        )


class ConvolutionWeight(_Members):
    """Gradient of the weight of x, upstream, kernel, stride."""

    @staticmethod
    def forward(x: Tensor, upstream: Tensor, kernel: tuple, stride: tuple) -> Tensor:
        return torch.ops.shb.convolution_weight(x, upstream, kernel, stride)

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        (x, upstream), (kernel, stride) = ctx.saved_tensors, ctx.rest
        return (
            ConvolutionInput.apply(upstream, second, (x.shape[2], x.shape[3]), kernel, stride),
            Convolution.apply(x, second, None, kernel, stride),
            None,
            None,
        )
