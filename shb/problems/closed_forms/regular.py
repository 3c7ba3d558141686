"""E4 and E7: nothing artificial, the negative controls of detectors.

    E4  f(w, s) = s |w|, s = +-1 with probability 1/2: F = 0, every point is Clarke critical, D_F(0) = [-1, 1]
    E7  f(w, s) = |w - s|, convex for each s, hence D_F = dF:
        s ~ N(0, 1): F' = 2 Phi(w) - 1, critical point 0, F(0) = sqrt(2 / pi)
        s = +-1: F = (|w - 1| + |w + 1|) / 2, critical set [-1, 1], F = 1 there

Source: theory.md section 4 (E4 recalled, E7 derived).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from shb.errors import choose
from shb.nonsmooth import PiecewiseField
from shb.problems.closed_forms.closed_form import ClosedForm, Signs
from shb.problems.closed_forms.fields import smooth_field
from shb.problems.problem import Params
from shb.streams import blocked_words, normal, signs


class E4(Signs, ClosedForm):
    """Two samples that cancel everywhere."""

    name, minimum = "e4", 0.0

    def objective(self, w: Tensor) -> Tensor:
        return torch.zeros_like(w[..., 0])

    def clarke_distance(self, w: Tensor) -> Tensor:
        return torch.zeros_like(w[..., 0])

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return torch.zeros_like(w[..., 0])

    def noise_covariance(self) -> Tensor:
        """Var v(w, s) for w != 0: float64 [1, 1]. At 0 torch's derivative of abs is 0, and so is the variance."""
        return torch.ones(1, 1, dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """dF = {0}; `conservative` adds D_F(0) = E s d|.|(0) = [-1, 1]."""
        return smooth_field(np.zeros_like, {0.0: (-1.0, 1.0)} if conservative else None)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return (s * params["w"].abs()).sum()


class E7(ClosedForm):
    """Median of s: regular samples. Facts of noise=normal are float64.

    Args:
        noise: law of s, "normal" or "signs".
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, or as `ClosedForm`.
    """

    name = "e7"

    def __init__(self, *, noise: str = "normal", **options: Any) -> None:
        self.noise = choose("problem.noise", noise, ("normal", "signs"))
        super().__init__(**options)
        self.minimum = math.sqrt(2 / math.pi) if noise == "normal" else 1.0

    def objective(self, w: Tensor) -> Tensor:
        if self.noise == "signs":
            return ((w - 1).abs() + (w + 1).abs())[..., 0] / 2
        x = w[..., 0].double()
        return x * torch.erf(x / math.sqrt(2)) + math.sqrt(2 / math.pi) * torch.exp(-x * x / 2)

    def clarke_distance(self, w: Tensor) -> Tensor:
        half_width = 0.0 if self.noise == "normal" else 1.0
        return (w[..., 0].abs() - half_width).clamp(min=0)

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        nearest = w[..., 0].abs() - radius  # F' is odd and non-decreasing
        if self.noise == "signs":
            return (nearest > 1).to(w.dtype)
        return torch.erf(nearest.double().clamp(min=0) / math.sqrt(2))

    def noise_covariance(self) -> Tensor:
        """Var v(w, s) at w = 0 (signs: on ]-1, 1[): float64 [1, 1]. L3 needs curvature, hence noise=normal."""
        return torch.ones(1, 1, dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """dF = D_F, with nothing added by `conservative`."""
        if self.noise == "normal":
            return smooth_field(lambda w: 2 * ndtr(w) - 1)
        return PiecewiseField(
            (-1.0, 1.0),
            lambda w: np.where(w > 1, 1.0, np.where(w > -1, 0.0, -1.0)),
            lambda w: np.where(w >= 1, 1.0, np.where(w >= -1, 0.0, -1.0)),
        )

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        if self.noise == "signs":
            return torch.from_numpy(signs(seeds, "sampling", start, stop))
        return torch.from_numpy(normal(blocked_words(seeds, "sampling", start, stop)[:, 0])).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return (params["w"] - s).abs().sum()
