"""Operations of the folder `native`: schemas, and the shapes of their results.

They compute what torch's operations do, on a CPU in float32, several times as fast. MKL, torch's matrix library, does
not use the wide vectors of every processor, and the patches of a convolution do not fit a cache. Sums are in another
order, so last bits differ from torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shb.kernels.convolution import LIBRARY

_SCHEMAS = (
    "native_contiguous(Tensor x) -> Tensor",
    "native_bmm(Tensor a, Tensor b) -> Tensor",
    "native_convolution(Tensor x, Tensor weight, Tensor? bias, int[2] kernel) -> Tensor",
    "native_convolution_input(Tensor upstream, Tensor weight, int[2] kernel) -> Tensor",
    "native_convolution_weight(Tensor x, Tensor upstream, int[2] kernel) -> Tensor",
    "native_rectifier(Tensor x, Tensor weight, Tensor bias, int[2] kernel, int[2] window) -> (Tensor, Tensor)",
    "native_rectifier_input(Tensor upstream, Tensor which, Tensor weight, int[2] size, int[2] kernel, int[2] window)"
    " -> Tensor",
    "native_rectifier_weight(Tensor x, Tensor upstream, Tensor which, int[2] kernel, int[2] window) -> Tensor",
    "native_rectifier_bias(Tensor upstream, Tensor which) -> Tensor",
    "native_max_pool(Tensor x, int[2] window) -> (Tensor, Tensor)",
    "native_max_pool_backward(Tensor upstream, Tensor x, int[2] window, Tensor which) -> Tensor",
)
_UNTRACED = (  # random.h, recurrence.h
    "native_words(Tensor seeds, int index, int name, int count) -> Tensor",
    "native_signs(Tensor seeds, int name, int start, int stop) -> Tensor",
    "native_recurrence(int address, int[] expected, Tensor[] carried, Tensor[] varying) -> Tensor[]",
)


def _contiguous(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: Sequence[int]) -> Tensor:
    return x.new_empty(*x.shape[:4], weight.shape[2])


def _convolution_input(upstream: Tensor, weight: Tensor, kernel: Sequence[int]) -> Tensor:
    return upstream.new_empty(*upstream.shape[:4], weight.shape[1] // (kernel[0] * kernel[1]))


def _convolution_weight(x: Tensor, upstream: Tensor, kernel: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[0], kernel[0] * kernel[1] * x.shape[4], upstream.shape[4])


def _rectifier(
    x: Tensor, weight: Tensor, bias: Tensor, kernel: Sequence[int], window: Sequence[int]
) -> tuple[Tensor, Tensor]:
    members, images, height, width, _ = x.shape
    y = x.new_empty(members, images, height // window[0], width // window[1], weight.shape[2])
    return y, torch.empty_like(y, dtype=torch.uint8)


def _rectifier_input(
    upstream: Tensor,
    which: Tensor,
    weight: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    window: Sequence[int],
) -> Tensor:
    return upstream.new_empty(*upstream.shape[:2], *size, weight.shape[1] // (kernel[0] * kernel[1]))


def _rectifier_weight(
    x: Tensor, upstream: Tensor, which: Tensor, kernel: Sequence[int], window: Sequence[int]
) -> Tensor:
    return _convolution_weight(x, upstream, kernel)


def _rectifier_bias(upstream: Tensor, which: Tensor) -> Tensor:
    return upstream.new_empty(upstream.shape[0], upstream.shape[4])


def _max_pool(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    n, channels, height, width = x.shape
    y = x.new_empty(n, height // window[0], width // window[1], channels)
    return y.permute(0, 3, 1, 2), torch.empty_like(y, dtype=torch.uint8).permute(0, 3, 1, 2)


def _max_pool_backward(upstream: Tensor, x: Tensor, window: Sequence[int], which: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    return upstream.new_empty(n, height, width, channels).permute(0, 3, 1, 2)


for _schema in _SCHEMAS:
    LIBRARY.define(_schema)
    _name = _schema.split("(")[0]
    LIBRARY.impl(_name, globals()[_name.removeprefix("native")], "Meta")
for _schema in _UNTRACED:
    LIBRARY.define(_schema)
