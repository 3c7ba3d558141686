"""Chains of elementwise operations in a traced program become one native operation each.

The bits stay: every operation is rounded as before. What is saved is memory traffic, where the parameters of a stack do
not fit a cache, and calls, where they are small.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

import shb.kernels.native  # noqa: F401  declares what is used here

_aten, _shb = torch.ops.aten, torch.ops.shb
_NUMBERS = {"add": 0, "sub": 1, "mul": 2, "div": 3, "sqrt": 4}  # as in native/elementwise.h
_OPERATIONS = {
    _aten.add.Tensor: "add",
    _aten.sub.Tensor: "sub",
    _aten.mul.Tensor: "mul",
    _aten.div.Tensor: "div",
    _aten.sqrt.default: "sqrt",
    _shb.native_sqrt.default: "sqrt",
}
_TENSOR, _MEMBER, _CONSTANT, _RESULT = range(4)


@dataclass
class _Chain:
    """Operations in the order of the graph, and what they read from outside."""

    nodes: list[fx.Node]
    tensors: list[fx.Node] = field(default_factory=list)
    members: list[fx.Node] = field(default_factory=list)
    constants: list[float] = field(default_factory=list)

    def operand(self, value: fx.Node | float, shape: torch.Size) -> tuple[int, int]:
        if not isinstance(value, fx.Node):
            return _CONSTANT, _index(self.constants, float(value))
        if value in self.nodes:
            return _RESULT, self.nodes.index(value)
        if _value(value).shape == shape:
            return _TENSOR, _index(self.tensors, value)
        return _MEMBER, _index(self.members, value)


def join_elementwise(graph: fx.Graph) -> None:
    """Replace the chains of a traced `graph` on a CPU in float32; its nodes must know their values (make_fx)."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    for nodes in _chains(graph):
        outside = [user for node in nodes for user in node.users if user not in nodes]
        # at the place of its last operation: everything that reads its results must come later
        if len(nodes) > 1 and all(position[user] > position[nodes[-1]] for user in outside):
            _replace(graph, _Chain(nodes))
    graph.eliminate_dead_code()


def _replace(graph: fx.Graph, chain: _Chain) -> None:
    shape = _value(chain.nodes[0]).shape
    outputs = [i for i, node in enumerate(chain.nodes) if any(user not in chain.nodes for user in node.users)]
    code = []
    for node in chain.nodes:
        first, second = (*node.args, node.args[0])[:2]
        code += [_NUMBERS[_OPERATIONS[node.target]], *chain.operand(first, shape), *chain.operand(second, shape)]
    with graph.inserting_after(chain.nodes[-1]):
        arguments = (chain.tensors, chain.members, chain.constants, code, outputs)
        results = graph.call_function(_shb.native_elementwise.default, arguments)
    with graph.inserting_after(results):
        for place, i in enumerate(outputs):
            one = graph.call_function(operator.getitem, (results, place))
            one.meta = chain.nodes[i].meta
            chain.nodes[i].replace_all_uses_with(one, delete_user_cb=lambda user: user not in chain.nodes)


def _chains(graph: fx.Graph) -> list[list[fx.Node]]:
    """Connected operations on tensors of one shape, each in the order of the graph."""
    chain_of: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if _suits(node):
            sources = [s for s in node.all_input_nodes if s in chain_of and _value(s).shape == _value(node).shape]
            parts = {id(chain_of[source]): chain_of[source] for source in sources}.values()
            joined = [*(member for part in parts for member in part), node]
            chain_of.update(dict.fromkeys(joined, joined))
    position = {node: i for i, node in enumerate(graph.nodes)}
    unique = {id(chain): chain for chain in chain_of.values()}.values()
    return [sorted(chain, key=position.__getitem__) for chain in unique]


def _suits(node: fx.Node) -> bool:
    """An operation that native/elementwise.h knows, on numbers that lie as it wants them."""
    if node.op != "call_function" or node.target not in _OPERATIONS or node.kwargs:
        return False
    result = _value(node)
    if not _plain(result) or result.ndim < 2 or result[0].numel() < 2:
        return False
    operands = [_value(arg) if isinstance(arg, fx.Node) else arg for arg in node.args]
    return all(
        isinstance(o, int | float) or (_plain(o) and (_same(o, result) or _one_each(o, result))) for o in operands
    )


def _plain(value: Tensor | None) -> bool:
    return value is not None and value.dtype == torch.float32 and value.device.type == "cpu" and value.is_contiguous()


def _same(value: Tensor, result: Tensor) -> bool:
    return value.shape == result.shape


def _one_each(value: Tensor, result: Tensor) -> bool:
    """One number for every member."""
    return value.ndim == result.ndim and value.shape[0] == value.numel() == result.shape[0]


def _value(node: fx.Node) -> Tensor | None:
    value = node.meta.get("val")
    return value if isinstance(value, Tensor) else None


def _index(items: list, item: object) -> int:
    """Where `item` is in `items`, to which it is added if need be."""
    if item not in items:
        items.append(item)
    return items.index(item)
