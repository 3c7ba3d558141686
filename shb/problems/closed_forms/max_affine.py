"""A maximum of affine functions in the plane, with noise on the gradient: F(w) = max_i (a_i . w + b_i).

Convex, so that Clarke critical points are the minimisers and none is artificial; they form a polygon, perhaps a point.
dF and Goldstein's subdifferential are hulls of the a_i (theory.md 5.0, active-piece hull). At a tie torch divides the
gradient evenly, an element of dF.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.nonsmooth import MaxAffine, active_piece_hull
from shb.problems.closed_forms.additive import AdditiveNoise
from shb.problems.closed_forms.closed_form import products

MOST_PIECES = 16  # vertices are found among all triples of pieces
SLOPES = ((1.0, 0.2), (-0.6, 0.9), (-0.3, -1.0), (0.5, -0.4), (-0.9, 0.1))
OFFSETS = (0.0, 0.2, -0.1, 0.1, 0.3)


class MaxAffinePlane(AdditiveNoise):
    """f(w, s) = F(w) + sigma s.w.

    Args:
        slopes: a_i, [m, 2], m >= 3, distinct, not all in one half plane: else the minimisers are unbounded.
        offsets: b_i, [m].
        noise, sigma, atoms: as for every problem with additive noise (`Quadratic`).
        options: as in `ClosedForm`.

    Attributes:
        minimisers: corners of the polygon of minimisers, float64 [n, 2].

    Raises:
        ConfigurationError: slopes or offsets that cannot be used, or as `Quadratic`.
    """

    name, size = "max_affine", 2

    def __init__(
        self,
        *,
        slopes: Sequence[Sequence[float]] = SLOPES,
        offsets: Sequence[float] = OFFSETS,
        noise: str = "gaussian",
        sigma: float = 1.0,
        atoms: int = 2,
        **options: Any,
    ) -> None:
        self._a, self._b = _checked(slopes, offsets)
        super().__init__(noise=noise, sigma=sigma, atoms=atoms, **options)
        self.slopes, self.offsets = (torch.from_numpy(x).to(self.device, self.dtype) for x in (self._a, self._b))
        self._corners, levels = _corners(self._a, self._b)
        self.minimum = float(levels.min())
        scale = max(1.0, np.abs(self._b).max(), abs(self.minimum))
        self.minimisers = torch.from_numpy(self._corners[levels <= self.minimum + 1e-12 * scale])

    def objective(self, w: Tensor) -> Tensor:
        return self._values(w).amax(-1)

    def _values(self, w: Tensor) -> Tensor:
        return products(w, self.slopes.to(w)) + self.offsets.to(w)

    def clarke_distance(self, w: Tensor) -> Tensor:
        corners = self.minimisers.to(w)
        pairs = list(combinations(range(len(corners)), 2))
        if not pairs:
            return (w - corners[0]).norm(dim=-1)
        first, last = (corners[[pair[end] for pair in pairs]] for end in (0, 1))  # the edges are among the pairs
        edge, offset = last - first, w[..., None, :] - first
        along = ((offset * edge).sum(-1) / (edge * edge).sum(-1)).clamp(0, 1)
        distance = (offset - along[..., None] * edge).norm(dim=-1).amin(-1)
        if self._a.any(1).all():
            return distance
        values = self._values(w)  # the polygon has interior points only where a constant piece is maximal
        return torch.where(values[..., int(self._a.any(1).argmin())] >= values.amax(-1), 0.0, distance)

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        """Exact: hull of the a_i whose region meets the closed ball of `radius` around `w` [..., 2]: float64 [...].

        Those are the elements of dF in the ball.
        """
        points = w.detach().double().cpu().numpy()
        active = np.stack([self._region_distance(points, i) <= radius for i in range(len(self._a))], -1)
        return torch.from_numpy(active_piece_hull(self._a, active)).to(w.device)

    def field(self, *, conservative: bool = False) -> MaxAffine:
        """dF, with nothing added by `conservative`."""
        return MaxAffine(self._a, self._b)

    def _region_distance(self, w: np.ndarray, i: int) -> np.ndarray:
        """Distance to {a_i . w + b_i = F(w)}: the nearest point is w, its foot on a border line, or a corner."""
        others = [j for j in range(len(self._a)) if j != i]
        normals, levels = self._a[others] - self._a[i], self._b[i] - self._b[others]  # region: normals . w <= levels
        excess = w @ normals.T - levels
        feet = w[..., None, :] - (excess / (normals * normals).sum(1))[..., None] * normals
        candidates = np.concatenate(
            [w[..., None, :], feet, np.broadcast_to(self._corners, (*w.shape[:-1], *self._corners.shape))], -2
        )
        slack = 1e-12 * np.maximum(1.0, np.abs(candidates).max(-1))
        inside = (candidates @ normals.T - levels).max(-1) <= slack
        return np.where(inside, np.linalg.norm(candidates - w[..., None, :], axis=-1), np.inf).min(-1)


def _checked(slopes: Sequence[Sequence[float]], offsets: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    try:
        a, b = np.array(slopes, np.float64), np.array(offsets, np.float64)
    except (TypeError, ValueError):
        a, b = np.empty(0), np.empty(0)
    if a.ndim != 2 or a.shape[1] != 2 or not 3 <= len(a) <= MOST_PIECES or not np.isfinite(a).all():
        raise ConfigurationError("problem.slopes", slopes, f"3 to {MOST_PIECES} pairs of finite numbers")
    if b.shape != (len(a),) or not np.isfinite(b).all():
        raise ConfigurationError("problem.offsets", offsets, f"{len(a)} finite numbers, one for each slope")
    if len(np.unique(a, axis=0)) < len(a):
        raise ConfigurationError("problem.slopes", slopes, "distinct slopes: of equal ones one piece counts")
    angles = np.sort(np.arctan2(a[:, 1], a[:, 0])[np.any(a != 0, axis=1)])
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    if gaps.max() >= np.pi - 1e-9:
        raise ConfigurationError("problem.slopes", slopes, "slopes around 0, not in one half plane: bounded minimisers")
    return a, b


def _corners(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points where three pieces are maximal, [n, 2], and F there, [n]."""
    found: list[np.ndarray] = []
    for triple in map(list, combinations(range(len(a)), 3)):
        system = np.column_stack([a[triple], -np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-12 * max(1.0, np.abs(a).max()) ** 2:
            continue
        corner = np.linalg.solve(system, -b[triple])  # (w, F)
        if (a @ corner[:2] + b).max() <= corner[2] + 1e-12 * max(1.0, np.abs(corner).max()):
            found.append(corner)
    corners = np.array(found)
    corners = corners[np.unique(np.round(corners, 11), axis=0, return_index=True)[1]]
    return corners[:, :2], corners[:, 2]
