"""Which operations of a traced gradient become native, and that the numbers stay."""

import copy
from functools import partial

import pytest
import torch

from shb.kernels import load, use_native
from shb.models import cnn, vgg
from shb.problems import LearningProblem
from shb.training import why_not
from shb.training.gradient import gradient_program
from tests.shb.problems.tiny import mlp_problem, tiny_dataset

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


IMAGES, SIGNALS = (3, 9, 7), (2, 19)


def network(shape, model=cnn, dtype=torch.float32, **options):
    options = {"channels": (17, 5), **options}
    return LearningProblem(partial(model, **options), tiny_dataset(shape), batch_size=7, dtype=dtype)


def lowered(problem, width=3):
    """The operations of the gradient after `use_native`, by name, and the largest relative difference it makes."""
    load()
    module = gradient_program(problem, width).module
    native = copy.deepcopy(module)
    use_native(native.graph)
    native.recompile()
    inputs = [n.meta["val"] for n in module.graph.nodes if n.op == "placeholder"]
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) if t.is_floating_point() else t
        for t in (torch.zeros(v.shape, dtype=v.dtype) for v in inputs)
    ]
    with torch.no_grad():
        pairs = list(zip(native(*inputs), module(*inputs)))
    difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    names = [n.target._schema.name for n in native.graph.nodes if hasattr(n.target, "_schema")]
    return names, difference


def test_products_of_a_network():
    names, difference = lowered(mlp_problem())
    assert "aten::bmm" not in names and "shb::native_bmm" in names
    assert 0 < difference < 1e-5


@pytest.mark.parametrize("shape", [IMAGES, SIGNALS], ids=["2-D", "1-D"])
def test_convolution_relu_and_pooling_become_one(shape):
    names, difference = lowered(network(shape))
    assert not {"shb::convolution", "aten::relu", "aten::max_pool2d_with_indices", "aten::bmm"} & set(names)
    convolutions = names.count("shb::native_rectifier")
    assert convolutions == 2
    assert names.count("shb::native_rectifier_weight") == names.count("shb::native_rectifier_bias") == convolutions
    assert names.count("shb::native_rectifier_input") == convolutions - 1  # no gradient of the data
    assert 0 < difference < 1e-4


@pytest.mark.parametrize(
    ("options", "expected", "absent"),
    [
        ({"downsample": "stride"}, ["shb::convolution", "shb::native_bmm"], "shb::native_convolution"),
        (
            {"relu_derivative": 1.0},
            ["shb::native_convolution", "shb::native_max_pool_backward"],
            "shb::native_rectifier",
        ),
        ({"pool_beta": 0.5}, ["shb::native_convolution", "shb::native_max_pool_backward"], "shb::native_rectifier"),
    ],
    ids=str,
)
def test_what_does_not_suit_stays(options, expected, absent):
    names, difference = lowered(network(IMAGES, **options))
    assert set(expected) <= set(names) and absent not in names
    assert 0 < difference < 1e-4


def test_a_convolution_without_pooling_of_its_own():
    """In a VGG only the second of two convolutions is pooled."""
    names, difference = lowered(network((3, 8, 8), vgg, channels=(4, 5), hidden=6))
    assert names.count("shb::native_rectifier") == 2 and names.count("shb::native_convolution") == 2
    assert names.count("shb::native_convolution_weight") == names.count("shb::native_rectifier_weight") == 2
    assert 0 < difference < 1e-4


def test_float64_stays_with_torch():
    names, difference = lowered(network(IMAGES, dtype=torch.float64))
    assert not any("native" in name for name in names)
    assert difference == 0
