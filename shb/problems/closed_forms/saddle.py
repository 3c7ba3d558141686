"""E16: an active strict saddle of a nonsmooth function, F = |x| - y^2 + y^4, with additive noise.

Clarke critical: the saddle (0, 0), F = 0, and the minima (0, +-1/sqrt 2), F = -1/4. Near the saddle F is smooth along
the active manifold {x = 0}, with curvature -2, and sharp across it. {y = 0} is invariant without noise and leads to the
saddle; every other start leaves it, y growing like e^{2t} in the clock t = sum of alpha / (1 - beta).
Source: theory.md section 4 (derived; active strict saddles: Davis and Drusvyatskiy, recalled).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.additive import AdditiveNoise
from shb.problems.closed_forms.closed_form import distance_to

VALLEY = math.sqrt(0.5)  # |y| of the minima


class E16(AdditiveNoise):
    """f((x, y), s) = |x| - y^2 + y^4 + sigma s.(x, y).

    Args:
        noise, sigma, atoms: as in `Quadratic`; sigma = 0 for none.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, a sigma < 0, or as `ClosedForm`.
    """

    name, size, minimum = "e16", 2, -0.25

    def objective(self, w: Tensor) -> Tensor:
        square = w[..., 1] * w[..., 1]  # no power of 4: its last bit depends on the place in a stack
        return w[..., 0].abs() - square + square * square

    def clarke_distance(self, w: Tensor) -> Tensor:
        points = torch.stack([torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)], -2)
        points[..., 1, 1], points[..., 2, 1] = VALLEY, -VALLEY
        return ((w[..., None, :] - points) ** 2).sum(-1).sqrt().amin(-1)

    def saddle_distance(self, w: Tensor) -> Tensor:
        """Distance to (0, 0): [..., 2] -> [...]."""
        return distance_to(w, [0.0, 0.0])

    def field(self, *, conservative: bool = False) -> Pieces:
        """dF, with nothing added by `conservative`."""
        return _Sides()


@dataclass(frozen=True)
class _Sides:
    """grad F on each side of {x = 0} that is within the radius."""

    def pieces(self, w: np.ndarray, radius: float) -> np.ndarray:
        slopes = [s for s in (1.0, -1.0) if s * w[0] > -radius or w[0] == 0]
        return np.array([(slope, -2 * w[1] + 4 * w[1] ** 3) for slope in slopes])
