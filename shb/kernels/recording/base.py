"""What all recorders share: the instructions so far, fixed tensors, and views of values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from shb.kernels.instructions import Kernel, Operand, Output, Pointwise, Unsupported, Value, View
from shb.kernels.nodes import known_value, value_of
from shb.kernels.tape import block_of


class Base:
    """The state of a recording of a traced program of `width` members.

    Methods that are named after torch's operations take the node, and its arguments as views.
    """

    def __init__(self, module: fx.GraphModule, width: int) -> None:
        self.module, self.width = module, width
        self.values: dict[fx.Node, Any] = {}  # node -> View, a list of views, or a number
        self.instructions: list[Pointwise | Kernel] = []
        self.fixed: list[Tensor] = []
        self.constants: dict[tuple[str, torch.dtype], Value] = {}
        self.numbers: dict[Value, Tensor] = {}  # constants of one number
        self.outputs: list[Output] = []
        self.inputs: dict[Value, int] = {}
        known = (v for v in map(known_value, module.graph.nodes) if v is not None)
        sizes = [v.numel() for v in known if v.ndim and v.shape[0] % width == 0]
        self.block = block_of(max(sizes, default=1) // width)

    def _known(self, argument: Any) -> Any:
        """An argument as it is recorded: a view in place of a node."""
        if isinstance(argument, list | tuple):
            return [self._known(a) for a in argument]
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def _fixed(self, tensor: Tensor) -> View:
        value = Value(tensor.dtype, tensor.numel(), "fixed", len(self.fixed))
        self.fixed.append(tensor.contiguous())
        return View(value, meta_of(tensor.shape, tensor.dtype), "none")

    def _constant(self, number: float, dtype: torch.dtype) -> View:
        key = (repr(number), dtype)
        if key not in self.constants:
            tensor = torch.tensor(number, dtype=dtype)
            self.constants[key] = self._fixed(tensor).value
            self.numbers[self.constants[key]] = tensor
        return View(self.constants[key], meta_of((), dtype), "none")

    def _dim(self, view: View, dim: int, ndim: int) -> int:
        dim %= ndim
        if view.lead != "none" and dim == 0:
            raise Unsupported("an operation along the members")
        return dim - (view.lead == "members")

    def _ndim(self, view: View) -> int:
        return view.meta.ndim + (view.lead == "members")

    def _spread(self, x: View, shape: Sequence[int], lead: str) -> View:
        """`x`, repeated to `shape`, which begins as `lead` says."""
        target = list(shape[1:] if lead == "members" else shape)
        if lead == "merged":
            target[0] //= self.width
        meta = x.meta
        if lead != x.lead:
            if x.lead != "none":
                raise Unsupported("members that are one dimension here and merged there")
            if meta.ndim == len(shape):
                if meta.shape[0] != 1:
                    raise Unsupported("a tensor that is not of members but as long")
                meta = meta.squeeze(0) if lead == "members" else meta
        return View(x.value, meta.expand(target), lead)

    def _copied(self, x: View) -> View:
        """The elements of `x` in order, as a value of its own."""
        result = Value(x.value.dtype, x.meta.numel())
        sizes, (strides,) = collapsed([x.meta])
        size = x.value.dtype.itemsize
        operands: dict[str, Operand] = {"x": x, "result": result, "bytes": size, "sizes": sizes, "strides": strides}
        self.instructions.append(Kernel("contiguous", operands, [result]))
        return View(result, meta_of(x.meta.shape, x.value.dtype), x.lead)

    def _in_memory(self, x: View) -> View:
        return x if x.meta.is_contiguous() else self._copied(x)

    def _shaped(self, node: fx.Node, result: Value, offset: int, lead: str) -> View:
        """Elements of `result` in order, from `offset` on, as the traced tensor."""
        shape = list(value_of(node).shape)
        shape = shape[1:] if lead == "members" else [shape[0] // self.width, *shape[1:]] if lead == "merged" else shape
        whole = torch.empty(result.size, dtype=result.dtype, device="meta")
        return View(result, whole[offset : offset + math.prod(shape)].view(shape), lead)


def meta_of(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor without data, contiguous."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def is_flat(view: View) -> bool:
    """Its elements follow each other in memory."""
    return view.meta.is_contiguous()


def collapsed(metas: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """Sizes of as few dimensions as describe all of `metas`, of equal shape, and the strides of each there."""
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in metas]
    for size, *steps in zip(metas[0].shape, *(m.stride() for m in metas)):
        if size == 1:
            continue
        if sizes and all(s[-1] == step * size for s, step in zip(strides, steps)):
            sizes[-1] *= size
            for s, step in zip(strides, steps):
                s[-1] = step
        else:
            sizes.append(size)
            for s, step in zip(strides, steps):
                s.append(step)
    return sizes, strides
