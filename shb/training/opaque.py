"""Reductions that a compiler must leave alone.

A compiler chooses the order of a sum by the sizes of the whole stack, so a member's bits would depend on its
neighbours. torch's own kernels reduce every row in an order of its own. `opaque` makes a traced graph call those;
what is left to fuse are elementwise operations, which are exactly rounded wherever they stand.
"""

from __future__ import annotations

import functools

import torch
from torch import fx
from torch._ops import OpOverload

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
    """Replace the reductions of a traced `graph` by operations that no compiler looks into."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _REDUCTIONS:
            node.target = _opaque_operation(node.target)
