"""Laws of a noise s with mean 0 and standard deviation 1, drawn from one random word each (CL11 of theory.md).

    gaussian    N(0, 1)
    signs       +-1 with probability 1/2
    uniform     U[-sqrt 3, sqrt 3]
    triangular  symmetric triangular density on [-sqrt 6, sqrt 6]
    mixture     an atom at 0 with probability 1/2, else U[-sqrt 6, sqrt 6]
    finite      `atoms` equidistant points of equal probability
    cantor      sqrt 8 (c - 1/2), c of the Cantor distribution: neither density nor atoms
    skewed      sqrt 3 with probability 1/4, else -1 / sqrt 3: asymmetric, with sigma = sqrt 3 it is +3 or -1
    cauchy      standard Cauchy: no mean, scale 1 instead of a standard deviation

Whose expectation is definable, hence covered by the Sard condition of theory.md 2.4: all but gaussian and cantor.
"""

from __future__ import annotations

import math

import numpy as np

from shb.errors import ConfigurationError, choose
from shb.streams import normal, uniform

DENSITY_HALF_WIDTH = math.sqrt(6)  # of the triangle, and of the mixture's uniform half
CANTOR_DIGITS = 40  # 3^-40 is below half an ulp of 1 in float64


def _signs(words: np.ndarray, atoms: int) -> np.ndarray:
    return 2.0 * (words >> np.uint64(63)) - 1.0


def _skewed(words: np.ndarray, atoms: int) -> np.ndarray:
    return np.where(words >> np.uint64(62) == 0, math.sqrt(3), -1 / math.sqrt(3))


def _triangular(words: np.ndarray, atoms: int) -> np.ndarray:
    u = uniform(words)
    return DENSITY_HALF_WIDTH * np.where(u < 0.5, np.sqrt(2 * u) - 1, 1 - np.sqrt(2 * (1 - u)))


def _mixture(words: np.ndarray, atoms: int) -> np.ndarray:
    u = uniform(words)
    return np.where(u < 0.5, 0.0, DENSITY_HALF_WIDTH * (4 * u - 3))


def _finite(words: np.ndarray, atoms: int) -> np.ndarray:
    return finite_points(atoms)[(uniform(words) * atoms).astype(np.int64)]


def _cantor(words: np.ndarray, atoms: int) -> np.ndarray:
    c = np.zeros(words.shape)
    for digit in range(CANTOR_DIGITS):  # c = sum of 2 bit_i / 3^i, the last digit first
        bit = words >> np.uint64(63 - CANTOR_DIGITS + 1 + digit) & np.uint64(1)
        c = (c + 2.0 * bit) / 3.0
    return math.sqrt(8) * (c - 0.5)


LAWS = {
    "gaussian": lambda words, atoms: normal(words),
    "signs": _signs,
    "uniform": lambda words, atoms: math.sqrt(3) * (2 * uniform(words) - 1),
    "triangular": _triangular,
    "mixture": _mixture,
    "finite": _finite,
    "cantor": _cantor,
    "skewed": _skewed,
    "cauchy": lambda words, atoms: np.tan(math.pi * (uniform(words) - 0.5)),
}


def finite_points(atoms: int) -> np.ndarray:
    """The points of the law "finite", [atoms], increasing."""
    return (2.0 * np.arange(atoms) - (atoms - 1)) / math.sqrt((atoms * atoms - 1) / 3)


class Noise:
    """sigma times a standardised noise.

    Args:
        law: one of `LAWS`.
        sigma: standard deviation, >= 0 (cauchy: scale).
        atoms: number of points of the law finite, >= 2.

    Raises:
        ConfigurationError: an unknown law, or a number out of range.

    Example:
        >>> Noise("finite", sigma=1.0, atoms=2).draw(np.array([0, 2**63], np.uint64)).tolist()
        [-1.0, 1.0]
    """

    def __init__(self, law: str, sigma: float, atoms: int) -> None:
        self.law = choose("problem.noise", law, LAWS)
        if not 0 <= sigma < math.inf:
            raise ConfigurationError("problem.sigma", sigma, "a finite number >= 0")
        if not (2 <= atoms < math.inf and atoms == int(atoms)):
            raise ConfigurationError("problem.atoms", atoms, "a whole number >= 2")
        self.sigma, self.atoms = float(sigma), int(atoms)

    @property
    def variance(self) -> float:
        """Of one coordinate; inf for cauchy."""
        return math.inf if self.law == "cauchy" and self.sigma > 0 else self.sigma**2

    def draw(self, words: np.ndarray) -> np.ndarray:
        """Words (`shb.streams.words`) of any shape -> as many independent float64 numbers."""
        return self.sigma * LAWS[self.law](words, self.atoms)
