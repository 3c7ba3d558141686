"""Lyapunov functions of the two inclusions: F (regime R1) and F + |y|^2/2 (regime R2; theory.md sections 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError

Array = np.ndarray
Objective = Callable[[Array], Array]


def lyapunov_first(objective: Objective, path: ArrayLike) -> Array:
    """F along a path.

    Args:
        objective: F, points of the path's shape -> one value per point, [K, n].
        path: [K, n] (one variable) or [K, n, p].

    Returns:
        float64 [K, n].

    Raises:
        ConfigurationError: the objective returns values of another shape.
    """
    path = np.asarray(path, np.float64)
    values = np.asarray(objective(path), np.float64)
    if values.shape not in (path.shape, path.shape[:-1]):
        raise ConfigurationError("objective", f"values of shape {values.shape}", f"one per point of {path.shape}")
    return values


def lyapunov_second(objective: Objective, path: ArrayLike, velocity: ArrayLike) -> Array:
    """F(w) + |y|^2/2 along a path of (w, y): [K, n].

    Args:
        objective, path: as in `lyapunov_first`.
        velocity: y, shaped like path; for iterates `iterate_velocity(path, gamma)` belongs to path[1:].

    Raises:
        ConfigurationError: velocity or values of the objective have another shape.

    Example:
        >>> lyapunov_second(lambda w: w * w / 2, [[1.0], [0.0]], [[0.0], [1.0]]).tolist()  # conserved without friction
        [[0.5], [0.5]]
    """
    path, velocity = np.asarray(path, np.float64), np.asarray(velocity, np.float64)
    if path.shape != velocity.shape:
        raise ConfigurationError("velocity", f"shape {velocity.shape}", f"that of the path, {path.shape}")
    potential = lyapunov_first(objective, path)
    square = velocity**2
    return potential + (square if square.shape == potential.shape else square.sum(-1)) / 2


def iterate_velocity(path: ArrayLike, gamma: ArrayLike) -> Array:
    """y_{k+1} = (w_{k+1} - w_k) / gamma_k, gamma_k = sqrt(alpha_k) (theory.md section 1, regimes).

    Args:
        path: w_0, ..., w_K, [K + 1, ...].
        gamma: [K] or scalar, > 0.

    Returns:
        y_1, ..., y_K: [K, ...], the velocities at path[1:].

    Raises:
        ConfigurationError: a gamma <= 0, or a wrong shape.
    """
    path, gamma = np.asarray(path, np.float64), np.asarray(gamma, np.float64)
    if gamma.shape not in ((), (len(path) - 1,)) or not np.all(gamma > 0):
        raise ConfigurationError("gamma", f"shape {gamma.shape}", f"numbers > 0, a scalar or [{len(path) - 1}]")
    return np.diff(path, axis=0) / gamma.reshape(-1, *(1,) * (path.ndim - 1))
