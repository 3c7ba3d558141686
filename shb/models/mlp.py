"""Multilayer perceptron with ReLU: x -> W_L relu(... relu(W_1 x + b_1) ...) + b_L.

With a normalisation N, relu(N(W x + b)) in place of relu(W x + b).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from shb.errors import ConfigurationError, choose
from shb.models.normalization import NORMS, normalization
from shb.nonsmooth.relu import ReLU


def mlp(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (64, 64),
    norm: str = "none",
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Module:
    """Input [n, *feature_shape] (flattened), output [n, outputs].

    Args:
        feature_shape: of one input, without n.
        outputs: numbers per sample, of classes or targets.
        hidden: width of each hidden layer; [] is a linear model.
        norm: "none", "layer" or "batch", before each ReLU (`shb.models.normalization`).
        relu_derivative, relu_rule: t = ReLU'(0) in [0, 1], and how it is used (`shb.nonsmooth.relu`).

    Raises:
        ConfigurationError: a width < 1, an unknown norm, norm="layer" with a width of 1, or as `shb.nonsmooth.ReLU`.

    Example:
        >>> [tuple(p.shape) for p in mlp((1, 8, 8), 10, hidden=[16]).parameters()]
        [(16, 64), (16,), (10, 16), (10,)]
    """
    if any(width < 1 for width in hidden):
        raise ConfigurationError("model.hidden", list(hidden), "a list of widths >= 1")
    choose("model.norm", norm, NORMS)  # also where there is no hidden layer
    widths = [math.prod(feature_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), *normalization(norm, [fan_out]), ReLU(relu_derivative, relu_rule)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
