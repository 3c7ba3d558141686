"""Convolutional network with ReLU: one convolution per entry of `channels`, each halving the resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError, choose
from shb.models.convolution import Conv, MaxPool
from shb.models.normalization import normalization
from shb.nonsmooth.max_pool import BetaMaxPool2d
from shb.nonsmooth.relu import ReLU


def cnn(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
    downsample: str = "maxpool",
    norm: str = "none",
    pool_beta: float = 0.0,
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Sequential:
    """Input [n, channels, length] (1-D) or [n, channels, height, width] (2-D), output [n, outputs].

    Args:
        feature_shape: of one input, without n.
        outputs: numbers per sample, of classes or targets.
        channels: of each convolution, a non-empty list; each halves the resolution.
        kernel: odd side of every kernel.
        downsample: "maxpool" (window 2 after each ReLU) or "stride" (the convolutions have stride 2).
        norm: "none", "layer" or "batch", between each convolution and its ReLU (`shb.models.normalization`).
        pool_beta: Jacobian-norm parameter of 2-D max-pooling (`shb.nonsmooth.max_pool`), 0 the ordinary one.
        relu_derivative, relu_rule: t = ReLU'(0) in [0, 1], and how it is used (`shb.nonsmooth.relu`).

    Raises:
        ConfigurationError: a value out of range, more halvings than the data have room for, data without a spatial
            dimension.
    """
    choose("model.downsample", downsample, ("maxpool", "stride"))
    dims = len(feature_shape) - 1
    if dims not in (1, 2):
        raise ConfigurationError("model", "cnn", "mlp for data without a spatial dimension")
    if kernel < 1 or kernel % 2 == 0:
        raise ConfigurationError("model.kernel", kernel, "an odd number >= 1")
    if not channels or any(width < 1 for width in channels):
        raise ConfigurationError("model.channels", list(channels), "a non-empty list of channels >= 1")
    pool = downsample == "maxpool"
    if pool_beta != 0.0 and not (pool and dims == 2):
        raise ConfigurationError("model.pool_beta", pool_beta, "0 without max-pooling over two dimensions")
    layers: list[nn.Module] = []
    fan_in, size = feature_shape[0], list(feature_shape[1:])
    for fan_out in channels:
        layers.append(Conv(fan_in, fan_out, kernel, stride=1 if pool else 2, dims=dims))
        convolved = size if pool else [(side + 1) // 2 for side in size]
        layers += [*normalization(norm, [fan_out, *convolved]), ReLU(relu_derivative, relu_rule)]
        if pool:
            layers.append(BetaMaxPool2d(2, pool_beta) if dims == 2 else MaxPool(2, dims))
        fan_in, size = fan_out, [side // 2 for side in size] if pool else convolved
    if 0 in size:
        limit = int(math.log2(min(feature_shape[1:])))
        raise ConfigurationError("model.channels", list(channels), f"at most {limit} entries for this data")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in * math.prod(size), outputs))
