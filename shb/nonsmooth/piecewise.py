"""Set-valued gradient fields with kinks: a function of one variable, and a maximum of affine functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError
from shb.nonsmooth.min_norm import min_norm_interval

Array = np.ndarray


@dataclass(frozen=True)
class PiecewiseField:
    """D_F of a function F of one variable that is C^1 between finitely many kinks (theory.md section 3).

    D_F(w) = {F'(w)} between kinks; at a kink the Clarke subdifferential conv{F'(w-), F'(w+)}, or the larger
    interval that ``conservative`` gives.

    Args:
        kinks: points where F' jumps, [q], strictly increasing, may be empty.
        left, right: F'(w-) and F'(w+) elementwise, [m] -> [m]; equal between kinks.
        conservative: point -> (low, high), the conservative set there (E1: {0: (0, 2)}). The point need not be a
            kink. The interval has to contain the Clarke subdifferential, as that of every conservative gradient does.

    Raises:
        ConfigurationError: kinks that do not increase, or a conservative set without the Clarke subdifferential.

    Example:
        >>> field = PiecewiseField([], lambda w: 1 + w, lambda w: 1 + w, {0.0: (0.0, 2.0)})  # E1
        >>> [ends.tolist() for ends in field.interval([-1.0, 0.0])], field.minimal([-1.0, 0.0, 1.0]).tolist()
        ([[0.0, 0.0], [0.0, 2.0]], [0.0, 0.0, 2.0])
    """

    kinks: Sequence[float] | Array
    left: Callable[[Array], Array]
    right: Callable[[Array], Array]
    conservative: Mapping[float, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinks = np.asarray(self.kinks, np.float64)
        if kinks.ndim != 1 or not np.all(np.isfinite(kinks)) or not np.all(np.diff(kinks) > 0):
            raise ConfigurationError("kinks", self.kinks, "strictly increasing finite numbers")
        for point, (low, high) in self.conservative.items():
            at = np.array([float(point)])
            slopes = float(self.left(at)[0]), float(self.right(at)[0])
            if not (low <= min(slopes) and max(slopes) <= high):
                allowed = f"an interval that contains the Clarke subdifferential [{min(slopes)}, {max(slopes)}]"
                raise ConfigurationError(f"conservative set at {point}", (low, high), allowed)

    @property
    def special(self) -> Array:
        """Kinks and points with a conservative set of their own, increasing."""
        return np.union1d(np.asarray(self.kinks, np.float64), np.array(list(self.conservative), np.float64))

    def interval(self, w: ArrayLike) -> tuple[Array, Array]:
        """The ends of D_F(w), elementwise: two arrays shaped like w."""
        w = np.asarray(w, np.float64)
        left, right = self.left(w), self.right(w)
        low, high = np.minimum(left, right), np.maximum(left, right)
        for point, (lowest, highest) in self.conservative.items():
            low, high = np.where(w == point, lowest, low), np.where(w == point, highest, high)
        return low, high

    def minimal(self, w: ArrayLike) -> Array:
        """The element of D_F(w) nearest to 0, elementwise, shaped like w."""
        return min_norm_interval(*self.interval(w))


class Pieces(Protocol):
    """A gradient field on R^p by the gradients of its pieces."""

    def pieces(self, w: Array, radius: float) -> Array:
        """Gradients [m, p], m >= 1, of the pieces that are active within ``radius`` of ``w``, [p]."""


@dataclass(frozen=True, init=False)
class MaxAffine:
    """F(w) = max_i (slopes_i . w + offsets_i).

    `pieces` returns slope i where F(w) - f_i(w) <= radius |slope_i - slope of the maximal piece|. That is every piece
    maximal within the radius, and perhaps some that others hide there, which are still (2 L radius)-subgradients at w,
    L the largest norm of a slope; the error bound of `solve_first_order` needs no more.

    Args:
        slopes: [m, p], m >= 1.
        offsets: [m].

    Raises:
        ConfigurationError: other shapes.

    Example:
        >>> absolute = MaxAffine([[1.0], [-1.0]], [0.0, 0.0])
        >>> absolute([[2.0], [-3.0]]).tolist(), absolute.pieces(np.array([0.5]), radius=0.25).tolist()
        ([2.0, 3.0], [[1.0]])
    """

    slopes: Array
    offsets: Array

    def __init__(self, slopes: ArrayLike, offsets: ArrayLike) -> None:
        slopes, offsets = np.asarray(slopes, np.float64), np.asarray(offsets, np.float64)
        if slopes.ndim != 2 or slopes.shape[:1] != offsets.shape or not len(slopes):
            raise ConfigurationError("slopes, offsets", (slopes.shape, offsets.shape), "shapes [m, p] and [m], m >= 1")
        object.__setattr__(self, "slopes", slopes)
        object.__setattr__(self, "offsets", offsets)

    def __call__(self, w: ArrayLike) -> Array:
        """F(w): [..., p] -> [...]."""
        return (np.asarray(w, np.float64) @ self.slopes.T + self.offsets).max(-1)

    def pieces(self, w: Array, radius: float) -> Array:
        """Slopes [m, p] of the affine functions that are the largest somewhere within ``radius`` of ``w``, [p]."""
        values = self.slopes @ w + self.offsets
        top = values.argmax()
        reach = radius * np.linalg.norm(self.slopes - self.slopes[top], axis=1)
        return self.slopes[values[top] - values <= reach]
