"""How far noise carries the iterates under alpha_k = c / log k: L6 for any law of the noise (CL15).

F = lambda w^2 / 2, noise with E e^{p s} = e^{Lambda(p)}, effective step sizes a_k = c / log k, x = w - w*. While a_k is
nearly a constant a, a path x(t) in the clock of a has probability exp(-S/a), S = int sup_p (p x' - H(x, p)) dt with
H(x, p) = - lambda x p + Lambda(p) (Freidlin, Wentzell; recalled). The cheapest way from 0 to a level L > 0 costs V(L),
H(x, V'(x)) = 0:

    V(L) = int_0^L p(x) dx,   Lambda(p) = lambda x p.

The share of the time beyond L is exp(-V(L) log k / c) = k^{-V(L)/c} up to powers of log k, summable iff V(L) > c:
limsup |x_k| = L with V(L) = c. Gaussian noise: Lambda = sigma^2 p^2 / 2, V = lambda L^2 / sigma^2,
L = sqrt(c sigma^2 / lambda). Noise +-1, as at E1: Lambda = log cosh, levels of order 1 are large deviations for every
k, and L is smaller: L^2 / c = 0.983, 0.967, 0.901, 0.688 at c = 0.05, 0.1, 0.3, 1. The memory 1 / (1 - beta) of the
heavy ball is short against 1 / a_k, so that it has the same L at the same a_k.
At finite K the maximum m over [K/2, K] has V(m) / c log K = log K + O(log log K).
Source: theory.md 2.6, L6 (derived).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

LARGEST = 200.0  # p up to which V is tabulated; for noise +-1: V = 3.2, beyond every c in use
POINTS = 200_000

Cumulant = Callable[[np.ndarray], np.ndarray]


def rademacher(p: np.ndarray) -> np.ndarray:
    """log cosh p: Lambda of the noise +-1 of E1, without overflow."""
    return np.logaddexp(p, -p) - np.log(2)


def quasipotential(levels: ArrayLike, cumulant: Cumulant = rademacher, curvature: float = 1.0) -> np.ndarray:
    """V(L) of each level, shaped like `levels`.

    With p as parameter: L = Lambda(p) / (lambda p), V = (Lambda(p) - int_0^p Lambda(r) / r dr) / lambda.

    Args:
        levels: L >= 0, distances from the minimum.
        cumulant: Lambda, of noise with mean 0, for p of shape [n]; symmetric noise, or V holds on the side of p > 0.
        curvature: lambda.

    Raises:
        ValueError: a level that the noise reaches with p > `LARGEST` only, such as L >= 1 / lambda of the noise +-1.
    """
    reach, potential = _table(cumulant, curvature)
    levels = np.asarray(levels, np.float64)
    if levels.size and levels.max() > reach[-1]:
        raise ValueError(f"level {levels.max():.4g}, allowed: at most {reach[-1]:.4g} for this noise")
    return np.interp(levels, reach, potential)


def largest_distance(c: float, cumulant: Cumulant = rademacher, curvature: float = 1.0) -> float:
    """limsup |w_k - w*| under the effective step sizes c / log k: L with V(L) = c.

    Raises:
        ValueError: a c above V of the largest level of the table.
    """
    reach, potential = _table(cumulant, curvature)
    if not 0 < c <= potential[-1]:
        raise ValueError(f"c={c:g}, allowed: 0 < c <= {potential[-1]:.4g} for this noise")
    return float(brentq(lambda level: np.interp(level, reach, potential) - c, 0.0, reach[-1], xtol=1e-12))


def _table(cumulant: Cumulant, curvature: float) -> tuple[np.ndarray, np.ndarray]:
    """L and V(L), both increasing: [POINTS + 1] each; denser near 0."""
    p = LARGEST * np.linspace(0.0, 1.0, POINTS + 1)[1:] ** 2
    ratio = cumulant(p) / p
    p, ratio = np.r_[0.0, p], np.r_[0.0, ratio]  # Lambda(p) / p -> 0
    area = np.r_[0.0, np.cumsum((ratio[1:] + ratio[:-1]) / 2 * np.diff(p))]
    return ratio / curvature, (ratio * p - area) / curvature
