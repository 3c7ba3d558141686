"""Operations that a compiler must leave alone.

A compiler chooses the order of a sum by the sizes of the whole stack, so a member's bits would depend on its
neighbours. torch's own kernels reduce every row in an order of its own. `opaque` makes a traced graph call those.

What is left to fuse are elementwise operations. Those that are exactly rounded have the same bits wherever they stand;
`leave_inexact` makes a graph call torch's own kernels for all others (a power, an exponential), so that fusing changes
no bit.

Elementwise operations on images whose channels come last, and changes of layout, stay torch's too: the compiler
transposes such images back and forth, element by element (torch 2.14), which took more than half of a CNN's step.
"""

from __future__ import annotations

import functools

import torch
from torch import fx
from torch._ops import OpOverload
from torch.fx.node import Argument

from shb.kernels.nodes import known_value, operand, operands

_LIBRARY = torch.library.Library("shb", "FRAGMENT")
_aten = torch.ops.aten
_REDUCTIONS: tuple[OpOverload, ...] = (
    _aten.sum.default,
    _aten.sum.dim_IntList,
    _aten.mean.default,
    _aten.mean.dim,
    _aten.prod.dim_int,
    _aten.logsumexp.default,
    _aten.linalg_vector_norm.default,
    _aten._log_softmax.default,
    _aten._log_softmax_backward_data.default,
    _aten._softmax.default,
    _aten._softmax_backward_data.default,
    _aten.max_pool2d_with_indices.default,
    _aten.max_pool2d_with_indices_backward.default,
)
_EXACT = {  # IEEE arithmetic, comparisons, choices
    *("add", "sub", "rsub", "mul", "div", "neg", "abs", "sgn", "sqrt", "maximum", "minimum", "relu"),
    *("eq", "ne", "lt", "le", "gt", "ge", "isfinite", "isinf", "isnan", "where", "threshold_backward", "clone"),
    *("logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not"),
}


@functools.cache
def _opaque_operation(operation: OpOverload) -> OpOverload:
    """The operation of the library `shb` that calls `operation`."""
    schema = operation._schema
    name = f"{schema.name.removeprefix('aten::')}_{schema.overload_name or 'default'}"
    _LIBRARY.define(name + str(schema)[str(schema).index("(") :])
    _LIBRARY.impl(name, operation, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, operation, "Meta")
    return getattr(torch.ops.shb, name).default


def opaque(graph: fx.Graph) -> None:
    """Replace such operations of a traced `graph` by ones that no compiler looks into; its results are contiguous."""
    for node in graph.nodes:
        if node.op == "call_function" and (node.target in _REDUCTIONS or _reorders(node)):
            node.target = _opaque_operation(node.target)
    output = graph.output_node()
    with graph.inserting_before(output):
        results = [_contiguous(graph, r) if _is_strided(r) else r for r in operands(output, 0)]
    output.args = (results,)


def leave_inexact(graph: fx.Graph) -> None:
    """Leave every elementwise operation that need not be exactly rounded to torch."""
    for node in graph.nodes:
        if node.op != "call_function" or not _pointwise(node.target) or node.target.namespace != "aten":
            continue
        name = node.target._schema.name.removeprefix("aten::")
        scaled = node.kwargs.get("alpha", 1) != 1 or (len(node.args) > 2 and name in ("add", "sub"))
        if name not in _EXACT or scaled or "rounding_mode" in node.kwargs:
            node.target = _opaque_operation(node.target)


def _pointwise(target: object) -> bool:
    return isinstance(target, OpOverload) and torch.Tag.pointwise in target.tags


def _contiguous(graph: fx.Graph, node: fx.Node) -> fx.Node:
    kwargs: dict[str, Argument] = {"memory_format": torch.contiguous_format}
    return graph.call_function(_opaque_operation(_aten.clone.default), (node,), kwargs)


def _reorders(node: fx.Node) -> bool:
    """An elementwise operation on elements that do not lie in the order of their dimensions."""
    if node.target is _aten.clone.default:
        return _is_strided(operand(node, 0))
    value = known_value(node)
    return _pointwise(node.target) and value is not None and value.ndim > 3 and not value.is_contiguous()


def _is_strided(node: fx.Node) -> bool:
    """Its elements are known not to lie in the order of its dimensions."""
    value = known_value(node)
    return value is not None and not value.is_contiguous()
