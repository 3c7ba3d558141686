"""E15: a Lipschitz function of which an oracle of Clarke subgradients finds no critical point.

In the spirit of Daniilidis and Drusvyatskiy (2020). psi: R -> R has psi' = 2 on a set A and psi' = -2 off it, almost
everywhere, and both sets have positive measure in every interval; so d psi(x) = [-2, 2] at every x. With x = theta -
log r,

    F(w) = r^2 (1/2 + psi(x)),   dF(w) = {r (1 + 2 psi - c) e_r + r c e_theta : c in [-2, 2]}  (r > 0)

F is locally Lipschitz, F >= r^2 / 10, dist(0, dF(w)) = r (1 + 2 psi) / sqrt 2 > 0 off 0: the only critical point is the
minimum 0. Yet c = 1 + 2 psi gives the Clarke subgradient v(w) = (1 + 2 psi(x)) J w, which turns and never descends. F
is not path differentiable, so that dF is not conservative (A2 fails).

The set A. Write the fractional part of 16 x / (2 pi) in bits: one bit, then blocks of 2, 3, 4, ... bits. The sign is
that of the last block whose bits are all 1 (+) or all 0 (-); without such a block, + for a first bit 0 and - for 1.
Such a block exists infinitely often with probability 0 only, as block n is one with probability 2^-n, and in every
interval either sign has the last word on a set of positive measure. The mean of the sign over a cell of n blocks is
(present sign) prod_{m > n} (1 - 2^-m), from which psi is computed, exactly but for rounding: 9 blocks are 55 bits.

levels=0 leaves the first bit only: a zigzag, tame, with dF(w) a singleton off its kinks. oracle=gradient is grad F,
which exists almost everywhere (c = +-2), at the resolution of the floating-point numbers. The sign is read from the
last bits, which only float64 has: in a shorter type the missing ones are blocks of 0, and the sign is - everywhere.
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm
from shb.problems.problem import Params

SLOPE = 2.0  # d psi = [-SLOPE, SLOPE]
CELLS = 16  # of x in [0, 2 pi)
LEVELS = 9  # blocks of bits; float64 has no more


class E15(ClosedForm):
    """A splitting set along logarithmic spirals. Deterministic.

    Args:
        oracle: "clarke", the tangential element of dF; "gradient", grad F where it exists.
        levels: blocks of bits of psi in 0 .. 9; 9 stands for all of them. For fewer, dF is a singleton almost
            everywhere and both oracles are the gradient.
        options: as in `ClosedForm`; dtype float64 where the sign of a block is read, by oracle "gradient" or
            0 < levels < 9.

    Raises:
        ConfigurationError: an unknown oracle, levels out of range, another dtype than float64 where it is needed, or
            as `ClosedForm`.
    """

    name, size, minimum = "e15", 2, 0.0

    def __init__(self, *, oracle: str = "clarke", levels: int = LEVELS, **options: Any) -> None:
        self.oracle = choose("problem.oracle", oracle, ("clarke", "gradient"))
        if levels not in range(LEVELS + 1):
            raise ConfigurationError("problem.levels", levels, f"a whole number from 0 to {LEVELS}")
        self.levels = int(levels)
        super().__init__(**options)
        signed = self.oracle == "gradient" or self.levels < LEVELS
        if signed and self.levels > 0 and self.dtype != torch.float64:
            setting = "problem.oracle=gradient" if self.oracle == "gradient" else f"problem.levels={self.levels}"
            allowed = f"float64 with {setting}: a shorter type lacks the bits from which the sign is read"
            raise ConfigurationError("dtype", str(self.dtype).removeprefix("torch."), allowed)

    def objective(self, w: Tensor) -> Tensor:
        psi, _ = splitting(spiral_coordinate(w), self.levels)
        return (w * w).sum(-1) * (0.5 + psi)

    def clarke_distance(self, w: Tensor) -> Tensor:
        return (w * w).sum(-1).sqrt()

    def clarke_norm(self, w: Tensor) -> Tensor:
        """dist(0, dF(w)): [..., 2] -> [...]; off the kinks of psi if levels < 9."""
        psi, sign = splitting(spiral_coordinate(w), self.levels)
        radial = 1 + 2 * psi
        c = radial / 2 if self.levels == LEVELS else SLOPE * sign
        return self.clarke_distance(w) * ((radial - c) ** 2 + c * c).sqrt()

    def subgradient(self, w: Tensor) -> Tensor:
        """v(w): [..., 2] -> [..., 2]."""
        return self._value_and_subgradient(w)[1]

    def _value_and_subgradient(self, w: Tensor) -> tuple[Tensor, Tensor]:
        psi, sign = splitting(spiral_coordinate(w), self.levels)
        radial = 1 + 2 * psi
        c = radial if self.oracle == "clarke" and self.levels == LEVELS else SLOPE * sign
        return (w * w).sum(-1) * radial / 2, _element(w, radial, c)

    def field(self, *, conservative: bool = False) -> Pieces:
        """dF as the hull of its ends; nothing is added by `conservative`: dF itself is not conservative."""
        return _Ends(self)

    def noise_covariance(self) -> Tensor:
        """0: float64 [2, 2]."""
        return torch.zeros(2, 2, dtype=torch.float64)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        return torch.zeros(stop - start, len(seeds), dtype=self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w = params["w"]
        constant = w.detach()
        value, slope = self._value_and_subgradient(constant)
        return value + (slope * (w - constant)).sum()


def _element(w: Tensor, radial: Tensor, c: Tensor) -> Tensor:
    """(radial - c) w + c J w: the element c of dF(w), [..., 2]."""
    x, y = w[..., 0], w[..., 1]
    return torch.stack([(radial - c) * x - c * y, (radial - c) * y + c * x], -1)


@dataclass(frozen=True)
class _Ends:
    """The ends c = +-2 of dF, or the gradient of a zigzag off its kinks."""

    problem: E15

    def pieces(self, w: np.ndarray, radius: float) -> np.ndarray:
        point = torch.from_numpy(np.asarray(w, np.float64))
        psi, sign = splitting(spiral_coordinate(point), self.problem.levels)
        ends = (-1.0, 1.0) if self.problem.levels == LEVELS else (sign.item(),)
        return np.array([_element(point, 1 + 2 * psi, torch.tensor(SLOPE * end)).numpy() for end in ends])


def spiral_coordinate(w: Tensor) -> Tensor:
    """theta - log r: [..., 2] -> [...]; finite at 0."""
    x, y = w[..., 0], w[..., 1]
    square = (x * x + y * y).clamp(min=torch.finfo(w.dtype).tiny)
    r = square.sqrt()
    half = 2 * torch.atan(y / (r + x.abs()))  # no atan2: its last bit depends on the place in a stack
    theta = torch.where(x < 0, torch.where(y < 0, -math.pi - half, math.pi - half), half)
    return theta - torch.log(r)


def splitting(x: Tensor, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """psi(x) and the sign of psi' of the cell of x, shaped like `x`.

    Args:
        x: any shape; psi has the period 2 pi / CELLS.
        levels: blocks of bits that are read.
    """
    position = x * (CELLS / (2 * math.pi))
    rest = 2 * (position - torch.floor(position))
    bit = torch.floor(rest)
    rest, sign, width = rest - bit, 1 - 2 * bit, 0.5
    area = bit * (width * _survival(0, levels))
    for level in range(1, levels + 1):
        count = 2.0 ** (level + 1)
        value = torch.floor(rest * count)
        rest, width = rest * count - value, width / count
        before = sign * (value - 1).clamp(min=0) - (value > 0).to(x.dtype)  # cells of this block to the left
        area = area + before * (width * _survival(level, levels))
        sign = torch.where(value == 0, -1.0, torch.where(value == count - 1, 1.0, sign)).to(x.dtype)
    return (area + sign * rest * width) * (SLOPE * 2 * math.pi / CELLS), sign


def _survival(level: int, levels: int) -> float:
    """Share of a cell in which no later block changes the sign: prod_{level < m <= levels} (1 - 2^-m)."""
    return math.prod(1 - 2.0**-m for m in range(level + 1, levels + 1))
