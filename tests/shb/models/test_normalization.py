"""Normalisation in the networks: torch's own layers, to rounding."""

import pytest
import torch
from torch import nn

from shb.errors import ConfigurationError
from shb.models import LayerNorm, MemberwiseBatchNorm, cnn, mlp, normalization, transformer


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


HALVES = [torch.float16, torch.bfloat16]
INPUTS = {  # squares that overflow in float16; a mean that has few bits left for the rest
    "large": lambda shape: 300 * torch.randn(shape, generator=torch.Generator().manual_seed(0)),
    "shifted": lambda shape: 100 + torch.randn(shape, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", HALVES)
def test_layer_norm_of_sixteen_bits_is_exact_but_for_its_last_rounding(dtype, inputs):
    x = INPUTS[inputs]((16, 33)).to(dtype).requires_grad_()
    layer = LayerNorm(33).to(dtype)
    y, exact = layer(x), nn.functional.layer_norm(x.detach().double(), (33,))
    assert y.dtype == dtype
    assert ((y.double() - exact).abs() <= torch.finfo(dtype).eps * exact.abs() + 1e-5).all()
    y.pow(2).mean().backward()
    assert x.grad.dtype == layer.weight.grad.dtype == dtype and x.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(16, 9), (4, 3, 5, 5)])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", HALVES)
def test_batch_norm_of_sixteen_bits_is_exact_but_for_its_last_rounding(dtype, inputs, shape):
    x, kind = INPUTS[inputs](shape).to(dtype), nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    ours, exact = kind(shape[1]).to(dtype), kind(shape[1]).double()
    eps = torch.finfo(dtype).eps
    for training in (True, False):
        for layer in (ours, exact):
            layer.train(training)
        if not training:  # the same statistics, as they are stored
            exact.load_state_dict(ours.state_dict())
        with MemberwiseBatchNorm():
            y = ours(x)
        expected = exact(x.double())
        assert y.dtype == dtype
        assert ((y.double() - expected).abs() <= eps * expected.abs() + 1e-5).all()
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(ours, name).double(), getattr(exact, name), rtol=eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_types_keep_the_bits_of_the_formula(dtype):
    """Written out, in the order in which it always was: stored members have these bits."""
    x = 3 + torch.randn(8, 7, generator=torch.Generator().manual_seed(0), dtype=dtype)
    layer, _ = paired(LayerNorm(7).to(dtype), nn.LayerNorm(7).to(dtype))
    centred = x - x.mean(-1, keepdim=True)
    scale = 1 / ((centred * centred).mean(-1, keepdim=True) + layer.eps).sqrt()
    assert torch.equal(layer(x), centred * scale * layer.weight + layer.bias)
    batch, _ = paired(nn.BatchNorm1d(7).to(dtype), nn.BatchNorm1d(7).to(dtype))
    with MemberwiseBatchNorm():
        y = batch(x)
    centred = x - x.mean(0)
    scale = 1 / ((centred * centred).mean(0) + batch.eps).sqrt()
    assert torch.equal(y, centred * (scale * batch.weight) + batch.bias)


@pytest.mark.parametrize("options", [{"elementwise_affine": False}, {"bias": False}])
def test_weight_and_bias_may_be_left_out(options):
    ours, theirs = paired(LayerNorm(5, **options), nn.LayerNorm(5, **options))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: mlp((5,), 3, hidden=[4, 1], norm="layer"), "model.norm=layer: allowed is none or batch .*one feature"),
        (lambda: normalization("layer", [1, 1, 1]), "model.norm=layer: allowed is none or batch"),
        (lambda: transformer((1, 4), 3, width=1, heads=1), "model.width=1: allowed is a multiple of .* at least 2"),
    ],
)
def test_layer_norm_over_one_number_is_refused(build, words):
    """Its output does not depend on the input."""
    with pytest.raises(ConfigurationError, match=words):
        build()
    assert mlp((5,), 3, hidden=[1], norm="batch") and mlp((5,), 3, hidden=[2], norm="layer")
