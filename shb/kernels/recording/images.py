"""Convolutions, rectifiers and pooling; the channels of every value come last, dimensions are those of one member."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import fx

from shb.kernels.instructions import Kernel, Operand, Unsupported, Value, View
from shb.kernels.recording.base import Base, meta_of

_GEOMETRY = ("images", "height", "width", "channels", "kernel_height", "kernel_width", "out")  # of what a kernel passes


class Images(Base):
    """Each operation is one kernel (shb/kernels/schemas.py says what it computes)."""

    def _images(
        self,
        opcode: str,
        sizes: Sequence[int],
        reads: Mapping[str, View | None],
        results: Mapping[str, Value],
        window: Sequence[int] | None = None,
    ) -> None:
        """`sizes`: of `_GEOMETRY`."""
        whole = {name: View(v, meta_of((v.size,), v.dtype), "members") for name, v in results.items()}
        last = {} if window is None else dict(zip(("rows", "columns"), window, strict=True))
        operands: dict[str, Operand] = {**dict(zip(_GEOMETRY, sizes, strict=True)), **reads, **whole, **last}
        self.instructions.append(Kernel(opcode, operands, list(results.values())))

    def _float_in_memory(self, *views: View) -> list[View]:
        if any(v.value.dtype not in (torch.float32, torch.uint8) or v.lead != "members" for v in views):
            raise Unsupported("images but in float32")
        return [self._in_memory(v) for v in views]

    def _native_convolution(
        self, node: fx.Node, x: View, weight: View, bias: View | None, kernel: Sequence[int]
    ) -> View:
        x, weight, *rest = self._float_in_memory(x, weight, *([] if bias is None else [bias]))
        out = weight.meta.shape[1]
        result = Value(torch.float32, x.meta[..., 0].numel() * out)
        reads = {"x": x, "weight": weight, "bias": rest[0] if rest else None}
        self._images("convolution", [*x.meta.shape, *kernel, out], reads, {"y": result})
        return self._shaped(node, result, 0, "members")

    def _native_convolution_input(self, node: fx.Node, upstream: View, weight: View, kernel: Sequence[int]) -> View:
        upstream, weight = self._float_in_memory(upstream, weight)
        channels = weight.meta.shape[0] // math.prod(kernel)
        result = Value(torch.float32, upstream.meta[..., 0].numel() * channels)
        reads = {"upstream": upstream, "weight": weight}
        self._images("convolution_input", [*upstream.meta.shape, *kernel, channels], reads, {"x": result})
        return self._shaped(node, result, 0, "members")

    def _native_convolution_weight(self, node: fx.Node, x: View, upstream: View, kernel: Sequence[int]) -> View:
        x, upstream = self._float_in_memory(x, upstream)
        out = upstream.meta.shape[-1]
        result = Value(torch.float32, math.prod(kernel) * x.meta.shape[-1] * out)
        reads = {"x": x, "upstream": upstream}
        self._images("convolution_weight", [*x.meta.shape, *kernel, out], reads, {"gradient": result})
        return self._shaped(node, result, 0, "members")

    def _native_rectifier(
        self, node: fx.Node, x: View, weight: View, bias: View, kernel: Sequence[int], window: Sequence[int]
    ) -> list[View]:
        x, weight, bias = self._float_in_memory(x, weight, bias)
        images, height, width, _ = x.meta.shape
        shape = (images, height // window[0], width // window[1], weight.meta.shape[1])
        y, which = (Value(dtype, math.prod(shape)) for dtype in (torch.float32, torch.uint8))
        reads = {"x": x, "weight": weight, "bias": bias}
        self._images("rectifier", [*x.meta.shape, *kernel, shape[3]], reads, {"y": y, "which": which}, window)
        return [View(one, meta_of(shape, one.dtype), "members") for one in (y, which)]

    def _native_rectifier_input(
        self,
        node: fx.Node,
        upstream: View,
        which: View,
        weight: View,
        size: Sequence[int],
        kernel: Sequence[int],
        window: Sequence[int],
    ) -> View:
        upstream, which, weight = self._float_in_memory(upstream, which, weight)
        images, _, _, out = upstream.meta.shape
        channels = weight.meta.shape[0] // math.prod(kernel)
        result = Value(torch.float32, images * math.prod(size) * channels)
        sizes = [images, *size, out, *kernel, channels]
        reads = {"upstream": upstream, "which": which, "weight": weight}
        self._images("rectifier_input", sizes, reads, {"x": result}, window)
        return self._shaped(node, result, 0, "members")

    def _native_rectifier_weight(
        self, node: fx.Node, x: View, upstream: View, which: View, kernel: Sequence[int], window: Sequence[int]
    ) -> View:
        x, upstream, which = self._float_in_memory(x, upstream, which)
        out = upstream.meta.shape[-1]
        result = Value(torch.float32, math.prod(kernel) * x.meta.shape[-1] * out)
        reads = {"x": x, "upstream": upstream, "which": which}
        self._images("rectifier_weight", [*x.meta.shape, *kernel, out], reads, {"gradient": result}, window)
        return self._shaped(node, result, 0, "members")

    def _native_rectifier_bias(self, node: fx.Node, upstream: View, which: View) -> View:
        upstream, which = self._float_in_memory(upstream, which)
        *pixels, out = upstream.meta.shape
        result = Value(torch.float32, out)
        gradient = View(result, meta_of((out,), torch.float32), "members")
        sizes = {"pixels": math.prod(pixels), "out": out}
        operands: dict[str, Operand] = {"upstream": upstream, "which": which, "gradient": gradient, **sizes}
        self.instructions.append(Kernel("rectifier_bias", operands, [result]))
        return self._shaped(node, result, 0, "members")

    def _native_max_pool(self, node: fx.Node, x: View, window: Sequence[int]) -> list[View]:
        x = self._channels_last(x)
        n, height, width, channels = x.meta.shape
        shape = (n, height // window[0], width // window[1], channels)
        y, which = (Value(dtype, math.prod(shape)) for dtype in (torch.float32, torch.uint8))
        self._images("max_pool", [*x.meta.shape, 1, 1, channels], {"x": x}, {"y": y, "which": which}, window)
        return [View(one, meta_of(shape, one.dtype).permute(0, 3, 1, 2), "merged") for one in (y, which)]

    def _native_max_pool_backward(
        self, node: fx.Node, upstream: View, x: View, window: Sequence[int], which: View
    ) -> View:
        n, channels, height, width = x.meta.shape
        upstream, which = self._channels_last(upstream), self._channels_last(which)
        result = Value(torch.float32, x.meta.numel())
        sizes, reads = [n, height, width, channels, 1, 1, channels], {"upstream": upstream, "which": which}
        self._images("max_pool_backward", sizes, reads, {"x": result}, window)
        return View(result, meta_of((n, height, width, channels), torch.float32).permute(0, 3, 1, 2), "merged")

    def _channels_last(self, x: View) -> View:
        if x.lead != "merged" or x.meta.ndim != 4:
            raise Unsupported("pooling but of all images of the members")
        return self._in_memory(View(x.value, x.meta.permute(0, 2, 3, 1), x.lead))
