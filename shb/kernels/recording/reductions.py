"""Reductions along the dimensions of a member, products, and rows of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from shb.kernels.enumerations import DTYPES
from shb.kernels.instructions import Kernel, Operand, Unsupported, Value, View
from shb.kernels.nodes import value_of
from shb.kernels.recording.base import meta_of
from shb.kernels.recording.elementwise import Elementwise

_FLOATS = (torch.float32, torch.float64)


class Reductions(Elementwise):
    """Each operation is one kernel; what it reads must be in memory, but for products."""

    def _sum(self, node: fx.Node, x: View, dims: Sequence[int], keep: bool = False, dtype: Any = None) -> View:
        return self._reduced(node, x, dims, keep, False)

    def _mean(self, node: fx.Node, x: View, dims: Sequence[int], keep: bool = False, dtype: Any = None) -> View:
        return self._reduced(node, x, dims, keep, True)

    def _reduced(self, node: fx.Node, x: View, dims: Sequence[int], keep: bool, mean: bool) -> View:
        value, x = value_of(node), self._cast(x, value_of(node).dtype)
        dims = sorted(self._dim(x, d, self._ndim(x)) for d in dims)
        if not dims or value.dtype not in _FLOATS or dims != list(range(dims[0], dims[-1] + 1)):
            raise Unsupported(f"{node.target} of {value.dtype} over {dims}")
        x = self._in_memory(x)
        shape = x.meta.shape
        before, terms, after = (
            math.prod(s) for s in (shape[: dims[0]], shape[dims[0] : dims[-1] + 1], shape[dims[-1] + 1 :])
        )
        if terms == 1:
            return self._shaped(node, x.value, x.offset, x.lead)
        result = Value(value.dtype, before * after)
        sizes = {"outer": before, "terms": terms, "inner": after, "divisor": terms if mean else 1}
        operands: dict[str, Operand] = {"dtype": DTYPES[value.dtype], "x": x, "result": result, **sizes}
        self.instructions.append(Kernel("sum", operands, [result]))
        return self._shaped(node, result, 0, x.lead)

    def _argmax(self, node: fx.Node, x: View, dim: int | None = None, keep: bool = False) -> View:
        x = self._last(node, x, dim)
        result = Value(torch.int64, math.prod(x.meta.shape[:-1]))
        operands: dict[str, Operand] = {"dtype": DTYPES[x.value.dtype], "x": x, "result": result, "rows": result.size}
        self.instructions.append(Kernel("argmax", {**operands, "columns": x.meta.shape[-1]}, [result]))
        return self._shaped(node, result, 0, x.lead)

    def _log_softmax(self, node: fx.Node, x: View, dim: int, half: bool) -> View:
        x = self._last(node, x, dim)
        result = Value(x.value.dtype, x.meta.numel())
        rows = math.prod(x.meta.shape[:-1])
        operands: dict[str, Operand] = {"dtype": DTYPES[x.value.dtype], "x": x, "result": result, "rows": rows}
        self.instructions.append(Kernel("log_softmax", {**operands, "columns": x.meta.shape[-1]}, [result]))
        return self._shaped(node, result, 0, x.lead)

    def _log_softmax_backward_data(self, node: fx.Node, upstream: View, y: View, dim: int, dtype: torch.dtype) -> View:
        upstream, y = self._last(node, upstream, dim), self._last(node, y, dim)
        result = Value(dtype, y.meta.numel())
        reads = {"upstream": upstream, "y": y}
        sizes = {"rows": math.prod(y.meta.shape[:-1]), "columns": y.meta.shape[-1]}
        operands: dict[str, Operand] = {"dtype": DTYPES[dtype], **reads, "result": result, **sizes}
        self.instructions.append(Kernel("log_softmax_backward", operands, [result]))
        return self._shaped(node, result, 0, y.lead)

    def _last(self, node: fx.Node, x: View, dim: int | None) -> View:
        """`x` in memory, whose last dimension is `dim`."""
        if dim is None or self._dim(x, dim, self._ndim(x)) != x.meta.ndim - 1 or x.value.dtype not in _FLOATS:
            raise Unsupported(f"{node.target} over {dim} of {x.value.dtype}")
        return self._in_memory(x)

    def _any(self, node: fx.Node, x: View, *dims: Any) -> View:
        if dims or x.meta.ndim or x.lead != "members" or x.value.dtype != torch.bool:
            raise Unsupported(f"{node.target} but of one bool of each member")
        flag = Value(torch.bool, 1, "flag")
        self.instructions.append(Kernel("any", {"x": x, "result": flag}, [flag]))
        return View(flag, meta_of((), torch.bool), "none")

    def _bmm(self, node: fx.Node, a: View, b: View) -> View:
        if a.lead != "members" or b.lead != "members" or value_of(node).dtype != torch.float32:
            raise Unsupported(f"{node.target} of {a.lead}, {b.lead}, {value_of(node).dtype}")
        (m, k), n = a.meta.shape, b.meta.shape[1]
        result = Value(torch.float32, m * n)
        (a_row, a_column), (b_row, b_column) = a.meta.stride(), b.meta.stride()
        left: dict[str, Operand] = {"a": a, "a_row": a_row, "a_column": a_column}
        right: dict[str, Operand] = {"b": b, "b_row": b_row, "b_column": b_column}
        operands: dict[str, Operand] = {**left, **right, "bias": None, "result": result, "m": m, "n": n, "k": k}
        self.instructions.append(Kernel("product", operands, [result]))
        return self._shaped(node, result, 0, "members")

    def _index_select(self, node: fx.Node, table: View, dim: int, index: View) -> View:
        if table.value.slot != "fixed" or not table.whole or dim != 0 or index.lead == "none":
            raise Unsupported(f"{node.target} but of rows of a constant")
        index = self._in_memory(self._cast(index, torch.int64))
        row = math.prod(table.meta.shape[1:])
        count = index.meta.numel()
        result = Value(table.value.dtype, count * row)
        operands: dict[str, Operand] = {
            "table": table.value,
            "height": table.meta.shape[0],
            "index": index,
            "result": result,
            "count": count,
            "row_bytes": row * table.value.dtype.itemsize,
        }
        self.instructions.append(Kernel("index_select", operands, [result]))
        return self._shaped(node, result, 0, index.lead)
