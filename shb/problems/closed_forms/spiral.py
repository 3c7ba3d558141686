"""E14: a C^infinity function on which gradient descent circles for ever, after Absil, Mahony and Andrews (2005).

In polar coordinates, with u = L / (r - 1) and phi = theta - k u,

    F = e^{-u} (1 - A sin phi) for r > 1,  F = 0 for r <= 1,   A = k X / (1 + k^2 X),   X = (r du/dr)^2

It is C^infinity, F >= 0, and every critical point lies in the disc r <= 1, where F = 0. The valley phi = 2 atan(1/k)
winds infinitely often around that disc. In the clock t of gradient flow u grows like log t along it, so that

    F ~ k^2 / t,    the angle swept while t goes to c t tends to k log c:

F(w_k) converges and w_k does not: its limit points are the whole circle. In the original ("Mexican hat") k = 1 and the
spiral lies inside the circle; here it lies outside, where it is less stiff, and k turns it faster. F is not definable:
sin is asked on an unbounded interval. With wave = 0, F = e^{-u} is definable (with exp), and w_k converges.
Source: theory.md section 4 (derived; the idea recalled).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm
from shb.problems.closed_forms.fields import SmoothPieces
from shb.problems.problem import Params

DEEPEST = 80.0  # u beyond which F, less than e^-80, counts as 0


class E14(ClosedForm):
    """A spiral valley around the unit disc. Deterministic.

    Args:
        winding: k >= 1, how fast the valley turns: k radians for one unit of u.
        width: L > 0, in units of w: the valley is at the distance L / u from the circle.
        wave: factor of the sine in [0, 1]; 0 takes the spiral away.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: a number out of range, or as `ClosedForm`.
    """

    name, size, minimum = "e14", 2, 0.0

    def __init__(self, *, winding: float = 8.0, width: float = 4.0, wave: float = 1.0, **options: Any) -> None:
        for name, value, allowed, good in (
            ("winding", winding, "a finite number >= 1", 1 <= winding < math.inf),
            ("width", width, "a finite number > 0", 0 < width < math.inf),
            ("wave", wave, "a number in [0, 1]", 0 <= wave <= 1),
        ):
            if not good:
                raise ConfigurationError(f"problem.{name}", value, allowed)
        self.winding, self.width, self.wave = float(winding), float(width), float(wave)
        super().__init__(**options)

    def objective(self, w: Tensor) -> Tensor:
        x, y = w[..., 0], w[..., 1]
        r = (x * x + y * y).clamp(min=1.0).sqrt()  # no norm: its last bit depends on the place in a stack
        gap = r - 1
        outside = gap > self.width / DEEPEST
        gap = torch.where(outside, gap, 1.0)
        u, k = self.width / gap, self.winding
        stiffness = gap * gap / (self.width * r)  # 1 / sqrt X
        amplitude = self.wave * k / (k * k + stiffness * stiffness)
        sine = (y * torch.cos(k * u) - x * torch.sin(k * u)) / r  # of phi
        return torch.where(outside, torch.exp(-u) * (1 - amplitude * sine), 0.0)

    def clarke_distance(self, w: Tensor) -> Tensor:
        return ((w * w).sum(-1).sqrt() - 1).clamp(min=0)

    def noise_covariance(self) -> Tensor:
        """0: float64 [2, 2]."""
        return torch.zeros(2, 2, dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> Pieces:
        """grad F, with nothing added by `conservative`."""
        gradient = torch.func.grad(self.objective)
        return SmoothPieces(lambda w: gradient(torch.from_numpy(np.asarray(w, np.float64))).numpy())

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        return torch.zeros(stop - start, len(seeds), dtype=self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return self.objective(params["w"])
