"""Second moments of SHB on a quadratic, under i.i.d. samples and under reshuffling (theory.md 2.6, L9).

In a direction of curvature h the noise s of one update is felt d updates later as y_d s, with y_0 = alpha and

    y_{d+1} = (1 + beta - alpha h) y_d - beta y_{d-1},    y_{-1} = 0

Independent noise of variance C gives E w^2 = C sum_d y_d^2. A permutation of n samples has sum 0 over the epoch, and
pairs of them have covariance - C / (n - 1), so each epoch E gives n / (n - 1) (sum_E y_d^2 - (sum_E y_d)^2 / N), N the
updates in an epoch (also for mini-batches of n / N samples, C the variance of one drawn with replacement). Epochs are
independent. Exact, at every step size and for every length of a run that starts at w = 0.
"""

from __future__ import annotations

import numpy as np


def responses(curvature: np.ndarray | float, lr: float, momentum: float, length: int) -> np.ndarray:
    """y_0, ..., y_{length - 1} for each curvature [...]: [length, ...]."""
    curvature = np.asarray(curvature, np.float64)
    y = np.zeros((length, *curvature.shape))
    previous, current = np.zeros_like(curvature), np.full_like(curvature, lr)
    for late in range(length):
        y[late] = current
        previous, current = current, (1 + momentum - lr * curvature) * current - momentum * previous
    return y


def independent(y: np.ndarray) -> np.ndarray:
    """E w^2 / C after len(y) updates on i.i.d. samples: responses [length, ...] -> [...]."""
    return (y * y).sum(0)


def reshuffled(y: np.ndarray, updates: int, samples: int) -> np.ndarray:
    """E w^2 / C after len(y) updates on reshuffled samples: responses [length, ...] -> [...].

    Args:
        updates: N, in an epoch; the last epoch of `y` may be a part of one.
        samples: n, in an epoch.
    """
    begun = len(y) % updates  # of the present epoch
    blocks = [y[:begun]] + [y[start : start + updates] for start in range(begun, len(y), updates)]
    return samples / (samples - 1) * sum((b * b).sum(0) - b.sum(0) ** 2 / updates for b in blocks)


def cyclic(y: np.ndarray, points: np.ndarray) -> float:
    """w after len(y) updates on `points` [N] in their order, again and again, from w = 0: responses [length]."""
    times = np.arange(len(y))[::-1]  # the noise of the last update is felt by y_0
    return float(-(y * points[times % len(points)]).sum())


def end_of_epoch(x: np.ndarray | float) -> np.ndarray:
    """Limit of reshuffled / independent at the ends of epochs for a -> 0 at fixed x = a h N: 1 - tanh(x/2) / (x/2)."""
    half = np.asarray(x, np.float64) / 2
    return 1 - np.tanh(half) / half


def memory(x: np.ndarray | float, momentum: float) -> np.ndarray:
    """First order of what momentum adds at the ends of epochs, in units of a h / (1 - beta): [...].

    beta (2 (2 + beta) / (1 + beta) R + x R' - 4 (1 - (1 - e^-x) / x) + 2 beta / (1 + beta)), R = `end_of_epoch`.
    """
    x = np.asarray(x, np.float64)
    ratio, half = end_of_epoch(x), x / 2
    slope = np.tanh(half) / half - 1 / np.cosh(half) ** 2  # x R'(x)
    late = 1 + np.expm1(-x) / x
    return momentum * (2 * ((2 + momentum) * ratio + momentum) / (1 + momentum) + slope - 4 * late)


def cut(
    curvature: np.ndarray, lr: float, momentum: float, factor: float, length: int, later: int
) -> tuple[np.ndarray, np.ndarray]:
    """E w^2 / C on i.i.d. samples, after `length` updates from 0 and `later` updates after lr was divided by `factor`.

    The velocity is kept at the cut, as Polyak's form has it, so w coasts on at first. Curvatures [...] -> [...] twice.
    """
    h = np.asarray(curvature, np.float64)
    moments = np.zeros((3, *h.shape))  # of w w, w u and u u at the cut, u the velocity
    w, u = np.full_like(h, lr), np.full_like(h, lr)
    for _ in range(length):
        moments += w * w, w * u, u * u
        u = momentum * u - lr * h * w
        w = w + u
    w = np.stack([np.ones_like(h), np.zeros_like(h)])  # from the place, and from the velocity, at the cut
    u = np.stack([np.zeros_like(h), np.ones_like(h)])
    for _ in range(later):
        u = momentum * u - lr / factor * h * w
        w = w + u
    kept = w[0] ** 2 * moments[0] + 2 * w[0] * w[1] * moments[1] + w[1] ** 2 * moments[2]
    return moments[0], kept + independent(responses(h, lr / factor, momentum, later))
