"""Strata of kinks: affine sets of parameters on which inputs of ReLUs are exactly 0, and oracles on them.

    line   E3, w_1 = 0
    bias   E10, b = 0
    dead   perceptron 2-3-1 whose first unit has no weights and no bias: its input is 0 for every sample
    tied   perceptron 2-3-2-1 whose first two units have equal weights and biases, and whose first unit of the second
           layer is their difference: its input is 0 for every sample, wherever the two move together

A point of a stratum is origin + u basis with free coordinates u; every row of `basis` is 0 but for ones, so that a
point is on the stratum in floating point, or it is not. The samples of the networks are fixed numbers.

A field is conservative iff F(end) - F(start) = int <v, dw> along *every* absolutely continuous path (theory.md section
3). Random polygons meet kinks at single points and see gradients only: an oracle that returns anything at all on kinks
passes them. Polygons inside a stratum see what it returns there and nothing else. Two oracles that must not pass:

    garbage    100 is added to the last free coordinate of v on the stratum, nothing elsewhere: E3's (0, 100)
    detached   (u - c u)^2 / 2 is added to F for that coordinate u, and c u, c = 3/2, is taken as a constant (E11 a)

The integrand is a piecewise polynomial of degree 5 at most: see `chain_rule`. Here the paths of all seeds are refined
together, and to `SMALLEST` = 2^-36, so that a jump leaves 1.5e-11 of its size. F and v are divided by the largest F
at a corner, if that is more than 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.artificial.chain_rule import NODES, WEIGHTS
from bench.claims.experiment import Columns, measure
from shb.nonsmooth import relu
from shb.problems import CLOSED_FORMS
from shb.streams import normal, words

GARBAGE, DETACHED = 100.0, 1.5
FEATURES, ROWS = 2, 3  # of the networks' data
CELLS, SMALLEST, TOLERANCE = 16, 2.0**-36, 1e-12  # of the integrals
Field = Callable[[Tensor], Tensor]  # [points, size] -> [points] or [points, size]


@dataclass(frozen=True)
class Stratum:
    """See the module's docstring.

    Attributes:
        loss: (w [size], x, y) -> the loss of one sample, 0-d.
        x, y: the samples, each with one row for a sample.
        origin: [size].
        basis: [free, size], 0 and 1; no two rows share a coordinate.
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    x: Tensor
    y: Tensor
    origin: Tensor
    basis: Tensor

    def points(self, u: Tensor) -> Tensor:
        """[..., free] -> [..., size]."""
        return self.origin + u @ self.basis

    def free(self, w: Tensor) -> Tensor:
        """The free coordinates of the point of the stratum that shares them: [..., size] -> [..., free]."""
        return w[..., self.basis.argmax(1)]

    def holds(self, w: Tensor) -> Tensor:
        """Whether w is on the stratum, to the last bit: [..., size] -> bool [...]."""
        return (self.points(self.free(w)) == w).all(-1)


def stratum(kind: str, derivative: float = 0.0, rule: str = "chain") -> Stratum:
    """One of the strata above, for a ReLU with this derivative at 0 under this rule."""
    if kind in ("line", "bias"):
        name, samples, free = {"line": ("e3", [-1.0, 1.0], 1), "bias": ("e10", [0.0, 1.0], 0)}[kind]
        problem = CLOSED_FORMS[name](relu_derivative=derivative, relu_rule=rule)
        x = torch.tensor(samples, dtype=torch.float64)
        basis = torch.eye(problem.size, dtype=torch.float64)[free : free + 1]
        return Stratum(lambda w, x, y: problem.loss({"w": w}, x), x, x, torch.zeros_like(basis[0]), basis)
    widths = {"dead": (FEATURES, 3, 1), "tied": (FEATURES, 3, 2, 1)}[kind]
    shapes = [(outputs, inputs + 1) for inputs, outputs in pairwise(widths)]  # the last column: biases
    sizes = [outputs * columns for outputs, columns in shapes]
    size, second = sum(sizes), sizes[0]

    def loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        h = x
        for layer, (part, shape) in enumerate(zip(w.split(sizes), shapes)):
            weight = part.reshape(shape)
            z = (weight[:, :-1] * h).sum(1) + weight[:, -1]  # no product of matrices: 1 h - 1 h is to be 0
            h = z if layer == len(shapes) - 1 else relu(z, derivative, rule)
        residual = h[0] - y
        return residual * residual / 2

    origin, basis = torch.zeros(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)
    first, other, read = (range(start, start + width) for start, width in ((0, 3), (3, 3), (second, 4)))
    fixed = {*first} if kind == "dead" else {*other, *read}
    if kind == "tied":
        origin[second], origin[second + 1] = 1.0, -1.0
        basis[[*first]] += basis[[*other]]
    basis = basis[[i for i in range(size) if i not in fixed]]
    x = torch.from_numpy(normal(words([0], "strata_x", 0, ROWS * FEATURES))).reshape(ROWS, FEATURES)
    return Stratum(loss, x, torch.from_numpy(normal(words([0], "strata_y", 0, ROWS))).reshape(ROWS), origin, basis)


def field(place: Stratum, wrong: str = "") -> tuple[Field, Field]:
    """F and the mean of the backpropagated sample gradients; `wrong`: "garbage", "detached", or "" for neither."""
    last = int(place.basis[-1].argmax())

    def total(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        added = (w[last] - DETACHED * w[last].detach()) ** 2 / 2 if wrong == "detached" else 0.0
        return place.loss(w, x, y) + added

    def mean(function: Callable[..., Tensor]) -> Field:
        many = torch.func.vmap(torch.func.vmap(function, (None, 0, 0)), (0, None, None))
        return lambda w: many(w, place.x, place.y).mean(1)

    oracle = mean(torch.func.grad(total))
    if wrong != "garbage":
        return mean(total), oracle
    unit = torch.eye(len(place.origin), dtype=torch.float64)[last]
    return mean(total), lambda w: oracle(w) + GARBAGE * place.holds(w)[:, None] * unit


def integrals(function: Callable[[Tensor, Tensor], Tensor], paths: int) -> Tensor:
    """Integrals over [0, 1] of piecewise polynomials with jumps, float64 [paths].

    `function` maps the numbers of paths and the times, [points] each, to [points].
    """
    nodes, weights = torch.from_numpy(NODES), torch.from_numpy(WEIGHTS)

    def cells(path: Tensor, left: Tensor, width: float) -> Tensor:
        times = left[:, None] + width * nodes
        return width * (function(path.repeat_interleave(4), times.ravel()).reshape(-1, 4) @ weights)

    width = 1.0 / CELLS
    path = torch.arange(paths).repeat_interleave(CELLS)
    left = (torch.arange(CELLS, dtype=torch.float64) * width).repeat(paths)
    whole, total = cells(path, left, width), torch.zeros(paths, dtype=torch.float64)
    while len(left):
        width /= 2
        left, path = torch.stack([left, left + width], 1).ravel(), path.repeat_interleave(2)
        parts = cells(path, left, width)
        close = (whole - parts.reshape(-1, 2).sum(1)).abs() <= 2 * TOLERANCE * width
        settled = (close | (width <= SMALLEST)).repeat_interleave(2)
        total.index_add_(0, path[settled], parts[settled])
        left, path, whole = left[~settled], path[~settled], parts[~settled]
    return total


def defects(objective: Field, gradient: Field, corners: Tensor) -> Tensor:
    """|F(end) - F(start) - int <v, dw>| / max(1, largest F at a corner) along polygons [paths, corners, size]."""
    paths, count, _ = corners.shape
    values = objective(corners.flatten(0, 1)).reshape(paths, count)
    scale = values.abs().amax(1).clamp(min=1)
    starts, moves = corners[:, :-1].flatten(0, 1), corners.diff(dim=1).flatten(0, 1)
    scales = scale.repeat_interleave(count - 1)

    def along(path: Tensor, t: Tensor) -> Tensor:
        rates = (gradient(starts[path] + t[:, None] * moves[path]) * moves[path]).sum(1)
        return rates / scales[path]

    total = integrals(along, len(starts)).reshape(paths, count - 1).sum(1)
    return ((values[:, -1] - values[:, 0]) / scale - total).abs()


@measure("stratum_defect")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """One polygon per seed with corners from N(0, 1), columns [n]: defect; oracle, |v| at its first corner;
    crossings, the segments that have their ends on different sides of the stratum.

    inside: the corners are free coordinates of the stratum; else they are parameters whose first coordinate outside
    the stratum alternates in sign, so that every segment crosses a stratum of codimension 1.
    """
    kind, corners = settings["kind"], settings["corners"]
    place = stratum(kind, settings["derivative"], settings["rule"])
    size = place.basis.shape[0 if settings["inside"] else 1]
    drawn = normal(words(seeds, f"corners_{kind}", 0, corners * size)).T
    polygons = torch.from_numpy(drawn.copy()).reshape(len(seeds), corners, size)
    if settings["inside"]:
        polygons, crossings = place.points(polygons), torch.zeros(len(seeds))
    else:
        across = int((place.basis.sum(0) == 0).nonzero()[0])
        polygons[:, :, across] = polygons[:, :, across].abs() * torch.tensor([1.0, -1.0]).repeat(corners)[:corners]
        crossings = (polygons[:, 1:, across] * polygons[:, :-1, across] < 0).sum(1)
    objective, gradient = field(place, settings["wrong"])
    return {
        "defect": defects(objective, gradient, polygons).numpy(),
        "oracle": gradient(polygons[:, 0]).norm(dim=1).numpy(),
        "crossings": crossings.numpy(),
    }
