"""A small VGG-like network for 32x32 (or 28x28) images: blocks of two 3x3 convolutions, then max-pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError
from shb.models.convolution import Conv, MaxPool
from shb.nonsmooth import ReLU


def vgg(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    hidden: int = 128,
    relu_at_zero: float = 0.0,
) -> nn.Module:
    """Input [n, channels, height, width], output [n, outputs]; no batch normalisation (members are independent)."""
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
            ReLU(relu_at_zero),
            Conv(fan_out, fan_out, 3),
            ReLU(relu_at_zero),
        ]
        layers.append(MaxPool(2))
        fan_in, size = fan_out, [side // 2 for side in size]
    head = [nn.Linear(fan_in * math.prod(size), hidden), ReLU(relu_at_zero), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers, nn.Flatten(), *head)
