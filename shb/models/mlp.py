"""Multilayer perceptron with ReLU: x -> W_L relu(... relu(W_1 x + b_1) ...) + b_L."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError
from shb.nonsmooth.relu import ReLU


def mlp(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (64, 64),
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Module:
    """Input [n, *feature_shape] (flattened), output [n, outputs]; `hidden` are the widths, [] is linear."""
    if any(width < 1 for width in hidden):
        raise ConfigurationError("model.hidden", list(hidden), "a list of widths >= 1")
    widths = [math.prod(feature_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), ReLU(relu_derivative, relu_rule)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
