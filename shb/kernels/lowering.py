"""Where native operations take the place of torch's in a traced program."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx

import shb.kernels.schemas  # noqa: F401  defines the native operations
from shb.kernels.enumerations import NOWHERE
from shb.kernels.nodes import integers, known_value, operand, value_of

_aten, _shb = torch.ops.aten, torch.ops.shb
_LAYOUT = {  # operations that change only how elements are indexed, or where they lie
    _aten.permute.default,
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.squeeze.dims,
    _aten.unsqueeze.default,
    _aten.clone.default,
}


def use_native(graph: fx.Graph) -> None:
    """Replace what the native operations can do in a traced `graph`; `library.load` must run before its first call."""
    for pool in graph.find_nodes(op="call_function", target=_aten.max_pool2d_with_indices.default):
        if _is_plain(pool):
            _rectify(graph, pool)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.op == "call_function" and _suits(node):
            _replace(node)
    graph.eliminate_dead_code()


def _replace(node: fx.Node) -> None:
    """One operation by one."""
    if node.target is _aten.bmm.default:
        node.target = _shb.native_bmm.default
    elif node.target is _aten.clone.default and not value_of(operand(node, 0)).is_contiguous():
        if node.kwargs.get("memory_format", torch.contiguous_format) == torch.contiguous_format:
            node.target, node.kwargs = _shb.native_contiguous.default, {}
    elif node.target is _shb.convolution.default and _is_one(integers(node, 4)):
        node.target, node.args = _shb.native_convolution.default, node.args[:4]
    elif node.target is _shb.convolution_input.default and _is_one(integers(node, 4)):
        upstream, weight, _, kernel, _ = node.args
        node.target, node.args = _shb.native_convolution_input.default, (upstream, weight, kernel)
    elif node.target is _shb.convolution_weight.default and _is_one(integers(node, 3)):
        node.target, node.args = _shb.native_convolution_weight.default, node.args[:3]
    elif node.target is _aten.max_pool2d_with_indices.default and _is_plain(node):
        window = integers(node, 1)
        for backward in _pool_backwards(node):
            upstream, x, places = backward.args[0], backward.args[1], operand(backward, -1)
            while places.target is _aten.clone.default:  # into a layout that the native operation does not want
                places = operand(places, 0)
            backward.target = _shb.native_max_pool_backward.default
            backward.args = (upstream, x, window, places)
        node.target, node.args = _shb.native_max_pool.default, (node.args[0], window)


def _rectify(graph: fx.Graph, pool: fx.Node) -> None:
    """Convolution, ReLU and max-pooling in one, and so their gradients. What is left without a user is dead code."""
    relu = _source(operand(pool, 0))
    convolution = _source(operand(relu, 0)) if relu.target is _aten.relu.default else relu
    if convolution.target is not _shb.convolution.default or not _suits(convolution):
        return
    backwards = list(_pool_backwards(pool))
    thresholds = [user for backward in backwards for user in _consumers(backward)]
    known = {pool, *backwards, *thresholds}  # others would need what lies between convolution and pooling
    if not {*_consumers(convolution)} <= {relu} or not {*_consumers(relu)} <= known:
        return
    if any(t.target is not _aten.threshold_backward.default or t.args[1:] != (relu, 0) for t in thresholds):
        return
    x, weight, bias, kernel, _ = convolution.args
    members, images, height, width, out = value_of(convolution).shape
    channels_last = torch.empty(members * images, height, width, out, device="meta").permute(0, 3, 1, 2)
    if bias is None or not _is_one(integers(convolution, 4)):
        return
    if not _same_layout(value_of(operand(pool, 0)), channels_last):
        return
    window = integers(pool, 1)
    sizes = [members, images, height // window[0], width // window[1], out]
    with graph.inserting_before(pool):
        both = graph.call_function(_shb.native_rectifier.default, (x, weight, bias, kernel, window))
        y, which = (graph.call_function(operator.getitem, (both, i)) for i in (0, 1))
        merged = graph.call_function(_aten.view.default, (y, [members * images, *sizes[2:]]))
        pooled = graph.call_function(_aten.permute.default, (merged, [0, 3, 1, 2]))
    for item in list(pool.users):
        if item.args[1] == 0:
            pooled.meta = item.meta
            item.replace_all_uses_with(pooled)
    for backward in backwards:
        with graph.inserting_before(backward):
            moved = graph.call_function(_aten.permute.default, (backward.args[0], [0, 2, 3, 1]))
            moved.meta["val"] = value_of(operand(backward, 0)).permute(0, 2, 3, 1)
            if not value_of(moved).is_contiguous():
                moved = graph.call_function(_shb.native_contiguous.default, (moved,))
            upstream = graph.call_function(_aten.view.default, (moved, sizes))
        for threshold in _consumers(backward):
            for node in _consumers(threshold):
                _rectify_gradient(graph, node, upstream, which, window)


def _rectify_gradient(graph: fx.Graph, node: fx.Node, upstream: fx.Node, which: fx.Node, window: list[int]) -> None:
    """`node` uses the gradient of a convolution's result: for x, the weight, or, as a sum, the bias."""
    with graph.inserting_before(node):
        if node.target is _shb.convolution_weight.default:
            x, _, kernel, _ = node.args
            node.target, node.args = _shb.native_rectifier_weight.default, (x, upstream, which, kernel, window)
        elif node.target is _shb.convolution_input.default:
            _, weight, size, kernel, _ = node.args
            node.target = _shb.native_rectifier_input.default
            node.args = (upstream, which, weight, size, kernel, window)
        elif node.target is _aten.sum.dim_IntList and value_of(node).numel() == _bias_size(node):
            bias = graph.call_function(_shb.native_rectifier_bias.default, (upstream, which))
            shaped = graph.call_function(_aten.view.default, (bias, list(value_of(node).shape)))
            shaped.meta = node.meta
            node.replace_all_uses_with(shaped)


def _bias_size(node: fx.Node) -> int | None:
    """Elements of the sum over all images and pixels of a gradient [members, .., pixels, out]; None for another sum."""
    *outer, _, out = shape = value_of(operand(node, 0)).shape
    return math.prod(outer) * out if integers(node, 1) == [len(shape) - 2] and math.prod(outer[1:]) == 1 else None


def _pool_backwards(pool: fx.Node) -> Iterator[fx.Node]:
    for item in list(pool.users):
        if item.args[1] == 1:
            for user in _consumers(item):
                if user.target is _aten.max_pool2d_with_indices_backward.default:
                    yield user


def _source(node: fx.Node) -> fx.Node:
    while node.target in _LAYOUT:
        node = operand(node, 0)
    return node


def _consumers(node: fx.Node) -> list[fx.Node]:
    """Nodes that compute with the elements of `node`."""
    return [
        consumer for user in list(node.users) for consumer in (_consumers(user) if user.target in _LAYOUT else [user])
    ]


def _same_layout(value: Tensor, other: Tensor) -> bool:
    strides = zip(value.shape, value.stride(), other.stride())
    return value.shape == other.shape and all(size == 1 or mine == theirs for size, mine, theirs in strides)


def _is_plain(pool: fx.Node) -> bool:
    """Windows that neither overlap nor leave gaps."""
    given = [integers(pool, place) for place in range(1, min(len(pool.args), 5))]
    window, stride, padding, dilation = (*given, *([], [0, 0], [1, 1])[len(given) - 1 :])
    plain = (stride or window) == window and not any(padding) and _is_one(dilation) and not any(pool.args[5:])
    return plain and window[0] * window[1] < NOWHERE and _suits(pool)


def _is_one(sizes: Sequence[int]) -> bool:
    return all(size == 1 for size in sizes)


def _suits(node: fx.Node, *dtypes: torch.dtype) -> bool:
    """Its first tensor is float32 (or one of `dtypes`), on a CPU."""
    value = known_value(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
    return value is not None and value.dtype in (dtypes or (torch.float32,)) and value.device.type == "cpu"
