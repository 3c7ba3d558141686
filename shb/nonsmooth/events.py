"""Integration of one-variable flows through the kinks of a `PiecewiseField`, many starts at once.

Between kinks a step is classical Runge-Kutta (RK4) with the derivative of the piece; a step that leaves its piece is
cut where it meets the kink (bisection to rounding), so no step mixes two pieces and the order 4 survives crossings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.nonsmooth.piecewise import PiecewiseField

Array = np.ndarray
BISECTIONS = 60  # more than the bits of a float64 mantissa


def checked_times(times: ArrayLike, step: float) -> Array:
    """``times`` as float64 [T], increasing; ``step`` has to be > 0."""
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or not len(times) or not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
        raise ConfigurationError("times", f"shape {times.shape}", "a non-empty increasing sequence of finite numbers")
    if not 0 < step < np.inf:
        raise ConfigurationError("step", step, "a number > 0")
    return times


def substeps(times: Array, step: float) -> list[tuple[int, float]]:
    """For each gap between times: how many equal steps of at most ``step``, and their size."""
    counts = [max(1, int(np.ceil(gap / step * (1 - 1e-12)))) for gap in np.diff(times)]
    return [(count, gap / count) for count, gap in zip(counts, np.diff(times))]


class EventFlow:
    """State of n solutions: w' in -D_F(w), or w'' + r w' + D_F(w) containing 0.

    ``location`` is 2i inside piece i and 2j + 1 on special point j, which lies between pieces j and j + 1.

    Args:
        state: [n, 1] with column w, or [n, 2] with columns w, y = w'.
        damping: r, [n]; used in the second order only.
        rest: [n], time >= 0 that a solution rests where it could rest or leave.
    """

    def __init__(self, field: PiecewiseField, state: Array, damping: Array, rest: Array) -> None:
        self.field, self.state, self.damping, self.rest = field, state.copy(), damping, rest.copy()
        self.second_order = state.shape[1] == 2
        self.points = points = field.special
        self.bounds = np.concatenate([[-np.inf], points, [np.inf]])
        self.slopes = field.left(points), field.right(points)
        low, high = field.interval(points)
        self.may_rest = (low <= 0) & (high >= 0)
        w = self.state[:, 0]
        self.location = np.searchsorted(points, w, "left") + np.searchsorted(points, w, "right")

    def advance(self, time: float) -> None:
        """Move all solutions on by ``time``, at most one step of RK4 between two kinks."""
        remaining = np.full(len(self.state), time)
        while (active := np.flatnonzero(remaining > 0)).size:
            on_point = self.location[active] % 2 == 1
            self._leave_points(active[on_point], remaining, time)
            self._move(active[~on_point], remaining)

    def _leave_points(self, runs: Array, remaining: Array, time: float) -> None:
        """Solutions at a special point rest there, or enter the piece to one side of it."""
        if not runs.size:
            return
        point = self.location[runs] // 2
        left, right = self.slopes[0][point], self.slopes[1][point]
        side = np.where(right < 0, 1, np.where(left > 0, -1, 0))
        still = np.ones(len(runs), bool)
        if self.second_order:
            y = self.state[runs, 1]
            # a convex kink throws back within 2|y|/slope: shorter than a step, the oscillation ends here
            caught = (left < 0) & (right > 0) & (2 * np.abs(y) < time * np.where(y > 0, right, -left))
            self.state[runs[caught], 1] = 0.0
            still = (y == 0) | caught
            side = np.where(still, side, np.sign(y)).astype(int)
        resting = still & self.may_rest[point]
        for_ever = resting & (side == 0)
        wait = np.where(resting, np.minimum(self.rest[runs], remaining[runs]), 0.0)
        self.rest[runs] -= np.where(for_ever, 0.0, wait)
        remaining[runs] = np.where(for_ever, 0.0, remaining[runs] - wait)
        self.location[runs] += np.where(remaining[runs] > 0, side, 0)

    def _move(self, runs: Array, remaining: Array) -> None:
        """Solutions inside a piece go on to the end of the step or to the kink they meet before."""
        if not runs.size:
            return
        piece, time, start = self.location[runs] // 2, remaining[runs], self.state[runs]
        low, high, damping = self.bounds[piece], self.bounds[piece + 1], self.damping[runs]
        end = self._rk4(start, time, low, high, damping)
        side = np.where(end[:, 0] > high, 1, np.where(end[:, 0] < low, -1, 0))
        hit = np.flatnonzero(side)
        if hit.size:
            inside = start[hit], low[hit], high[hit], damping[hit]
            time[hit] = self._crossing_time(*inside, time[hit])
            end[hit] = self._rk4(inside[0], time[hit], *inside[1:])
            end[hit, 0] = np.where(side[hit] > 0, high[hit], low[hit])
        self.state[runs] = end
        self.location[runs] += side
        remaining[runs] = np.where(side == 0, 0.0, remaining[runs] - time)

    def _crossing_time(self, start: Array, low: Array, high: Array, damping: Array, after: Array) -> Array:
        """A time at which the step leaves [low, high], to rounding; it is outside at ``after``."""
        before = np.zeros_like(after)
        for _ in range(BISECTIONS):
            middle = (before + after) / 2
            w = self._rk4(start, middle, low, high, damping)[:, 0]
            outside = (w > high) | (w < low)
            before, after = np.where(outside, before, middle), np.where(outside, middle, after)
        return after

    def _rk4(self, start: Array, time: Array, low: Array, high: Array, damping: Array) -> Array:
        def rate(state: Array) -> Array:
            w = np.clip(state[:, 0], low, high)
            slope = np.where(w < high, self.field.right(w), self.field.left(w))
            if not self.second_order:
                return -slope[:, None]
            return np.stack([state[:, 1], -damping * state[:, 1] - slope], 1)

        h = time[:, None]
        k1 = rate(start)
        k2 = rate(start + h / 2 * k1)
        k3 = rate(start + h / 2 * k2)
        k4 = rate(start + h * k3)
        return start + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
