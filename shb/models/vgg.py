"""A small VGG-like network for 32x32 (or 28x28) images: blocks of two 3x3 convolutions, then max-pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError
from shb.models.convolution import Conv
from shb.nonsmooth.max_pool import BetaMaxPool2d
from shb.nonsmooth.relu import ReLU


def vgg(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    hidden: int = 128,
    pool_beta: float = 0.0,
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Module:
    """Input [n, channels, height, width], output [n, outputs]; no batch normalisation.

    Args:
        feature_shape: of one input, without n; sides of at least 2^(number of blocks).
        outputs: numbers per sample, of classes or targets.
        channels: of each block of two 3x3 convolutions with ReLU, then max-pooling of window 2.
        hidden: width of the dense layer with ReLU.
        pool_beta: Jacobian-norm parameter of the max-pooling (`shb.nonsmooth.max_pool`), 0 the ordinary one.
        relu_derivative, relu_rule: t = ReLU'(0) in [0, 1], and how it is used (`shb.nonsmooth.relu`).

    Raises:
        ConfigurationError: a value out of range, or data that are no images of that size.
    """
    if len(feature_shape) != 3 or min(feature_shape[1:]) < 2 ** len(channels):
        raise ConfigurationError("model", "vgg", f"mlp or cnn for samples of shape {tuple(feature_shape)}")
    if not channels or any(width < 1 for width in channels):
        raise ConfigurationError("model.channels", list(channels), "a non-empty list of channels >= 1")
    if hidden < 1:
        raise ConfigurationError("model.hidden", hidden, "a width >= 1")
    layers: list[nn.Module] = []
    fan_in, size = feature_shape[0], list(feature_shape[1:])
    for fan_out in channels:
        layers += [
            Conv(fan_in, fan_out, 3),
            ReLU(relu_derivative, relu_rule),
            Conv(fan_out, fan_out, 3),
            ReLU(relu_derivative, relu_rule),
        ]
        layers.append(BetaMaxPool2d(2, pool_beta))
        fan_in, size = fan_out, [side // 2 for side in size]
    head = [nn.Linear(fan_in * math.prod(size), hidden), ReLU(relu_derivative, relu_rule), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers, nn.Flatten(), *head)
