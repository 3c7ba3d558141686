"""Minimum-norm element of a convex hull: dist(0, conv{p_1..p_m}) with a certificate.

    x* = argmin { |x|^2 : x = sum_i weights_i p_i,  weights >= 0,  sum weights = 1 }
    x = x*  iff  <x, x - p_i> <= 0 for all i;   in general  |x - x*|^2 <= gap = max_i <x, x - p_i>

Wolfe's algorithm (P. Wolfe, Finding the nearest point in a polytope, Math. Programming 11, 1976), run on many
polytopes at once. It is exact in finitely many steps; here up to rounding (gap of the order of 1e-15 max_i |p_i|^2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from shb.errors import ConfigurationError

EPS = np.finfo(np.float64).eps
LARGEST = 1e150
PATIENCE = 4  # corrals that improve neither |x| nor the gap before rounding is taken to be reached


class MinNorm(NamedTuple):
    """Minimum-norm element of a hull; with a leading axis [n] when found for n hulls.

    Attributes:
        point: [p], x = weights @ points.
        weights: [m], nonnegative, sum 1.
        gap: max_i <x, x - p_i>, squared units of the points, an upper bound of |x - x*|^2.
    """

    point: np.ndarray
    weights: np.ndarray
    gap: np.ndarray

    @property
    def norm(self) -> np.ndarray:
        """|x|, the distance from 0 to the hull: [] or [n]."""
        return np.linalg.norm(self.point, axis=-1)


def as_float64(values: np.ndarray | Tensor) -> np.ndarray:
    """`values` as a float64 numpy array on the CPU."""
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float64)


def min_norm_interval(low: np.ndarray | Tensor, high: np.ndarray | Tensor) -> np.ndarray:
    """Element of [low, high] nearest to 0, elementwise: closed form for p = 1.

    Args:
        low, high: any shapes that broadcast, numpy or torch.

    Returns:
        float64 of their shape; NaN where an end is NaN.

    Raises:
        ConfigurationError: low > high somewhere.

    Example:
        >>> min_norm_interval(np.array([-1.0, 0.5]), np.array([2.0, 3.0])).tolist()
        [0.0, 0.5]
    """
    low, high = as_float64(low), as_float64(high)
    if (low > high).any():
        low, high = (ends[low > high][0] for ends in np.broadcast_arrays(low, high))
        raise ConfigurationError("interval", f"[{low}, {high}]", "low <= high")
    return np.clip(0.0, low, high)


def min_norm_point(points: np.ndarray | Tensor) -> MinNorm:
    """Minimum-norm element of the hull of the rows of `points` [m, p]: one hull of `min_norm_points`.

    Raises:
        ConfigurationError: another shape, or an empty hull.

    Example:
        >>> found = min_norm_point(np.array([[2.0, 0.0], [0.0, 2.0]]))
        >>> found.point.round(6).tolist(), found.weights.round(6).tolist(), found.norm.round(6).item()
        ([1.0, 1.0], [0.5, 0.5], 1.414214)
    """
    points = as_float64(points)
    if points.ndim != 2:
        raise ConfigurationError("points", f"shape {list(points.shape)}", "shape [m, p]")
    point, weights, gap = min_norm_points(points[None])
    return MinNorm(point[0], weights[0], gap[0])


def min_norm_points(points: np.ndarray | Tensor) -> MinNorm:
    """Minimum-norm elements of the hulls of the rows of points[i], i < n.

    Args:
        points: [n, m, p]; m up to about 100, p up to about 1e5 (work p m^2 per hull). A hull within 1e-140 of 0
            counts as 0 (squares underflow): then any of its elements may be returned.

    Returns:
        point [n, p], weights [n, m], gap [n]; NaN for a hull with NaN or a number beyond 1e150, whose square would
        overflow (a diverged member must not look stationary).

    Raises:
        ConfigurationError: another shape, or an empty hull.
    """
    points = as_float64(points)
    if points.ndim != 3 or points.shape[1] == 0 or points.shape[2] == 0:
        raise ConfigurationError("points", f"shape {list(points.shape)}", "shape [n, m, p] with m, p >= 1")
    weights = np.full(points.shape[:2], np.nan)
    usable = np.abs(points).max(axis=(1, 2)) <= LARGEST
    weights[usable] = _wolfe(_coordinates(points if usable.all() else points[usable]))
    point = (weights[:, None, :] @ points)[:, 0]
    inner = (points @ point[:, :, None])[:, :, 0]
    return MinNorm(point, weights, np.maximum((point * point).sum(1) - inner.min(1), 0.0))


def _coordinates(points: np.ndarray) -> np.ndarray:
    """The points [n, m, p] in an orthonormal basis of their span, [n, m, min(m, p)].

    QR rather than the Gram matrix: nearly equal gradients (small radius) would lose half their digits there.
    """
    if points.shape[2] <= points.shape[1]:
        return points
    triangle = np.asarray(
        np.linalg.qr(points.transpose(0, 2, 1), mode="r")
    )  # numpy's types have QRResult for every mode
    return triangle.transpose(0, 2, 1)


def _wolfe(points: np.ndarray) -> np.ndarray:
    """Weights [n, m] of the minimum-norm elements for points [n, m, q].

    A corral is a set of at most q + 1 affinely independent points, kept in slots [n, k]. Per round, each hull either
    moves towards the minimum of its corral's affine hull and drops the points whose weight reaches 0 (minor cycle), or
    has that minimum inside the corral and adds the point that violates <x, x - p> <= 0 most (major cycle).
    """
    n, m, q = points.shape
    k = min(m, q + 1)
    if n == 0 or m == 1:
        return np.ones((n, m))
    result = np.zeros((n, m))
    squares = np.einsum("nmq,nmq->nm", points, points)
    hull = np.arange(n)  # those not yet finished
    slots, weights = np.zeros((n, k), dtype=np.intp), np.zeros((n, k))
    slots[:, 0], weights[:, 0] = squares.argmin(1), 1.0
    active = weights > 0
    smallest, least_gap, reach = np.full(n, np.inf), np.full(n, np.inf), np.sqrt(squares.max(1))
    patience = np.full(n, PATIENCE)
    for _ in range(50 + 20 * m):  # about m rounds are usual; should they not do, the gap says so
        row = np.arange(len(hull))[:, None]
        order = np.argsort(-(weights + active), axis=1, kind="stable")  # heaviest first, active before free
        slots, weights, active = slots[row, order], weights[row, order], active[row, order]
        corral = points[row, slots]
        x, target = _affine_minimum(corral, active)
        blocked = active & (target <= 0)
        ratio = np.where(blocked, weights / np.maximum(weights - target, np.finfo(np.float64).tiny), 1.0)
        step = ratio.min(1, keepdims=True)
        active &= ~(blocked & (ratio <= step))
        weights = np.where(active, np.maximum(weights + step * (target - weights), 0.0), 0.0)
        inside = ~blocked.any(1)
        if not inside.any():
            continue
        square = (x * x).sum(1)
        inner = (points @ x[:, :, None])[:, :, 0]
        new = inner.argmin(1)
        gap = square - inner[row[:, 0], new]
        # |x| falls with every corral, in exact arithmetic; where its change is below rounding, the gap decides
        rounding = 8 * EPS * reach * np.sqrt(square)
        better = inside & ((square < smallest) | ((square <= smallest + rounding) & (gap < least_gap)))
        smallest[better], least_gap[better] = square[better], gap[better]
        patience -= inside & ~better
        result[hull[better]] = 0.0
        for slot in range(k):
            result[hull[better], slots[better, slot]] += weights[better, slot]
        optimal = (gap <= rounding) | (square <= (EPS * reach) ** 2)
        stuck = active.all(1) | (active & (slots == new[:, None])).any(1)
        major = inside & (patience > 0) & ~optimal & ~stuck
        free = active.sum(1)
        slots[major, free[major]], active[major, free[major]] = new[major], True
        keep = major | ~inside
        if not keep.any():
            break
        if not keep.all():
            points, hull, slots, weights, active = points[keep], hull[keep], slots[keep], weights[keep], active[keep]
            smallest, least_gap, reach, patience = smallest[keep], least_gap[keep], reach[keep], patience[keep]
    return result / result.sum(1, keepdims=True)


def _affine_minimum(corral: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-norm element [n, q] of the affine hull of the active points of corral [n, k, q], and its weights [n, k].

    Least squares in the differences to the first point; active points come first. A point that depends on those
    before it gets weight 0. x is not weights @ corral, whose rounding would hide the direction of a small x.
    """
    base = corral[:, 0]
    difference = np.where(active[:, 1:, None], corral[:, 1:] - base[:, None], 0.0)
    basis, triangle = np.linalg.qr(difference.transpose(0, 2, 1))
    size = np.sqrt((difference * difference).sum(2))
    dependent = np.abs(np.einsum("nii->ni", triangle)) <= 4 * EPS * size
    basis = np.where(dependent[:, None, :], 0.0, basis)
    right = -(base[:, None, :] @ basis)[:, 0]
    triangle = np.where(dependent[:, :, None], np.eye(size.shape[1]), triangle)
    move = np.linalg.solve(triangle, right[:, :, None])[:, :, 0]
    x = base[:, None]
    for _ in range(2):  # the second projection makes x orthogonal to rounding of |x|, not of |base|
        x = x - (x @ basis) @ basis.transpose(0, 2, 1)
    return x[:, 0], np.concatenate([1.0 - move.sum(1, keepdims=True), move], axis=1)
