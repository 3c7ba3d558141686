"""Normalisation in the networks: torch's own layers, to rounding."""

import pytest
import torch
from torch import nn

from shb.errors import ConfigurationError
from shb.models import LayerNorm, cnn, mlp, normalization


def paired(ours, theirs):
    """Both with the same random parameters."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.copy_(a.copy_(torch.randn(a.shape, generator=random, dtype=a.dtype)))
    return ours, theirs


@pytest.mark.parametrize("shape", [[5], [3, 7], [3, 4, 6]])
def test_layer_norm_is_that_of_torch(shape):
    ours, theirs = paired(LayerNorm(shape).double(), nn.LayerNorm(shape).double())
    x = 3 + torch.randn(8, *shape, dtype=torch.float64)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    for output in outputs:
        output.pow(3).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (lambda norm: mlp((5,), 3, hidden=[4, 6], norm=norm), {"layer": LayerNorm, "batch": nn.BatchNorm1d}),
        (lambda norm: cnn((2, 11), 3, channels=[4, 6], norm=norm), {"layer": LayerNorm, "batch": nn.BatchNorm1d}),
        (lambda norm: cnn((2, 9, 7), 3, channels=[4, 6], norm=norm), {"layer": LayerNorm, "batch": nn.BatchNorm2d}),
        (
            lambda norm: cnn((2, 9, 7), 3, channels=[4, 6], norm=norm, downsample="stride"),
            {"layer": LayerNorm, "batch": nn.BatchNorm2d},
        ),
    ],
    ids=["mlp", "cnn 1-D", "cnn 2-D", "cnn stride"],
)
def test_one_norm_before_every_relu(build, kinds):
    shapes = [tuple(p.shape) for p in build("none").parameters()]
    for norm, kind in kinds.items():
        module = build(norm)
        layers = [type(layer).__name__ for layer in module]
        assert [layers[i + 1] for i, layer in enumerate(module) if type(layer) is kind] == ["ReLU", "ReLU"]
        plain = [
            tuple(p.shape) for n, p in module.named_parameters() if not isinstance(module[int(n.split(".")[0])], kind)
        ]
        assert plain == shapes


@pytest.mark.parametrize("build", [lambda: mlp((5,), 3, hidden=[], norm="bach"), lambda: normalization("bach", [3])])
def test_an_unknown_norm_is_refused(build):
    with pytest.raises(ConfigurationError, match=r"model.norm=bach: allowed is one of .*did you mean batch\?"):
        build()
