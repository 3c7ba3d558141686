"""E13: additive noise without variance, f(w, s) = w^2 / 2 + s w.

    tails=pareto    P(|s| > x) = (sigma / x)^p for x >= sigma, symmetric: E|s|^r is finite iff r < p
    tails=gaussian  N(0, sigma^2), the world in which the laws of heavy tails must fail

F = w^2 / 2 for every p > 1. SGD and SHB with steps alpha_k converge iff sum alpha_k^p < inf, which for p < 2 asks more
than sum alpha_k^2 < inf; over [K/2, K] the largest |w_k| is that of the largest single jump (theory.md 2.6).
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth import PiecewiseField
from shb.problems.closed_forms.closed_form import ClosedForm
from shb.problems.closed_forms.fields import smooth_field
from shb.problems.problem import Params
from shb.streams import blocked_words, normal, uniform


class E13(ClosedForm):
    """Smooth minimum at 0 under heavy tails.

    Args:
        tails: law of s, "pareto" (symmetrised) or "gaussian".
        index: p > 1 of tails=pareto; the variance is infinite for p <= 2.
        sigma: scale of s, >= 0: least |s| of tails=pareto, standard deviation of tails=gaussian.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: unknown tails, an index <= 1, a sigma < 0, or as `ClosedForm`.
    """

    name, minimum = "e13", 0.0

    def __init__(self, *, tails: str = "pareto", index: float = 1.5, sigma: float = 1.0, **options: Any) -> None:
        self.tails = choose("problem.tails", tails, ("pareto", "gaussian"))
        if not 1 < index < math.inf:
            raise ConfigurationError("problem.index", index, "a finite number > 1, for which s has a mean")
        if not 0 <= sigma < math.inf:
            raise ConfigurationError("problem.sigma", sigma, "a finite number >= 0")
        self.index, self.sigma = float(index), float(sigma)
        super().__init__(**options)

    def objective(self, w: Tensor) -> Tensor:
        return w[..., 0] * w[..., 0] / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return w[..., 0].abs()

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return (w[..., 0].abs() - radius).clamp(min=0)

    def noise_covariance(self) -> Tensor:
        """Var s, the same for all w: float64 [1, 1].

        sigma^2 for tails=gaussian; for tails=pareto sigma^2 p / (p - 2) if p > 2, inf if p <= 2 (0 for sigma = 0).
        """
        p, variance = self.index, self.sigma**2
        if self.tails == "pareto" and self.sigma > 0:
            variance = variance * p / (p - 2) if p > 2 else math.inf
        return torch.full((1, 1), variance, dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """F', with nothing added by `conservative`."""
        return smooth_field(lambda w: w)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        words = blocked_words(seeds, "sampling", start, stop)[:, 0]
        drawn = normal(words) if self.tails == "gaussian" else pareto(words, self.index)
        return torch.from_numpy(self.sigma * drawn).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return self.objective(params["w"]) + s * params["w"][0]


def pareto(words: np.ndarray, index: float) -> np.ndarray:
    """Symmetrised Pareto numbers of tail index `index` > 0, |s| >= 1, from uint64 words of any shape.

    >>> pareto(np.array([0, 2**62, 2**63], np.uint64), 2.0).round(3).tolist()
    [-1.0, -1.414, 67108864.0]
    """
    v = 2 * uniform(words) - 1  # never 0: the middles of an even number of cells
    return np.sign(v) * np.abs(v) ** (-1 / index)
