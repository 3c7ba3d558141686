"""LeNet-like network with ReLU: convolutions with max-pooling, then dense hidden layers (LeCun et al. 1998)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError
from shb.models.cnn import cnn
from shb.nonsmooth.relu import ReLU


def lenet(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (32, 64),
    kernel: int = 5,
    hidden: Sequence[int] = (1024,),
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Module:
    """Input [n, channels, length] or [n, channels, height, width], output [n, outputs].

    The defaults are the network "2c2d" of DeepOBS (docs/published.md).

    Args:
        feature_shape: of one input, without n.
        outputs: numbers per sample, of classes or targets.
        channels: a convolution with ReLU and a max-pool of window 2 for each entry.
        kernel: odd side of every kernel.
        hidden: a dense layer with ReLU for each entry, at least one.
        relu_derivative, relu_rule: t = ReLU'(0) in [0, 1], and how it is used (`shb.nonsmooth.relu`).

    Raises:
        ConfigurationError: a value out of range, or data without a spatial dimension.
    """
    if len(feature_shape) not in (2, 3):
        raise ConfigurationError("model", "lenet", "mlp for data without a spatial dimension")
    if not hidden or any(width < 1 for width in hidden):
        raise ConfigurationError("model.hidden", list(hidden), "a non-empty list of widths >= 1 (model=cnn for none)")
    convolutions = cnn(
        feature_shape,
        hidden[0],
        channels=channels,
        kernel=kernel,
        relu_derivative=relu_derivative,
        relu_rule=relu_rule,
    )
    layers = list(convolutions)
    for fan_in, fan_out in itertools.pairwise([*hidden, outputs]):
        layers += [ReLU(relu_derivative, relu_rule), nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)
