"""The least-squares slope, and that of a power law."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def slopes(y: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Of every row of `y` [..., J] against `x` [J], the least-squares slope: [...], in units of y per unit of x."""
    centred = np.asarray(x, np.float64)
    centred = centred - centred.mean()
    return np.asarray(y, np.float64) @ centred / (centred @ centred)


def exponents(values: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Of every row of `values` > 0 [..., J], the slope of its logarithm against log `x` [J]: [...], dimensionless."""
    return slopes(np.log(np.asarray(values, np.float64)), np.log(np.asarray(x, np.float64)))
