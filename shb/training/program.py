"""A tensor function traced once into a flat list of tensor operations, with its peak memory.

Tracing removes the per-operation cost of vmap and autograd from every later call: the gradient of a stacked
mini-batch loss becomes plain batched operations.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._guards import TracingContext, tracing
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from shb.kernels.nodes import operand
from shb.training.compiler import compile_module
from shb.training.opaque import leave_inexact

_aten = torch.ops.aten
_WRITES = {_aten.add_.Tensor, _aten.copy_.default}
_VIEWS = {_aten.view.default, _aten._unsafe_view.default, _aten.permute.default, _aten.expand.default}


def trace(function: Callable[..., Sequence[Tensor]], *examples: Tensor, rounded: bool = False) -> fx.GraphModule:
    """`function` as a graph of operations on tensors with the shapes, dtypes and devices of `examples`.

    Args:
        rounded: every product and sum is an operation of its own, correctly rounded; torch has some in one.
    """
    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # else torch makes one for every result
        module = make_fx(function, decomposition_table=_products_and_sums() if rounded else None)(*examples)
    _without_writes(module.graph)
    _without_effect(module.graph)
    _do_once(module.graph)
    module.recompile()
    return module


class Program:
    """`function(*tensors) -> list of tensors`, specialised to the shapes, dtypes and devices of `examples`.

    Args:
        compiled: the first call compiles the program (seconds, less where the cache has it). Every product and sum is
            correctly rounded.

    Attributes:
        module: the traced operations; calling it runs them one by one.
        peak_bytes: largest sum of live results during a call, inputs not counted.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], *examples: Tensor, compiled: bool = False) -> None:
        self.module = module = trace(function, *examples, rounded=compiled)
        self.peak_bytes = _peak_bytes(module.graph)
        self._call: Callable[..., Sequence[Tensor]] = module
        if compiled:
            leave_inexact(module.graph)
        self._compiled, self._to_compile = compiled, module if compiled else None

    def measure(self, *examples: Tensor) -> None:
        """Find `peak_bytes` again, after a change of the module."""
        note_values(self.module, *examples)
        self.peak_bytes = _peak_bytes(self.module.graph)

    def bytes_of(self, members: int) -> int:
        """Memory that a call needs; it is made for one number of members."""
        return self.peak_bytes

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            if self._compiled:  # for dense tensors
                tensors = tuple(t.contiguous() for t in tensors)
            if self._to_compile is not None:
                self._call, self._to_compile = compile_module(self._to_compile, tensors), None
            return self._call(*tensors)


def _without_writes(graph: fx.Graph) -> None:
    """Let a sum into a clone, or a copy into one, be a new tensor: so a module moves its running statistics."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _WRITES or node.kwargs:
            continue
        old, source = operand(node, 0), node.args[1]
        if old.target is not _aten.clone.default or any(_owner(user) is old for user in old.users if user is not node):
            continue
        if node.target is _aten.add_.Tensor:
            with graph.inserting_before(node):
                new = graph.call_function(_aten.add.Tensor, (old, source))
            new.meta = node.meta
        elif isinstance(source, fx.Node) and _may_replace(source, node):
            new = source
        else:
            continue
        later = {user for user in old.users if user > node}
        old.replace_all_uses_with(new, delete_user_cb=later.__contains__)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def _may_replace(source: fx.Node, copy: fx.Node) -> bool:
    """Whether a copy of `source` can be `source` itself: of its shape and dtype, no view, and never written."""
    value, other = source.meta.get("val"), copy.meta.get("val")
    if not isinstance(value, Tensor) or not isinstance(other, Tensor) or _owner(source) is not source:
        return False
    same = value.shape == other.shape and value.dtype == other.dtype
    return same and source.op == "call_function" and all(_reads(user, source) for user in source.users)


def _reads(user: fx.Node, source: fx.Node) -> bool:
    if user.op == "output" or (user.target is _aten.copy_.default and operand(user, 0) is not source):
        return True
    return not _changes_or_draws(user.target) and _owner(user) is user


def _without_effect(graph: fx.Graph) -> None:
    """Remove what nobody reads, and changes of layout to the layout that there is."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _VIEWS:
            (before, after) = (n.meta.get("val") for n in (node.args[0], node))
            known = before is not None and after is not None  # tracing does not note the value of every constant
            if known and before.shape == after.shape and before.stride() == after.stride():
                node.replace_all_uses_with(node.args[0])
    graph.eliminate_dead_code()


def _do_once(graph: fx.Graph) -> None:
    """Let equal operations on equal arguments be one, if none changes its arguments or draws random numbers.

    torch's own function for it imports its compiler, which takes a second.
    """
    calls = [node for node in graph.nodes if node.op == "call_function"]
    if any(_changes_or_draws(node.target) for node in calls):
        return
    known: dict[object, fx.Node] = {}
    for node in calls:
        key = repr((node.target, fx.node.map_arg((node.args, node.kwargs), lambda n: _Name(n.name))))
        if key in known:
            node.replace_all_uses_with(known[key])
            graph.erase_node(node)
        else:
            known[key] = node


class _Name(str):
    """A node's name, which no string argument equals."""

    def __repr__(self) -> str:
        return f"%{self}"


def _changes_or_draws(target: object) -> bool:
    if not isinstance(target, OpOverload):
        return target is not operator.getitem
    if target is _aten.native_batch_norm.default:  # running statistics, though its schema does not say so
        return True
    return target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags


def note_values(module: fx.GraphModule, *examples: Tensor) -> None:
    """Run a changed module, and note at every node shape and dtype of its result, as tracing does."""
    with torch.no_grad():
        _Values(module).run(*examples)


class _Values(fx.Interpreter):
    """Runs a module and notes every result without its data."""

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        n.meta["val"] = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), result)
        return result


@functools.cache
def _products_and_sums() -> dict:
    return get_decompositions([torch.ops.aten.addcmul, torch.ops.aten.addcdiv])


def _size(node: fx.Node) -> int:
    values = node.meta.get("val")
    values = values if isinstance(values, list | tuple) else [values]
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))


def _owner(node: fx.Node) -> fx.Node:
    """The node whose memory `node` shows: itself, or the source of a view."""
    schema = getattr(node.target, "_schema", None)
    while schema is not None and schema.returns and schema.returns[0].alias_info is not None:
        node = operand(node, 0)
        schema = getattr(node.target, "_schema", None)
    return node


def _peak_bytes(graph: fx.Graph) -> int:
    nodes = list(graph.nodes)
    last_use: dict[fx.Node, int] = {}
    for i, node in enumerate(nodes):
        for source in node.all_input_nodes:
            last_use[_owner(source)] = i
    live = peak = 0
    frees: dict[int, int] = {}
    for i, node in enumerate(nodes):
        if node.op == "call_function" and _owner(node) is node and node in last_use:
            live += _size(node)
            frees[last_use[node]] = frees.get(last_use[node], 0) + _size(node)
        peak = max(peak, live)
        live -= frees.get(i, 0)
    return peak
