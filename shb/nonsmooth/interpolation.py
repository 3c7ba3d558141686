"""Iterates as a curve in the clock of the differential inclusion, and how far it is from the inclusion's solutions.

w^tau(t_k) = w_k, affine between, t_k = sum of the effective steps alpha_i (1 + c_{i+1}) before k (theory.md section 3,
"DI"): `clock(effective_step(alpha, beta))` with `shb.optimizers.conversions.effective_step`. The clock sum alpha,
`clock(alpha)`, is right without momentum only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.nonsmooth.inclusion import solve_first_order
from shb.nonsmooth.piecewise import Pieces, PiecewiseField

Array = np.ndarray


def clock(steps: ArrayLike) -> Array:
    """Times t_0 = 0, ..., t_K of the iterates: [K] steps >= 0 (effective steps, in units of time) -> [K + 1].

    Raises:
        ConfigurationError: another shape, or a step < 0.

    Example:
        >>> clock([0.5, 0.25]).tolist()
        [0.0, 0.5, 0.75]
    """
    steps = np.asarray(steps, np.float64)
    if steps.ndim != 1 or not np.all(steps >= 0):
        raise ConfigurationError("steps", f"shape {steps.shape}", "a sequence of step sizes >= 0, [K]")
    return np.concatenate([[0.0], np.cumsum(steps)])


def interpolate(times: ArrayLike, path: ArrayLike, at: ArrayLike) -> Array:
    """Piecewise-linear path through path[k] at times[k].

    Args:
        times: [K + 1], increasing, K >= 1.
        path: [K + 1, ...].
        at: [M], inside the times.

    Returns:
        [M, ...], float64.

    Raises:
        ConfigurationError: times not increasing or not one for each point, or `at` outside of them.

    Example:
        >>> interpolate([0.0, 1.0, 3.0], [0.0, 2.0, 0.0], [0.5, 2.0]).tolist()
        [1.0, 1.0]
    """
    times, path, at = (np.asarray(values, np.float64) for values in (times, path, at))
    if times.ndim != 1 or path.shape[:1] != times.shape or len(times) < 2 or np.any(np.diff(times) < 0):
        raise ConfigurationError(
            "times", f"shape {times.shape}", f"increasing, one for each of {len(path)} points, >= 2"
        )
    if at.ndim != 1 or not np.all((at >= times[0]) & (at <= times[-1])):
        ends = f"[{at.min()}, {at.max()}]" if at.size else f"shape {at.shape}"
        raise ConfigurationError("at", ends, f"times between {times[0]} and {times[-1]}")
    after = np.clip(np.searchsorted(times, at, "right"), 1, len(times) - 1)
    gap = times[after] - times[after - 1]
    weight = np.where(gap > 0, (at - times[after - 1]) / np.where(gap > 0, gap, 1.0), 1.0)
    weight = weight.reshape(-1, *(1,) * (path.ndim - 1))
    return (1 - weight) * path[after - 1] + weight * path[after]


def tracking_error(
    times: ArrayLike,
    path: ArrayLike,
    field: PiecewiseField | Pieces,
    window: float,
    *,
    start: float = 0.0,
    step: float = 1e-3,
) -> Array:
    """sup over t in [0, window] of |w^tau(start + t) - x(t)|, x the minimal-norm solution from w^tau(start).

    The supremum is taken over the nodes of the path in the window and its ends. x is solved at times ``step`` apart
    and taken as affine between, which adds at most step^2 |x''| / 8, and step / 4 times the jump of x' at a kink, to
    the error of `solve_first_order`.

    Args:
        times: [K + 1], increasing, units of the clock.
        path: w_0, ..., w_K: [K + 1, n] for a `PiecewiseField`, else [K + 1, n, p].
        field: D_F, as in `shb.nonsmooth.solve_first_order`.
        window: length of the interval, > 0, units of the clock.
        start: its begin, >= times[0]; it ends at times[-1] at the latest.
        step: of the solver, units of the clock.

    Returns:
        One error per run, [n], in units of w.

    Raises:
        ConfigurationError: a wrong shape of the path, a window that is not within the times, or as
            `shb.nonsmooth.solve_first_order`.
    """
    times, path = np.asarray(times, np.float64), np.asarray(path, np.float64)
    dimensions = 2 if isinstance(field, PiecewiseField) else 3
    if path.ndim != dimensions:
        raise ConfigurationError("path", f"shape {path.shape}", f"{dimensions} axes for {type(field).__name__}")
    end = start + window
    # a sum of many steps misses the end that the caller means by rounding
    rounding = 1e-9 * (times[-1] - times[0])
    if not (window > 0 and start >= times[0] and end <= times[-1] + rounding):
        raise ConfigurationError("window", f"[{start}, {end}]", f"an interval in [{times[0]}, {times[-1]}]")
    end = min(end, times[-1])
    inside = times[(times > start) & (times < end)]
    nodes = np.concatenate([[start], inside, [end]])
    iterates = interpolate(times, path, nodes)
    grid = np.linspace(start, end, max(2, int(np.ceil((end - start) / step)) + 1))
    solution = interpolate(grid, solve_first_order(field, iterates[0], grid, step=step), nodes)
    distance = np.abs(iterates - solution) if dimensions == 2 else np.linalg.norm(iterates - solution, axis=-1)
    return distance.max(0)
