"""Window maxima of the limit process with its memory: what `window_maximum` leaves out (CL4).

`window_maximum.mean_maximum` takes w for its limit, a diffusion in the clock of a_k. The heavy ball has a velocity with
the memory 1 / (1 - beta) steps: its maxima are lower, the more so the larger a_k is, which makes the slope of log Osc_K
against log K flatter. There is no closed form: the linear recursion with Gaussian noise

    x_{k+1} = x_k + beta (x_k - x_{k-1}) - alpha_k (lambda x_k + sigma g_k),   g_k normal

is simulated with a fixed seed and many paths. It knows nothing of the problem but lambda, sigma and the schedule.
Over [K/2, K], K = 1024, ..., 16384, with a_k = 2 / (k + 11)^0.75 the slope is -0.666 by `mean_maximum`, of the
logarithm of a mean. The mean of the logarithm, what CL4 measures, has -0.647 for SGD and -0.586 for beta = 0.9
(standard errors 0.006, 1000 paths), and at K = 16384, ..., 262144 -0.655 and -0.630 (0.011, 200 paths), against -0.683
by `mean_maximum`.
Source: theory.md 2.6, L3 (derived).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 256  # steps whose noise is drawn at once


def window_oscillations(
    effective_steps: np.ndarray,
    momentum: float,
    stops: Sequence[int],
    *,
    curvature: float = 1.0,
    noise: float = 1.0,
    paths: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """max - min of F(w_k) - F* = lambda x_k^2 / 2 over K/2 <= k <= K, for each K: [paths, len(stops)].

    Starts at the minimum at rest: the first windows are right only after several relaxation times.

    Args:
        effective_steps: a_k = alpha_k / (1 - beta) for k = 0, ..., at least the largest of `stops` - 1: [n].
        momentum: beta.
        stops: the K, increasing.
        curvature, noise: lambda and sigma.
        paths, seed: independent paths of this stream of numpy; the same numbers for the same arguments.
    """
    rng = np.random.default_rng(seed)
    alpha = (1 - momentum) * np.asarray(effective_steps, np.float64)
    x, step = np.zeros((2, paths))
    highest, lowest = np.zeros((len(stops), paths)), np.full((len(stops), paths), np.inf)
    for k in range(max(stops)):
        if k % BLOCK == 0:
            normal = noise * rng.standard_normal((BLOCK, paths))
        step = momentum * step - alpha[k] * (curvature * x + normal[k % BLOCK])
        x = x + step
        for row, stop in enumerate(stops):
            if stop // 2 <= k + 1 <= stop:
                gap = curvature * x * x / 2
                np.maximum(highest[row], gap, out=highest[row])
                np.minimum(lowest[row], gap, out=lowest[row])
    return (highest - lowest).T
