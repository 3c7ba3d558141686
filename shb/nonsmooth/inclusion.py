"""The first-order differential inclusion w' in -D_F(w) (regime R1; theory.md sections 1, 2.2 and 3, "DI").

Its solution of minimal norm, w' = -(element of D_F(w) nearest to 0), slides along kinks that attract from both sides.
Time is that of the clock sum alpha^eff (`shb.nonsmooth.interpolation.clock`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.nonsmooth.events import EventFlow, checked_times, substeps
from shb.nonsmooth.min_norm import min_norm_point
from shb.nonsmooth.piecewise import Pieces, PiecewiseField

Array = np.ndarray


def solve_first_order(
    field: PiecewiseField | Pieces,
    w0: ArrayLike,
    times: ArrayLike,
    *,
    step: float = 1e-3,
    rest_times: ArrayLike = np.inf,
) -> Array:
    """Solutions of w' in -D_F(w) from many starts.

    One variable (`PiecewiseField`): error O(step^4), through kinks too (`shb.nonsmooth.events`).
    R^p (`Pieces`): w <- w - step v, v the min-norm element of the hull of the pieces within step L, L the largest norm
    of a gradient at w. Where F is convex and its gradients are bounded by L, the error after time t is at most
    2 L sqrt(2 t step): the hull consists of (2 L^2 step)-subgradients at the last step w_k, so against the exact
    solution x the product of v - v(x) and w_k - x is >= -2 L^2 step, and w - w_k costs as much again; integrate
    |w - x|^2 / 2. Away from grazing it is O(step). On a concave ridge, within step L, the hull of both sides holds
    0: solutions started there stay on the ridge, which only those started on it exactly may do.

    Args:
        field: D_F, e.g. `problem.field(conservative=True)` of a closed form.
        w0: starts, any shape for a `PiecewiseField` (elementwise), else [p] or [n, p].
        times: [T], increasing, units of the clock; the solutions start at times[0].
        step: largest time step; below 2.7 / (Lipschitz constant of F' between kinks), else it is unstable.
        rest_times: one variable only, broadcast to w0: the time a solution rests, in all, at points where D_F lets it
            rest or leave (0 in D_F; E1 with D_F(0) = [0, 2]). inf is the minimal-norm (slow) solution, 0 leaves at
            once; every value is a solution. A maximum is left to the right.

    Returns:
        [T, *w0.shape], float64.

    Raises:
        ConfigurationError: times not increasing, a step <= 0, starts not finite or of a wrong shape, rest times
            negative or given in R^p.

    Example:
        >>> from shb.nonsmooth import PiecewiseField  # F = |w|: slides to the kink, and stays
        >>> field = PiecewiseField([0.0], lambda w: np.where(w > 0, 1.0, -1.0), lambda w: np.where(w < 0, -1.0, 1.0))
        >>> solve_first_order(field, [1.0, -0.5], [0.0, 0.5, 2.0], step=0.25).tolist()
        [[1.0, -0.5], [0.5, 0.0], [0.0, 0.0]]
    """
    times, w0 = checked_times(times, step), finite("w0", w0)
    if isinstance(field, PiecewiseField):
        rest = rests(rest_times, w0.shape)
        flow = EventFlow(field, w0.reshape(-1, 1), np.zeros(w0.size), rest)
        return follow(flow, times, step)[..., 0].reshape(len(times), *w0.shape)
    if not np.all(np.asarray(rest_times) == np.inf):
        raise ConfigurationError("rest_times", rest_times, "inf for a field in more than one variable")
    if w0.ndim not in (1, 2):
        raise ConfigurationError("w0", f"shape {w0.shape}", "[p] or [n, p]")
    starts, rows = np.unique(np.atleast_2d(w0), axis=0, return_inverse=True)
    paths = np.stack([_euler(field, start, times, step) for start in starts], 1)
    return paths[:, rows.reshape(-1)].reshape(len(times), *w0.shape)


def follow(flow: EventFlow, times: Array, step: float) -> Array:
    """The states of ``flow`` at the times, [T, n, order]."""
    states = [flow.state.copy()]
    for count, size in substeps(times, step):
        for _ in range(count if size > 0 else 0):
            flow.advance(size)
        states.append(flow.state.copy())
    return np.stack(states)


def finite(name: str, values: ArrayLike) -> Array:
    """``values`` as float64, all finite."""
    values = np.asarray(values, np.float64)
    if not np.all(np.isfinite(values)):
        raise ConfigurationError(name, values, "finite numbers")
    return values


def rests(rest_times: ArrayLike, shape: tuple[int, ...]) -> Array:
    """One rest time >= 0 for each start, flat."""
    rest = np.asarray(rest_times, np.float64)
    if not np.all(rest >= 0):
        raise ConfigurationError("rest_times", rest_times, "numbers >= 0")
    return np.broadcast_to(rest, shape).reshape(-1)


def _euler(field: Pieces, w: Array, times: Array, step: float) -> Array:
    path = [w]
    for count, size in substeps(times, step):
        for _ in range(count):
            reach = size * np.linalg.norm(field.pieces(w, 0.0), axis=1).max()
            active = field.pieces(w, reach)
            w = w - size * (active[0] if len(active) == 1 else min_norm_point(active).point)
        path.append(w)
    return np.stack(path)
