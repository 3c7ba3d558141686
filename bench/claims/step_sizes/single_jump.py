"""The single-jump law: the largest |w_k| over a window under noise of tail index p in (1, 2) (CL55).

F = w^2 / 2, noise s with P(|s| > x) ~ x^{-p}, steps alpha_k, momentum beta, a_k = alpha_k / (1 - beta). A jump s_k
moves w by up to g_k |s_k|, g_k the largest value of the response of the recursion to one unit of noise: alpha_k for
SGD, nearly a_k for the heavy ball once its memory is short against 1 / a_k. The largest of the jumps decides, so that
for large x

    P(max |w| <= x) = exp(-S x^{-p}),   S = sum over the window of g_k^p (1 + C / N),   C = p (p + 1) / (2 (2 - p))

N = sum a_k is the number of relaxation times in the window. C / N is the first correction for where the jump starts: w
is then an independent W with P(|W| > x) ~ eps = (a / x)^p / (p a), E(1 - W/x)^{-p} = 1 + p (p + 1) / 2 E[W^2; |W| < x]
/ x^2, E[W^2; |W| < x] = eps x^2 p / (2 - p), and eps = 1 / (p N) where the maximum lies. So max is S^{1/p} times a
Frechet number, E log max = (log S + gamma) / p, and with a_k ~ k^{-q} the slope of log max against log K tends to
1/p - q. For p near 2 the correction is large: many jumps make the maximum.
Source: theory.md 2.6 (derived).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.claims.observers import dyadic

GRID = 64  # steps at which the response is computed; between them log g is interpolated in log k


def response(alpha: float, beta: float) -> float:
    """Largest value of w after one unit of noise at the constant step `alpha` > 0, from rest at 0 (curvature 1)."""
    before, now, largest = 0.0, alpha, alpha
    while now > 0:
        before, now = now, now - alpha * now + beta * (now - before)
        if now <= largest:
            break
        largest = now
    return largest


def log_scales(step_sizes: ArrayLike, beta: float, index: float, corrected: bool = True) -> np.ndarray:
    """log S / p of every window [K/2, K], K = 2, 4, ..., as the observer "windows" has them: [J].

    Args:
        step_sizes: alpha_0, alpha_1, ... of the whole run.
        beta: momentum in [0, 1).
        index: p in (1, 2).
        corrected: with the factor 1 + C / N.
    """
    alpha, p = np.asarray(step_sizes, np.float64), index
    steps = len(alpha)
    at = np.unique(np.geomspace(1, steps, GRID).astype(int))
    log_g = np.interp(np.log(np.arange(1, steps + 1)), np.log(at), [np.log(response(alpha[k - 1], beta)) for k in at])
    factor = p * (p + 1) / (2 * (2 - p)) if corrected else 0.0
    scales = []
    for start, stop in dyadic(steps):  # w_K comes from step K - 1
        window = slice(max(start - 1, 0), stop)
        relaxations = alpha[window].sum() / (1 - beta)
        scales.append(np.log(np.exp(p * log_g[window]).sum() * (1 + factor / relaxations)) / p)
    return np.array(scales)
