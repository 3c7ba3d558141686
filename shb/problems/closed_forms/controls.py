"""E11 and E12: controls that must misbehave, because an assumption of the theory fails.

    E11 detached  F(w) = (w - 2 g w)^2 / 2 with the target 2 g w taken as a constant: v = (1 - 2 g) w.
                  F' = (1 - 2 g)^2 w, so F' v < 0 for g > 1/2: SGD and SHB run away from the only critical point 0.
    E11 rotation  v = J w, J = [[0, -1], [1, 0]], sold as the gradient of F = |w|^2 / 2: circulation 2 pi around the
                  unit circle. SGD has |w_{k+1}|^2 = (1 + alpha_k^2) |w_k|^2: it circles off the critical point.
    E12           f(w, x) = x^2 (w - w*)^2 / 2, x standard Cauchy: linear regression whose Lipschitz constants are not
                  integrable (A1 fails), F = inf off w*. One step of SGD multiplies w - w* by 1 - alpha x^2, whose log
                  has mean log(1 + alpha) > 0 and variance 2 pi atan(sqrt(alpha)) (`E12.log_growth`): SGD leaves w*
                  for every constant step size, and for k^-q with q < 2/3; for q > 2/3 it comes back for ever.
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth import PiecewiseField
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm, distance_to
from shb.problems.closed_forms.fields import SmoothPieces, smooth_field
from shb.problems.closed_forms.noise import Noise
from shb.problems.problem import Params
from shb.streams import blocked_words


class E11(ClosedForm):
    """Wrong oracles: the value of the loss is F, its backpropagated gradient is not that of F. Deterministic.

    Args:
        kind: "detached" (one variable) or "rotation" (two).
        g: discount of kind=detached, finite and not 1/2.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown kind, a g that is 1/2 or not finite, or as `ClosedForm`.
    """

    name, minimum = "e11", 0.0

    def __init__(self, *, kind: str = "detached", g: float = 0.9, **options: Any) -> None:
        self.kind = choose("problem.kind", kind, ("detached", "rotation"))
        if not (math.isfinite(g) and g != 0.5):
            raise ConfigurationError("problem.g", g, "a finite number other than 1/2, where F = 0")
        self.g, self.size = g, 1 if kind == "detached" else 2
        super().__init__(**options)

    @property
    def curvature(self) -> float:
        """F = curvature |w|^2 / 2."""
        return (1 - 2 * self.g) ** 2 if self.kind == "detached" else 1.0

    def objective(self, w: Tensor) -> Tensor:
        return self.curvature * (w * w).sum(-1) / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, torch.zeros(self.size))

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return self.curvature * (self.clarke_distance(w) - radius).clamp(min=0)

    def noise_covariance(self) -> Tensor:
        """0: float64 [size, size]."""
        return torch.zeros(self.size, self.size, dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> PiecewiseField | Pieces:
        """grad F, which the oracle is not; nothing is added by `conservative`."""
        make = smooth_field if self.size == 1 else SmoothPieces
        return make(lambda w: self.curvature * w)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        return torch.zeros(stop - start, len(seeds), dtype=self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w = params["w"]
        if self.kind == "detached":
            residual = w - (2 * self.g * w).detach()
            return (residual * residual).sum() / 2
        constant = w.detach()
        rotated = torch.stack([-constant[1], constant[0]])
        return self.objective(constant) + (rotated * (w - constant)).sum()


class E12(ClosedForm):
    """Heavy tails. `objective` is the median of f(w, .), (w - w*)^2 / 2, as |x| has median 1: the mean is infinite.

    Args:
        target: w*, finite.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: a target that is not finite, or as `ClosedForm`.
    """

    name, minimum = "e12", 0.0

    def __init__(self, *, target: float = 1.0, **options: Any) -> None:
        if not math.isfinite(target):
            raise ConfigurationError("problem.target", target, "a finite number")
        self.target, self._features = target, Noise("cauchy", 1.0, 2)
        super().__init__(**options)

    def objective(self, w: Tensor) -> Tensor:
        return (w[..., 0] - self.target) ** 2 / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return (w[..., 0] - self.target).abs()

    @staticmethod
    def log_growth(step_sizes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of log|1 - alpha x^2|, the growth of log|w - w*| in one step of SGD; both exact.

        h(z) = log(1 - alpha z^2) is analytic in the upper half plane and grows like log z, so that E h(x) = h(i) and
        E h(x)^2 = h(i)^2 for a Cauchy x (Poisson's formula at z = i), and h(i) = log(1 + alpha). On the real line h
        has the imaginary part 0 where alpha x^2 < 1 and pi or -pi beyond, so that
        Var Re h = E (Im h)^2 = pi^2 P(alpha x^2 > 1).

        Args:
            step_sizes: alpha_k > 0, any shape.

        Returns:
            log(1 + alpha_k) and 2 pi atan(sqrt(alpha_k)), each shaped like ``step_sizes``.

        Example:
            >>> mean, variance = E12.log_growth(1.0)
            >>> round(float(mean), 4), round(float(variance), 4)  # log 2 and pi^2 / 2
            (0.6931, 4.9348)
        """
        alpha = np.asarray(step_sizes, np.float64)
        return np.log1p(alpha), 2 * np.pi * np.arctan(np.sqrt(alpha))

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        drawn = self._features.draw(blocked_words(seeds, "sampling", start, stop)[:, 0])
        return torch.from_numpy(drawn).to(self.dtype)

    def loss(self, params: Params, x: Tensor) -> Tensor:
        residual = params["w"] * x - self.target * x
        return (residual * residual).sum() / 2
