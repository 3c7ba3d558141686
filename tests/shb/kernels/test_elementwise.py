"""Chains of elementwise operations as one: the same bits, and only where that is safe."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from shb.kernels import join_elementwise, load, round_roots
from shb.training import why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
WIDTH = 3


def joined(function, *tensors):
    """Calls of native_elementwise in the joined program, and whether its results have the bits of the traced one."""
    load()
    traced = make_fx(lambda *t: list(function(*t)))(*tensors)
    round_roots(traced.graph)
    traced.recompile()
    expected = traced(*tensors)
    join_elementwise(traced.graph)
    traced.recompile()
    names = [str(node.target) for node in traced.graph.nodes]
    found = traced(*tensors)
    return names.count("shb.native_elementwise.default"), all(map(torch.equal, found, expected))


def numbers(*shape):
    return torch.rand(WIDTH, *shape, generator=torch.Generator().manual_seed(len(shape))) + 0.5


@pytest.mark.parametrize("size", [2, 511, 512, 513, 2000])
def test_every_operation_with_every_kind_of_operand(size):
    def function(x, y, s):
        s = s.view(-1, 1)
        total = x + y
        total = s - total * s
        total = total / (y * 3.0) - 0.1 * total
        return total / s, torch.sqrt(x * y + 2), total - x

    assert joined(function, numbers(size), numbers(size).flip(1), numbers()) == (2, True)  # the root is not connected


def test_results_that_are_read_inside_and_outside():
    def function(v, w, lr):
        velocity = 0.9 * v - lr.view(-1, 1, 1) * w
        return velocity, w + velocity

    assert joined(function, numbers(5, 7), numbers(5, 7).mul(2), numbers()) == (1, True)


def test_shapes_make_chains_of_their_own():
    def function(x, y):
        return (x + 1) * 2, (y + 1) * 2

    assert joined(function, numbers(4), numbers(5, 6)) == (2, True)


def test_what_comes_back_into_a_chain_keeps_it_apart():
    """The sum needs the first operation, the last operation needs the sum."""

    def function(x):
        y = x * 2 + 1
        return (y - y.sum(1, keepdim=True) * y,)

    assert joined(function, numbers(40)) == (0, True)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x.double() * 2 + 1,),
        lambda x: (x.mT * 2 + 1,),
        lambda x: (torch.add(x, x, alpha=2) + torch.add(x, x, alpha=3),),
        lambda x: (x + x[0, 0],),
        lambda x: (torch.exp(x).exp(),),
    ],
    ids=["float64", "transposed", "alpha", "one operation that broadcasts", "others"],
)
def test_what_does_not_suit_stays(function):
    assert joined(function, numbers(4, 6)) == (0, True)
