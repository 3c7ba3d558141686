"""Elementwise operations, and constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from shb.kernels.instructions import Kernel, Pointwise, Unsupported, Value, View
from shb.kernels.nodes import value_of
from shb.kernels.recording.base import Base, collapsed, is_flat, meta_of

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


class Elementwise(Base):
    """Each operation becomes one of a loop, on views that the loop can walk through; others are copied first."""

    def _result(self, function: str, dtype: torch.dtype, views: Sequence[View], lead: str) -> View:
        """Views of equal shape -> a new value."""
        shape = views[-1].meta.shape
        if len({v.value.dtype for v in views[function == "where" :]}) > 1:
            raise AssertionError(f"{function} of operands of several dtypes: a recorder has not cast them")
        if all(v.value in self.numbers for v in views):
            number = self._folded(function, dtype, [self.numbers[v.value] for v in views])
            return View(self._constant(number, dtype).value, meta_of((), dtype).expand(shape), lead)
        if function == "mul" and dtype == torch.bool:
            function = "and"
        size = math.prod(shape)
        rows, strides = self._strides(views, size)
        if rows == 0:
            views = [v if self._is_walkable(v, size) else self._copied(v) for v in views]
            rows, strides = self._strides(views, size)
        result = Value(dtype, size)
        operands = [(view, *stride) for view, stride in zip(views, strides)]
        self.instructions.append(Pointwise(function, result, operands, rows))
        return View(result, meta_of(shape, dtype), lead)

    def _folded(self, function: str, dtype: torch.dtype, numbers: Sequence[Tensor]) -> float:
        """What an operation on constants gives."""
        name = {"sign": "sgn", "copy": "clone", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
        if function in ("threshold", "not"):
            raise Unsupported(f"{function} of constants")
        return getattr(torch, name.get(function, function))(*numbers).to(dtype).item()

    def _one_number(self, view: View, size: int) -> bool:
        repeated = all(stride == 0 or length == 1 for length, stride in zip(view.meta.shape, view.meta.stride()))
        return repeated and (size > 1 or view.value.common) and (self.block == 1 or view.value.common)

    def _strides(self, views: Sequence[View], size: int) -> tuple[int, list[tuple[int, int]]]:
        """Rows of a loop, and every view's strides from row to row and within one; no rows: it cannot be done so."""
        if all(self._is_walkable(v, size) for v in views):
            return 1, [(0, 0) if self._one_number(v, size) else (0, 1) for v in views]
        if self.block > 1:
            return 0, []
        sizes, strides = collapsed([v.meta for v in views])
        if len(sizes) != 2 or any(s[1] not in (0, 1) for s in strides):
            return 0, []
        return sizes[0], [(row, column) for row, column in strides]

    def _is_walkable(self, view: View, size: int) -> bool:
        """One number, or elements that follow each other."""
        return self._one_number(view, size) or (is_flat(view) and self._in_order(view))

    def _in_order(self, view: View) -> bool:
        """Its elements of a block of members follow each other."""
        return self.block == 1 or (view.whole and not view.value.common)

    def _cast(self, x: View, dtype: torch.dtype) -> View:
        return x if x.value.dtype == dtype else self._result("copy", dtype, [x], x.lead)

    def _function(self, node: fx.Node, function: str) -> View | float:
        arguments = [self._known(a) for a in node.args]
        if node.kwargs:  # alpha, rounding_mode
            raise Unsupported(f"{node.target} with {node.kwargs}")
        value = value_of(node)
        if function == "mul" and 1 in arguments[1:] and not isinstance(arguments[1], View):
            return self._cast(arguments[0], value.dtype)
        if function in _COMPARISONS:
            compared: list[Any] = [value_of(a) if isinstance(a, fx.Node) else a for a in node.args]
            common = torch.result_type(*compared)
        else:
            common = value.dtype
        condition = arguments[:1] if function == "where" else []
        arguments = arguments[len(condition) :]
        biased = self._with_bias(node, arguments) if function == "add" else None
        return biased or self._pointwise(function, value, condition, arguments, common)

    def _pointwise(
        self, function: str, value: Tensor, condition: list[View], arguments: list[Any], common: torch.dtype
    ) -> View:
        views = [a if isinstance(a, View) else self._constant(a, common) for a in arguments]
        views = [*condition, *(self._cast(v, common) for v in views)]
        leads = {v.lead for v in views} - {"none"}
        lead = leads.pop() if leads else "none"
        return self._result(function, value.dtype, [self._spread(v, value.shape, lead) for v in views], lead)

    def _with_bias(self, node: fx.Node, arguments: list[Any]) -> View | None:
        """A sum of a product, which nothing else needs, and a row for all of its rows."""
        for argument, product, bias in zip(node.args, arguments, arguments[::-1]):
            if not (isinstance(argument, fx.Node) and isinstance(product, View) and isinstance(bias, View)):
                continue
            if "bmm" not in str(argument.target) or len(argument.users) > 1 or bias.value.dtype != torch.float32:
                continue
            one = next((i for i in self.instructions if product.value in i.results), None)
            if not isinstance(one, Kernel) or one.opcode != "product" or one.operands["bias"]:
                continue
            row = bias.meta.shape == (1, product.meta.shape[-1]) and bias.meta.stride(1) == 1 and bias.lead == "members"
            if row and bias.value != product.value:
                self.instructions.remove(one)
                one.operands["bias"] = bias
                self.instructions.append(one)
                return product
        return None

    def _rsub(self, node: fx.Node, x: View, other: float | View, alpha: float = 1) -> View:
        if alpha != 1:
            raise Unsupported("rsub with alpha")
        return self._pointwise("sub", value_of(node), [], [other, x], value_of(node).dtype)

    def _threshold_backward(self, node: fx.Node, upstream: View, y: View, threshold: float) -> View:
        if threshold != 0:
            raise Unsupported("a threshold that is not 0")
        return self._pointwise("threshold", value_of(node), [], [upstream, y], value_of(node).dtype)

    def _pow(self, node: fx.Node, x: View, exponent: float) -> View:
        if exponent == 1:
            return self._cast(x, value_of(node).dtype)
        if exponent != 2:
            raise Unsupported(f"power {exponent}")
        return self._pointwise("mul", value_of(node), [], [x, x], value_of(node).dtype)

    def _isnan(self, node: fx.Node, x: View) -> View:
        return self._pointwise("ne", value_of(node), [], [x, x], x.value.dtype)

    def _to_copy(self, node: fx.Node, x: View | float, dtype: torch.dtype | None = None, **layout: Any) -> View:
        dtype = dtype or value_of(node).dtype
        return self._cast(x, dtype) if isinstance(x, View) else self._constant(x, dtype)

    def _ones_like(self, node: fx.Node, x: View, **layout: Any) -> View:
        return self._filled(node, x, 1)

    def _zeros_like(self, node: fx.Node, x: View, **layout: Any) -> View:
        return self._filled(node, x, 0)

    def _filled(self, node: fx.Node, like: View, number: float) -> View:
        one = self._constant(number, value_of(node).dtype)
        return View(one.value, one.meta.expand(like.meta.shape), like.lead)

    def _scalar_tensor(self, node: fx.Node, number: float, **layout: Any) -> View:
        return self._constant(number, value_of(node).dtype)

    def _stack(self, node: fx.Node, views: list[View], dim: int = 0) -> View:
        dim = self._dim(views[0], dim, value_of(node).ndim)
        views = [self._cast(v, value_of(node).dtype) for v in views]
        spread = [View(v.value, v.meta.unsqueeze(dim), v.lead) for v in views]
        return self._chosen(node, spread, dim)

    def _select_backward(self, node: fx.Node, upstream: View, sizes: Sequence[int], dim: int, index: int) -> View:
        dim = self._dim(upstream, dim, len(sizes))
        upstream = View(upstream.value, upstream.meta.unsqueeze(dim), upstream.lead)
        if value_of(node).numel() == self.width * upstream.meta.numel():
            return upstream
        zero = self._constant(0, upstream.value.dtype)
        count = sizes[dim + (upstream.lead == "members")]
        return self._chosen(node, [upstream if i == index else zero for i in range(count)], dim)

    def _chosen(self, node: fx.Node, views: list[View], dim: int) -> View:
        """Along `dim`, of length 1 in all views, element i of the i-th."""
        lead = next(v.lead for v in views if v.lead != "none")
        shape = value_of(node).shape
        result = self._spread(views[-1], shape, lead)
        for i, view in enumerate(views[:-1]):
            place = torch.arange(len(views)) == i
            ndim = len(shape) - (lead == "members")
            mask = self._fixed(place.view([-1 if d == dim else 1 for d in range(ndim)]))
            views_of = (mask, view, result)
            result = self._result("where", result.value.dtype, [self._spread(v, shape, lead) for v in views_of], lead)
        return result
