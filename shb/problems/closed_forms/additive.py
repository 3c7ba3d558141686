"""Objectives with additive noise: f(w, s) = F(w) + sigma s.w, hence v(w, s) = F'(w) + sigma s.

    quadratic  F = sum_i h_i w_i^2 / 2    smooth minimum; laws L1, L2, L3
    absolute   F = |w|                    sharp minimum; law L4
    valley     F = (w_1 - 1)^2 / 2        noise along w_2 only, where F is flat: F(w_k) converges, w_2 may wander (CL10)
    quartic    F = w^4 / 4                unbounded curvature: runs away from a large start (CL18)

The laws of s are in `shb.problems.closed_forms.noise`. With noise=finite and one coordinate F is the mean of `atoms`
functions f(., s_i), s_i equidistant and increasing, which can also be drawn without replacement (`sampling`).
No artificial points: f(., s) is C^1, or convex.
Source: theory.md 2.6, CL8, CL10, CL11, CL13, CL18 (derived).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.nonsmooth import PiecewiseField
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm, distance_to
from shb.problems.closed_forms.fields import SmoothPieces, diagonal_stationarity, smooth_field
from shb.problems.closed_forms.noise import Noise, finite_points
from shb.problems.problem import Params
from shb.problems.sampling import in_epochs
from shb.streams import blocked_words, words


class AdditiveNoise(ClosedForm):
    """F, written once as `objective`, plus noise on every coordinate.

    Args:
        noise: law of s (`shb.problems.closed_forms.noise.LAWS`), independent for each coordinate.
        sigma: standard deviation of v per coordinate (cauchy: scale).
        atoms: points of noise=finite.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown law, a sigma < 0, or as `ClosedForm`.
    """

    minimum = 0.0

    def __init__(self, *, noise: str = "gaussian", sigma: float = 1.0, atoms: int = 2, **options: Any) -> None:
        self.noise = Noise(noise, sigma, atoms)
        self.finite = noise == "finite" and self.size == 1
        super().__init__(**options)

    def clarke_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, torch.zeros(self.size))

    def noise_covariance(self) -> Tensor:
        """Cov v(w, s), the same for all w: float64 [size, size]; inf for cauchy."""
        return torch.diag(torch.full((self.size,), self.noise.variance, dtype=torch.float64))

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        if self.sampling != "iid":
            return self._in_epochs(seeds, start, stop)
        drawn = self.noise.draw(blocked_words(seeds, "sampling", start, stop, self.size))
        return torch.from_numpy(drawn.transpose(0, 2, 1).copy()).to(self.dtype)

    def _in_epochs(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        points, shuffled = self.noise.sigma * finite_points(self.noise.atoms), self.sampling == "reshuffle"

        def order(epoch: int) -> np.ndarray:
            drawn = words(seeds, "reshuffle", epoch, len(points))
            return drawn.argsort(0, kind="stable") if shuffled else np.indices(drawn.shape)[0]

        return torch.from_numpy(points[in_epochs(start, stop, len(points), order)][:, :, None]).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return self.objective(params["w"]) + (s * params["w"]).sum()


class Quadratic(AdditiveNoise):
    """Smooth nondegenerate minimum at 0.

    Args:
        curvature: h_i > 0, one per coordinate; their number is `size`.
        noise: law of s (`shb.problems.closed_forms.noise`), independent for each coordinate.
        sigma: standard deviation of v per coordinate, >= 0 (cauchy: scale).
        atoms: points of noise=finite, >= 2.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: a curvature <= 0, an unknown law, a sigma < 0, or as `ClosedForm`.
    """

    name = "quadratic"

    def __init__(
        self,
        *,
        curvature: Sequence[float] = (1.0,),
        noise: str = "gaussian",
        sigma: float = 1.0,
        atoms: int = 2,
        **options: Any,
    ) -> None:
        try:
            h = np.asarray(curvature, np.float64).reshape(-1)
        except (TypeError, ValueError):
            h = np.empty(0)
        if not (len(h) and np.all((h > 0) & np.isfinite(h))):
            raise ConfigurationError("problem.curvature", curvature, "a list of numbers > 0, one per coordinate")
        self.size = len(h)
        super().__init__(noise=noise, sigma=sigma, atoms=atoms, **options)
        self.curvature = torch.from_numpy(h.copy())
        self._curvature = self.curvature.to(self.device, self.dtype)

    def objective(self, w: Tensor) -> Tensor:
        return (self._curvature.to(w) * w * w).sum(-1) / 2

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        h = self.curvature.to(w)
        return diagonal_stationarity(h * w, h, radius)

    def field(self, *, conservative: bool = False) -> PiecewiseField | Pieces:
        """grad F, with nothing added by `conservative`."""
        h = self.curvature.numpy()
        return smooth_field(lambda w: h[0] * w) if self.size == 1 else SmoothPieces(lambda w: h * w)

    def stationary_variance(self, lr: float, momentum: float) -> Tensor:
        """Var w_i of SHB under constant `lr` > 0 and `momentum` in (-1, 1): float64 [size]; inf where unstable (L1)."""
        injected = lr * self.noise.variance * (1 + momentum)
        variance = injected / (self.curvature * (1 - momentum) * (2 * (1 + momentum) - lr * self.curvature))
        return torch.where(lr < self.largest_step(momentum), variance, math.inf)

    def largest_step(self, momentum: float) -> Tensor:
        """Stability boundary 2 (1 + momentum) / h_i of a constant lr, |momentum| < 1: float64 [size] (L2)."""
        return 2 * (1 + momentum) / self.curvature


class Absolute(AdditiveNoise):
    """Sharp minimum at 0; the oracle at the kink is sigma s (torch: derivative 0 of abs).

    Args:
        noise, sigma, atoms: as in `Quadratic`.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, a sigma < 0, or as `ClosedForm`.
    """

    name = "absolute"

    def objective(self, w: Tensor) -> Tensor:
        return w[..., 0].abs()

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return (w[..., 0].abs() > radius).to(w.dtype)

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """d|w|, with nothing added by `conservative`."""
        return PiecewiseField((0.0,), lambda w: np.where(w > 0, 1.0, -1.0), lambda w: np.where(w < 0, -1.0, 1.0))


class Valley(AdditiveNoise):
    """Critical line {w_1 = 1}; Var w_2 after K steps is sigma^2 sum alpha_k^2 for SGD, and as much over (1 - beta)^2
    to leading order for SHB.

    Args:
        noise, sigma, atoms: as in `Quadratic`.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, a sigma < 0, or as `ClosedForm`.
    """

    name, size = "valley", 2

    def objective(self, w: Tensor) -> Tensor:
        return (w[..., 0] - 1) ** 2 / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return (w[..., 0] - 1).abs()

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return (self.clarke_distance(w) - radius).clamp(min=0)

    def noise_covariance(self) -> Tensor:
        """diag(0, sigma^2), float64 [2, 2].

        Law L3 does not use it: without noise where F is curved, the mean gap tends to 0 faster.
        """
        return torch.diag(torch.tensor([0.0, self.noise.variance], dtype=torch.float64))

    def field(self, *, conservative: bool = False) -> Pieces:
        """grad F, with nothing added by `conservative`."""
        return SmoothPieces(lambda w: np.array([w[0] - 1, 0.0]))

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        drawn = self.noise.draw(blocked_words(seeds, "sampling", start, stop)[:, 0])
        return torch.from_numpy(drawn).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return self.objective(params["w"]) + s * params["w"][1]


class Quartic(AdditiveNoise):
    """Degenerate minimum at 0; L3 does not apply. GD is stable only while alpha w^2 < 2.

    Args:
        noise, sigma, atoms: as in `Quadratic`.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, a sigma < 0, or as `ClosedForm`.
    """

    name = "quartic"

    def objective(self, w: Tensor) -> Tensor:
        square = w[..., 0] * w[..., 0]  # no power of 4: its last bit depends on the place in a stack
        return square * square / 4

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return (w[..., 0].abs() - radius).clamp(min=0) ** 3

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """F', with nothing added by `conservative`."""
        return smooth_field(lambda w: w**3)
