"""How far a point is from Clarke critical: Goldstein's epsilon-subdifferential and its smallest element.

    d_eps F(w) = conv{ dF(y) : |y - w| <= eps },      m_eps(w) = min{ |g| : g in conv{grad F(w + u_1..u_m)} }

(theory.md section 5.0, "Stationarity measure"; A. Goldstein, Optimization of Lipschitz continuous functions, Math.
Programming 13, 1977; sampled as in Burke-Lewis-Overton, A robust gradient sampling algorithm, SIAM J. Optim. 15, 2005.)

Why not the norm |v| of what the oracle returns at w: it is wrong in both directions. At the artificial point 0 of E1
backpropagation returns v = 0 although the only Clarke subgradient is 1 (m_eps is about 1). Near the minimiser of |w|,
and on [-1, 1] for each sample of E7 with s = +-1, |v| is 1 however near, although m_eps is 0 (at E7 everywhere in
the critical set, at |w| as soon as the ball holds the kink).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.nonsmooth.min_norm import as_float64, min_norm_interval, min_norm_points
from shb.streams import stream

MOST_SAMPLES = 50  # of a network: points, gradients and their factorisation are float64 [samples, p] each
ROWS = 2**22  # numbers handed to `gradient` at once


def interval_distance(low: np.ndarray | Tensor, high: np.ndarray | Tensor) -> np.ndarray:
    """dist(0, [low, high]), elementwise: exact for 1-D problems, where d_eps F(w) is an interval.

    Args:
        low, high: any shapes that broadcast, numpy or torch.

    Returns:
        float64 of their shape.

    Raises:
        ConfigurationError: low > high somewhere.
    """
    return np.abs(min_norm_interval(low, high))


def active_piece_hull(pieces: np.ndarray | Tensor, active: np.ndarray | Tensor | None = None) -> np.ndarray:
    """dist(0, conv{gradients of the active pieces}), exact.

    For F piecewise linear this is dist(0, d_eps F(w)) if `active` marks the pieces whose full-dimensional region meets
    the closed eps-ball around w; for F piecewise smooth it is dist(0, dF(w)) with the gradients at w and eps = 0.
    Pieces of F itself: with pieces of the samples f(., s) it would measure D_F, whose zeros may be artificial.

    Args:
        pieces: gradients [m, p], or [..., m, p] for many points at once.
        active: bool [..., m], broadcast against pieces; default all.

    Returns:
        The distances, float64 [...].

    Raises:
        ConfigurationError: a point without an active piece.

    Example:
        >>> pieces = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
        >>> active_piece_hull(pieces, np.array([[True, True, False], [True, True, True]])).round(6).tolist()
        [1.414214, 0.0]
    """
    pieces = as_float64(pieces)
    if active is not None:
        active = as_float64(active) != 0
        if not active.any(-1).all():
            raise ConfigurationError("active", "no piece", "at least one active piece for every point")
        shape = np.broadcast_shapes(pieces.shape[:-1], active.shape)
        pieces, active = np.broadcast_to(pieces, (*shape, pieces.shape[-1])), np.broadcast_to(active, shape)
        # a repeated point leaves a hull unchanged: inactive pieces become copies of the first active one
        first = np.take_along_axis(pieces, active.argmax(-1)[..., None, None], axis=-2)
        pieces = np.where(active[..., None], pieces, first)
    return min_norm_points(pieces.reshape(-1, *pieces.shape[-2:])).norm.reshape(pieces.shape[:-2])


def goldstein(
    gradient: Callable[[Any], np.ndarray | Tensor],
    w: np.ndarray | Tensor,
    radius: float,
    samples: int,
    seed: int,
    *,
    centre: bool = False,
) -> float:
    """m_eps(w), an upper bound of dist(0, d_eps F(w)): `samples` gradients are sampled, not all of the ball.

    It never increases with `samples` (the first ones stay) and becomes tight. At a smooth minimum it is at most
    radius * |Hessian|. At kinks it is loose if samples < p + 1, fewer points than a simplex has: at the minimiser of
    sum_i |w_i| it is about sqrt(p / samples) for large p, although the distance is 0.

    Args:
        gradient: rows of points [m, p] -> full-batch mean gradients [m, p]; gets float64 points of w's kind.
        w: [p], numpy or torch.
        radius: eps > 0, in units of w; well above the rounding of what `gradient` computes with, so that the
            sampled points avoid the null set where backpropagation is artificial.
        samples: m >= 1 points, independent and uniform in the eps-ball, from the stream "goldstein" of `seed`.
        centre: also use the gradient at w itself; off by default, because there the oracle may be artificial.

    Returns:
        |x| of the minimum-norm element x; NaN if a gradient is not finite.

    Raises:
        ConfigurationError: a radius or a number of samples that is not above 0, a w that is no vector, gradients of
            another shape than the points.

    Example:
        >>> goldstein(np.sign, np.array([0.5]), radius=0.25, samples=8, seed=0)  # |w| far from its kink
        1.0
        >>> goldstein(np.sign, np.array([0.125]), radius=0.25, samples=8, seed=0)  # and near it
        0.0
    """
    return float(goldstein_batch(gradient, w[None], radius, samples, [seed], centre=centre)[0])


def goldstein_batch(
    gradient: Callable[[Any], np.ndarray | Tensor],
    w: np.ndarray | Tensor,
    radius: float,
    samples: int,
    seeds: Sequence[int],
    *,
    centre: bool = False,
) -> np.ndarray:
    """m_eps of many points, one seed each; entry i is goldstein(gradient, w[i], radius, samples, seeds[i]).

    Points with seeds of their own draw independently, so counts over members are binomial. Exact for the sampled
    gradients in any dimension (see `min_norm_points`).

    Args:
        gradient: as in `goldstein`; gets [n * m, p] rows at once (in blocks).
        w: [n, p], numpy or torch.
        radius, samples, centre: as in `goldstein`.
        seeds: n of them.

    Returns:
        float64 [n].

    Raises:
        ConfigurationError: as `goldstein`, or another number of seeds.
    """
    _check(radius, samples)
    if w.ndim != 2 or len(seeds) != len(w):
        raise ConfigurationError("w", f"shape {list(w.shape)} with {len(seeds)} seeds", "shape [n, p] with n seeds")
    n, p = w.shape
    count = samples + centre
    norms = np.empty(n)
    block = max(1, ROWS // (count * p))
    for start in range(0, n, block):
        part = slice(start, min(start + block, n))
        offsets = np.stack([_ball(radius, samples, p, seed, centre) for seed in seeds[part]])
        points = (as_float64(w[part])[:, None] + offsets).reshape(-1, p)
        rows = torch.from_numpy(points).to(w.device) if isinstance(w, Tensor) else points
        gradients = as_float64(gradient(rows))
        if gradients.shape != points.shape:
            raise ConfigurationError("gradient", f"shape {list(gradients.shape)}", f"shape {list(points.shape)}")
        gradients = gradients.reshape(-1, count, p)
        if p == 1:
            finite = np.isfinite(gradients).all(axis=(1, 2))
            norms[part] = np.where(finite, interval_distance(gradients.min((1, 2)), gradients.max((1, 2))), np.nan)
        else:
            norms[part] = min_norm_points(gradients).norm
    return norms


def goldstein_members(
    gradient: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    params: Mapping[str, Tensor],
    radius: float,
    samples: int,
    seed: int,
    *,
    centre: bool = False,
) -> float:
    """m_eps of a network: `goldstein` for the parameter dictionary of one member.

    The sampled points are handed to `gradient` one after another, as dictionaries with the shapes, dtypes and devices
    of `params`; convert a float32 member to float64 first, or choose a radius far above its rounding. |u_i| <= radius
    is the Euclidean norm over all parameters, hence about radius / sqrt(p) for each of them.

    Args:
        gradient: params -> full-batch mean gradients, dictionaries with the same keys and shapes.
        params: name -> tensor of any shape.
        samples: 1 to 50 (memory: float64 [samples, p] a few times).
        radius, seed, centre: as in `goldstein`.

    Raises:
        ConfigurationError: as `goldstein`, or more than 50 samples.
    """
    _check(radius, samples)
    if samples > MOST_SAMPLES:
        raise ConfigurationError("samples", samples, f"at most {MOST_SAMPLES} for a network")
    sizes = [tensor.numel() for tensor in params.values()]

    def shaped(point: np.ndarray) -> dict[str, Tensor]:
        parts = torch.from_numpy(point).split(sizes)
        return {name: part.view(like.shape).to(like) for (name, like), part in zip(params.items(), parts)}

    def rows(points: np.ndarray) -> np.ndarray:
        return np.stack([_flat(gradient(shaped(point)), params) for point in points])

    return goldstein(rows, _flat(params, params), radius, samples, seed, centre=centre)


def _flat(tensors: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> np.ndarray:
    """The tensors as one float64 vector [p], in the order of the keys of `order`."""
    return np.concatenate([as_float64(tensors[name]).reshape(-1) for name in order])


def _ball(radius: float, samples: int, p: int, seed: int, centre: bool) -> np.ndarray:
    """Points uniform in the ball of `radius` around 0, [samples, p]; with `centre`, 0 comes first."""
    # two blocks of the stream: more samples keep the first ones, so that m_eps never increases with them
    lengths = radius * stream(seed, "goldstein", 0).random(samples) ** (1.0 / p)
    directions = stream(seed, "goldstein", 1).standard_normal((samples, p))
    points = directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]
    return np.concatenate([np.zeros((1, p)), points]) if centre else points


def _check(radius: float, samples: int) -> None:
    if not 0 < radius < np.inf:
        raise ConfigurationError("radius", radius, "a finite number above 0")
    try:
        enough = operator.index(samples) >= 1
    except TypeError:
        enough = False
    if not enough:
        raise ConfigurationError("samples", samples, "an integer of at least 1")
