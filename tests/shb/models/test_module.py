"""Which parameters torch itself draws by the rule torch_default, and which by another."""

import math

import pytest
import torch
from torch import nn

from shb.models import Conv, built, unknown_to_torch_default


class Zeroed(nn.Linear):
    """A subclass may draw otherwise, as this one does."""

    def reset_parameters(self):
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.scale = nn.Linear(2, 3), nn.Parameter(torch.ones(3))


KNOWN = [
    lambda: nn.Linear(40, 50),
    lambda: nn.Linear(40, 50, bias=False),
    lambda: nn.Conv1d(4, 50, 5),
    lambda: nn.Conv2d(4, 20, 5),
    lambda: nn.Conv3d(4, 10, 3),
    lambda: Conv(4, 20, 5),
    lambda: Conv(4, 50, 5, dims=1),
    lambda: nn.Sequential(nn.Linear(40, 50), nn.Sequential(nn.ReLU(), nn.Linear(50, 30))),
]
UNKNOWN = {
    "weight": [
        lambda: nn.Embedding(5, 3),
        lambda: nn.Bilinear(2, 3, 4),
        lambda: nn.LayerNorm(3),
        lambda: nn.PReLU(),
        lambda: nn.ConvTranspose2d(2, 3, 3),
        lambda: Zeroed(2, 3),
    ],
    "1.weight": [lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))],
    "weight_ih_l0": [lambda: nn.LSTM(2, 3)],
    "in_proj_weight": [lambda: nn.MultiheadAttention(4, 2)],
    "scale": [Bare],
    "bias": [lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))],
}


@pytest.mark.parametrize("make", KNOWN)
def test_torch_draws_linear_and_convolutional_layers_by_the_rule(make):
    module = make()
    assert unknown_to_torch_default(module) is None
    for layer in module.modules():
        if getattr(layer, "weight", None) is not None:
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert 0.9 * bound < layer.weight.abs().max() <= bound and layer.weight.std() > 0.9 * bound / math.sqrt(3)


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makes in UNKNOWN.items() for make in makes])
def test_what_torch_draws_otherwise_is_named(name, make):
    assert unknown_to_torch_default(make()) == name


def test_what_is_frozen_is_not_asked():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3).requires_grad_(False))
    assert unknown_to_torch_default(module) is None


@pytest.mark.parametrize(("dims", "theirs"), [(2, nn.Conv2d), (1, nn.Conv1d)])
def test_init_module_draws_our_convolution_as_torch_draws_its_own(dims, theirs):
    """It was memory as it lay there."""
    drawn = built(lambda: Conv(4, 6, 5, dims=dims), 3)
    torch.testing.assert_close(drawn, built(lambda: theirs(4, 6, 5), 3))
    assert not torch.equal(drawn["weight"], built(lambda: Conv(4, 6, 5, dims=dims), 4)["weight"])
