"""The second-order differential inclusion w'' + r w' + D_F(w) containing 0 (regime R2; theory.md sections 1, 2.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.nonsmooth.events import EventFlow, checked_times
from shb.nonsmooth.inclusion import finite, follow, rests
from shb.nonsmooth.piecewise import PiecewiseField

Array = np.ndarray


def solve_second_order(
    field: PiecewiseField,
    w0: ArrayLike,
    y0: ArrayLike,
    r: ArrayLike,
    times: ArrayLike,
    *,
    step: float = 1e-3,
    rest_times: ArrayLike = np.inf,
) -> tuple[Array, Array]:
    """Solutions (w, y = w') of w'' + r w' + D_F(w) containing 0, one variable, many starts at once.

    E = F(w) + y^2/2 falls at the rate r y^2 (`shb.nonsmooth.lyapunov.lyapunov_second`); r = 0 keeps it. A separable F
    on R^p (E3) is solved coordinate by coordinate.

    Error O(step^4), through kinks too, until an oscillation about a convex kink, whose slopes are left < 0 < right,
    gets shorter than about two steps: there it ends, at rest on the kink. With b >= a > 0 the sizes of the two slopes,
    this costs at most b step / 2 in y, b^2 step^2 / (8 a) in w and b^2 step^2 / 8 in E, to leading order in step.

    Args:
        field: D_F, e.g. `problem.field(conservative=True)` of a closed form in one variable.
        w0, y0: starts and initial velocities, any shapes that broadcast (elementwise).
        r: friction >= 0, in units of 1 / time, broadcast with them.
        times: [T], increasing, units of the clock sum gamma_k; the solutions start at times[0].
        step, rest_times: as in `shb.nonsmooth.solve_first_order`; only solutions with y = 0 rest.

    Returns:
        w and y, each [T, *shape], float64.

    Raises:
        ConfigurationError: times not increasing, a step <= 0, starts not finite, r or rest times negative.

    Example:
        >>> from shb.nonsmooth import PiecewiseField
        >>> smooth = PiecewiseField([], lambda w: w, lambda w: w)  # w'' + w = 0: a cosine
        >>> w, y = solve_second_order(smooth, 1.0, 0.0, 0.0, [0.0, np.pi / 2, np.pi], step=1e-2)
        >>> w.round(6).tolist(), abs(y).round(6).tolist()
        ([1.0, 0.0, -1.0], [0.0, 1.0, 0.0])
    """
    times = checked_times(times, step)
    w0, y0, r = np.broadcast_arrays(finite("w0", w0), finite("y0", y0), finite("r", r))
    if not np.all(r >= 0):
        raise ConfigurationError("r", r.min(), "friction >= 0")
    flow = EventFlow(field, np.stack([w0.reshape(-1), y0.reshape(-1)], 1), r.reshape(-1), rests(rest_times, w0.shape))
    states = follow(flow, times, step).reshape(len(times), *w0.shape, 2)
    return states[..., 0], states[..., 1]
