"""The chain rule of a conservative field, F(g(1)) - F(g(0)) = int <v(g(t)), g'(t)> dt, along random polygons.

It must hold for every selection v of a conservative field (theory.md section 3), whatever it returns at kinks, and
fails for an oracle that is not one. v is the mean of the backpropagated sample gradients. The integrand is a
polynomial between kinks, so Gauss-Lobatto with four nodes is exact there (degree <= 5); its end nodes see a kink
anywhere in a cell. Cells with a kink are halved until they are `SMALLEST` long; a jump of size J then leaves at most
J * SMALLEST. Two kinks between neighbouring nodes of one of the 256 cells at the start may cancel and be overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.experiment import Columns, measure
from shb.problems import CLOSED_FORMS
from shb.streams import normal, words

Gradient = Callable[[Tensor], Tensor]  # [points, size] -> mean oracle [points, size]
SMALLEST = 2.0**-30
NODES = np.array([0.0, (1 - np.sqrt(0.2)) / 2, (1 + np.sqrt(0.2)) / 2, 1.0])
WEIGHTS = np.array([1.0, 5.0, 5.0, 1.0]) / 12.0


def integrate(function: Callable[[Tensor], Tensor], tolerance: float = 1e-13) -> float:
    """Integral over [0, 1] of a piecewise polynomial with jumps; `function`: t [points] -> [points]."""
    nodes, weights = torch.from_numpy(NODES), torch.from_numpy(WEIGHTS)

    def cells(left: Tensor, width: float) -> Tensor:
        return width * (function((left[:, None] + width * nodes).ravel()).reshape(-1, 4) @ weights)

    left, width, total = torch.linspace(0, 1, 257, dtype=torch.float64)[:-1], 1 / 256, 0.0
    whole = cells(left, width)
    while len(left):
        halves = torch.stack([left, left + width / 2], 1)
        parts = cells(halves.ravel(), width / 2).reshape(-1, 2)
        settled = (whole - parts.sum(1)).abs() <= tolerance * width if width > SMALLEST else torch.ones_like(whole) > 0
        total += float(parts[settled].sum())
        left, whole, width = halves[~settled].ravel(), parts[~settled].ravel(), width / 2
    return total


def defect(objective: Callable[[Tensor], Tensor], gradient: Gradient, corners: Tensor) -> float:
    """|F(end) - F(start) - int <v, g'>| along the polygon through `corners` [points, size]."""
    total = 0.0
    for a, b in pairwise(corners):
        total += integrate(lambda t, a=a, d=b - a: gradient(a + t[:, None] * d) @ d)
    return abs((objective(corners[-1:]) - objective(corners[:1])).item() - total)


def closed_form(problem: str, options: Mapping[str, Any], samples: list[float]) -> tuple[Callable, Gradient, int]:
    """F, the mean oracle over `samples`, and the number of coordinates of a closed form."""
    one = CLOSED_FORMS[problem](**options)
    s = torch.tensor(samples, dtype=torch.float64)
    single = torch.func.grad(lambda w, sample: one.loss({"w": w}, sample))
    many = torch.func.vmap(torch.func.vmap(single, (None, 0)), (0, None))
    return one.objective, lambda w: many(w, s).mean(1), one.size


def network(rows: int, features: int, hidden: int) -> tuple[Callable, Gradient, int]:
    """F and full-batch backpropagation of a one-layer ReLU network with biases on random data, squared loss."""
    x = torch.from_numpy(normal(words([0], "network_x", 0, rows * features))).reshape(rows, features)
    y = torch.from_numpy(normal(words([0], "network_y", 0, rows))).reshape(rows)
    cuts = np.cumsum([hidden * features, hidden, hidden, 1])

    def objective(w: Tensor) -> Tensor:
        weight, bias, out = w[: cuts[0]].reshape(hidden, features), w[cuts[0] : cuts[1]], w[cuts[1] : cuts[2]]
        residual = torch.relu(x @ weight.T + bias) @ out + w[-1] - y
        return (residual * residual).mean() / 2

    return torch.func.vmap(objective), torch.func.vmap(torch.func.grad(objective)), int(cuts[-1])


@measure("chain_rule")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Defect of the chain rule along one random polygon per seed; corners are N(0, std^2)."""
    kind = settings["kind"]
    make = network if kind == "network" else closed_form
    objective, gradient, size = make(**settings["options"])
    drawn = settings["std"] * normal(words(seeds, "corners", 0, settings["corners"] * size)).T
    polygons = torch.from_numpy(drawn).reshape(len(seeds), settings["corners"], size)
    return {"defect": np.array([defect(objective, gradient, corners) for corners in polygons])}
