import math

import pytest
import torch
import torch.nn.functional as F

from shb.errors import ConfigurationError
from shb.models import MODELS, Conv, MaxPool, cnn, lenet, mlp, vgg
from shb.nonsmooth import RULES, BetaMaxPool2d, ReLU


def filled(module):
    torch.manual_seed(0)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return module


@pytest.mark.parametrize("shape", [(5,), (2, 11), (3, 9, 7)])
@pytest.mark.parametrize("hidden", [[], [33], [33, 17]])
def test_mlp_flattens_any_sample(shape, hidden):
    model = filled(mlp(shape, 4, hidden=hidden))
    assert model(torch.randn(6, *shape)).shape == (6, 4)
    assert sum(isinstance(layer, ReLU) for layer in model) == len(hidden)


@pytest.mark.parametrize("shape", [(2, 11), (1, 40), (3, 9, 7), (1, 28, 28)])
@pytest.mark.parametrize("downsample", ["maxpool", "stride"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_cnn_output_shape(shape, downsample, kernel):
    model = filled(cnn(shape, 4, channels=[6, 5], kernel=kernel, downsample=downsample))
    assert model(torch.randn(7, *shape)).shape == (7, 4)


@pytest.mark.parametrize(
    ("downsample", "shape", "features"),
    [
        ("maxpool", (2, 11), 5 * 2),  # 11 -> 5 -> 2, a window that does not fit is dropped
        ("stride", (2, 11), 5 * 3),  # 11 -> 6 -> 3, rounded up
        ("maxpool", (3, 9, 7), 5 * 2 * 1),
        ("stride", (3, 9, 7), 5 * 3 * 2),
    ],
)
def test_downsampling_halves_the_resolution(downsample, shape, features):
    model = cnn(shape, 4, channels=[6, 5], downsample=downsample)
    assert model[-1].in_features == features
    assert [layer.stride for layer in model if isinstance(layer, Conv)] == [1 + (downsample == "stride")] * 2


def test_stride_works_down_to_one_pixel():
    model = filled(cnn((1, 2, 2), 3, channels=[4, 4, 4], downsample="stride"))
    assert model(torch.randn(5, 1, 2, 2)).shape == (5, 3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7), (2, 11)])
@pytest.mark.parametrize("hidden", [[9], [9, 6]])
def test_lenet_output_shape(shape, hidden):
    model = filled(lenet(shape, 4, channels=[5, 6], kernel=3, hidden=hidden))
    assert model(torch.randn(3, *shape)).shape == (3, 4)
    assert [layer.out_features for layer in model if isinstance(layer, torch.nn.Linear)] == [*hidden, 4]


def test_lenet_by_default_is_the_published_network():
    """DeepOBS's 2c2d written in torch's own layers: same shapes, same outputs."""
    ours = filled(lenet((1, 28, 28), 10))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2, 2),
        torch.nn.Conv2d(32, 64, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2, 2),
        torch.nn.Flatten(),
        torch.nn.Linear(7 * 7 * 64, 1024),
        torch.nn.ReLU(),
        torch.nn.Linear(1024, 10),
    )
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(own)
        x = torch.rand(2, 1, 28, 28)
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 9, 8)])
def test_vgg_output_shape(shape):
    model = filled(vgg(shape, 4, channels=[5, 6, 7], hidden=9))
    assert model(torch.randn(3, *shape)).shape == (3, 4)
    assert sum(isinstance(layer, Conv) for layer in model) == 6


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"transformer"}))
def test_derivative_and_rule_reach_every_relu(name):
    for rule in RULES:
        model = MODELS[name]((1, 8, 8), 3, relu_derivative=0.25, relu_rule=rule)
        found = [(layer.derivative, layer.rule) for layer in model.modules() if isinstance(layer, ReLU)]
        assert found
        assert set(found) == {(0.25, rule)}
    assert {layer.rule for layer in MODELS[name]((1, 8, 8), 3).modules() if isinstance(layer, ReLU)} == {"chain"}
    with pytest.raises(ConfigurationError, match="relu_derivative"):
        MODELS[name]((1, 8, 8), 3, relu_derivative=1.5)
    with pytest.raises(ConfigurationError, match="relu_rule"):
        MODELS[name]((1, 8, 8), 3, relu_rule="injection")


@pytest.mark.parametrize("build", [cnn, vgg])
def test_pool_beta_reaches_every_pooling_layer(build):
    for beta in (0.0, 10.0):
        model = build((1, 8, 8), 3, channels=[4, 5], pool_beta=beta)
        assert [layer.beta for layer in model.modules() if isinstance(layer, BetaMaxPool2d)] == [beta] * 2
    assert {layer.beta for layer in build((1, 8, 8), 3).modules() if isinstance(layer, BetaMaxPool2d)} <= {0.0}


@pytest.mark.parametrize("shape", [(2, 9, 7), (2, 11)])
def test_a_cnn_without_pool_beta_has_the_bits_of_torch_max_pooling(shape):
    model = filled(cnn(shape, 3, channels=[4, 5]))
    x = torch.randint(-1, 2, (6, *shape)).float()  # ties
    found = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    y = x
    for layer in model:
        window = F.max_pool2d if y.dim() == 4 else F.max_pool1d
        y = window(y, 2) if isinstance(layer, BetaMaxPool2d | MaxPool) else layer(y)
    expected = torch.autograd.grad(y.square().sum(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mlp((5,), 3, hidden=[4, 0]), r"model.hidden=\[4, 0\]: allowed is a list of widths >= 1"),
        (lambda: mlp((5,), 3, hidden=[-4]), r"model.hidden=\[-4\]"),
        (lambda: cnn((5,), 3), "model=cnn: allowed is mlp for data without a spatial dimension"),
        (lambda: cnn((1, 2, 3, 4), 3), "model=cnn"),
        (lambda: cnn((1, 8, 8), 3, kernel=4), "model.kernel=4: allowed is an odd number >= 1"),
        (lambda: cnn((1, 8, 8), 3, kernel=-1), "model.kernel=-1"),
        (lambda: cnn((1, 8, 8), 3, channels=[]), r"model.channels=\[\]: allowed is a non-empty list"),
        (lambda: cnn((1, 8, 8), 3, channels=[4, -4]), r"model.channels=\[4, -4\]"),
        (lambda: cnn((1, 8, 9), 3, channels=[4] * 4), r"model.channels=.*allowed is at most 3 entries"),
        (lambda: cnn((1, 7), 3, channels=[4] * 3), "at most 2 entries"),
        (lambda: cnn((1, 8, 8), 3, downsample="maxpol"), r"model.downsample=maxpol.*did you mean maxpool\?"),
        (lambda: cnn((1, 8, 8), 3, pool_beta=math.inf), "model.pool_beta=inf: allowed is a finite number"),
        (lambda: cnn((1, 8, 8), 3, downsample="stride", pool_beta=1.0), "model.pool_beta=1.0: allowed is 0 without"),
        (lambda: cnn((1, 8), 3, pool_beta=1.0), "model.pool_beta=1.0: allowed is 0 without"),
        (lambda: vgg((1, 8, 8), 3, pool_beta=math.nan), "model.pool_beta=nan: allowed is a finite number"),
        (lambda: lenet((5,), 3), "model=lenet: allowed is mlp for data without a spatial dimension"),
        (lambda: lenet((1, 8, 8), 3, hidden=[]), r"model.hidden=\[\]: allowed is a non-empty list of widths >= 1"),
        (lambda: lenet((1, 8, 8), 3, hidden=[4, 0]), r"model.hidden=\[4, 0\]"),
        (lambda: vgg((5,), 3), r"model=vgg: allowed is mlp or cnn for samples of shape \(5,\)"),
        (lambda: vgg((1, 40), 3), "model=vgg"),
        (lambda: vgg((1, 7, 32), 3), "model=vgg"),
        (lambda: vgg((1, 8, 8), 3, channels=[]), r"model.channels=\[\]"),
        (lambda: vgg((1, 8, 8), 3, channels=[4, 0]), r"model.channels=\[4, 0\]"),
        (lambda: vgg((1, 8, 8), 3, hidden=-1), "model.hidden=-1: allowed is a width >= 1"),
    ],
)
def test_a_bad_option_is_named_with_what_is_allowed(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()


def test_the_limits_named_in_the_messages_are_accepted():
    cnn((1, 8, 9), 3, channels=[4] * 3)
    cnn((1, 7), 3, channels=[4] * 2)
    vgg((1, 8, 8), 3, channels=[4] * 3)
