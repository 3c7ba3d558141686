import pytest
import torch

from shb.errors import ConfigurationError
from shb.models import MODELS, Conv, cnn, mlp, vgg
from shb.nonsmooth import ReLU


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


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 9, 8)])
def test_vgg_output_shape(shape):
    model = filled(vgg(shape, 4, channels=[5, 6, 7], hidden=9))
    assert model(torch.randn(3, *shape)).shape == (3, 4)
    assert sum(isinstance(layer, Conv) for layer in model) == 6


@pytest.mark.parametrize("name", MODELS)
def test_relu_at_zero_reaches_every_relu(name):
    model = MODELS[name]((1, 8, 8), 3, relu_at_zero=0.25)
    slopes = [layer.at_zero for layer in model.modules() if isinstance(layer, ReLU)]
    assert slopes
    assert set(slopes) == {0.25}
    with pytest.raises(ConfigurationError, match="relu_at_zero"):
        MODELS[name]((1, 8, 8), 3, relu_at_zero=1.5)


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
