"""Arguments of a traced node: what an operation has there, or an error that names the node."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from shb.kernels.nodes import integers, known_value, operand, operands, value_of


@pytest.fixture(scope="module")
def nodes():
    """Of a small traced program, by what is called."""
    module = make_fx(lambda x, y: [torch.stack([x, y]).permute(1, 0, 2), x + 2])(torch.ones(2, 3), torch.zeros(2, 3))
    return {str(node.target): node for node in module.graph.nodes}


def test_an_argument_is_what_the_operation_has_there(nodes):
    stack, permute, output = nodes["aten.stack.default"], nodes["aten.permute.default"], nodes["output"]
    assert [node.target for node in operands(stack, 0)] == ["x_1", "y_1"]
    assert operand(permute, 0) is stack and integers(permute, 1) == [1, 0, 2]
    assert operands(output, 0) == [permute, nodes["aten.add.Tensor"]]
    assert value_of(permute).shape == (2, 2, 3) and known_value(output) is None


@pytest.mark.parametrize(
    ("get", "name", "place"),
    [
        (operand, "aten.add.Tensor", 1),  # a number
        (operands, "aten.add.Tensor", 0),  # one node
        (operands, "aten.permute.default", 1),  # a list of numbers
        (integers, "aten.add.Tensor", 1),
        (integers, "aten.stack.default", 0),  # a list of nodes
    ],
)
def test_another_kind_is_an_error_that_names_the_node(nodes, get, name, place):
    with pytest.raises(TypeError, match=f"argument {place} of .*{name}"):
        get(nodes[name], place)


def test_a_node_without_a_traced_tensor_is_an_error_that_names_it(nodes):
    with pytest.raises(TypeError, match="no traced tensor at return"):
        value_of(nodes["output"])
