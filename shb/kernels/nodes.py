"""Arguments and values of the nodes of a traced graph, of the kind that an operation has there.

To torch an argument may be anything; which of its kinds it is follows from the operation. One of another kind is an
error of who asks: TypeError, with the node.
"""

from __future__ import annotations

from torch import Tensor, fx


def operand(node: fx.Node, place: int) -> fx.Node:
    """An argument that is a tensor: the node that makes it."""
    argument = node.args[place]
    if not isinstance(argument, fx.Node):
        raise TypeError(f"argument {place} of {node.format_node()} is no node")
    return argument


def operands(node: fx.Node, place: int) -> list[fx.Node]:
    """An argument that is a list of tensors: the nodes that make them."""
    argument = node.args[place]
    if not isinstance(argument, list | tuple):
        raise TypeError(f"argument {place} of {node.format_node()} is no list")
    found = [one for one in argument if isinstance(one, fx.Node)]
    if len(found) != len(argument):
        raise TypeError(f"argument {place} of {node.format_node()} is no list of nodes")
    return found


def integers(node: fx.Node, place: int) -> list[int]:
    """An argument that is a list of whole numbers."""
    argument = node.args[place]
    if not isinstance(argument, list | tuple):
        raise TypeError(f"argument {place} of {node.format_node()} is no list")
    found = [one for one in argument if isinstance(one, int)]
    if len(found) != len(argument):
        raise TypeError(f"argument {place} of {node.format_node()} is no list of whole numbers")
    return found


def known_value(node: fx.Node) -> Tensor | None:
    """The traced result of a node, of all members; None where tracing noted none, or where it is no tensor."""
    value = node.meta.get("val")
    return value if isinstance(value, Tensor) else None


def value_of(node: fx.Node) -> Tensor:
    """The traced result, of all members, of a node that makes a tensor."""
    value = known_value(node)
    if value is None:
        raise TypeError(f"no traced tensor at {node.format_node()}")
    return value
