"""The law of a weighted sum of chi^2_1."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import chdtr


def weighted_chi2_cdf(weights: np.ndarray, points: int = 400) -> Callable[[np.ndarray], np.ndarray]:
    """Distribution function of sum_i weights_i chi^2_1 by Imhof's integral (1961), linear between `points` nodes.

    Exact for a single weight; accurate to 1e-3 for three and more of comparable size.
    """
    weights = np.asarray(weights, np.float64)
    weights = weights[weights > 1e-9 * weights.max()]
    if len(weights) == 1:
        return lambda x: chdtr(1, np.maximum(x, 0.0) / weights[0])
    scale = weights.sum()
    weights = weights / scale
    nodes = np.linspace(0.0, 8.0, points)
    u = np.geomspace(1e-6, 3e3, 8_000)
    phase = 0.5 * np.arctan(weights[:, None] * u).sum(0)
    decay = np.prod((1 + (weights[:, None] * u) ** 2) ** 0.25, axis=0)
    integrand = np.sin(phase - 0.5 * nodes[:, None] * u) / decay  # du / u = d log u
    above = 0.5 + np.trapezoid(integrand, np.log(u), axis=1) / math.pi
    nodes, values = np.append(nodes, 1e9), np.append(np.clip(1 - above, 0.0, 1.0), 1.0)
    return lambda x: np.interp(x / scale, nodes, values)
