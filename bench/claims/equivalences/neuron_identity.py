"""CL3: on antisymmetric data a single ReLU neuron has the objective of linear least squares (theory.md E6).

    F(w) = E (relu(w.x) - y)^2 / 2 = E (w.x - y)^2 / 4 + E y^2 / 4    for data {(x, y), (-x, -y)}

Proof: where w.x > 0 the pair contributes ((w.x - y)^2 + y^2) / 4, and the same where w.x < 0. Hence the mean oracle off
the kinks is H (w - w_LS): the only Clarke critical point is least squares. Both sides are computed apart: on the left
the loss and its backpropagation, sample by sample; on the right the formula of the problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.equivalences.exact import held, largest, within
from bench.claims.experiment import Experiment, measure
from bench.statistics.cases import Cases
from shb.datasets import load_dataset
from shb.problems.closed_forms import E6
from shb.streams import stream

TOLERANCE = 1e-10


def _data(name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, np.random.Generator]:
    generator = stream(seed, "claim")
    if name == "diabetes":
        train = load_dataset("diabetes").train
        return train.x.double(), train.y[:, 0].double(), generator
    x, y = generator.standard_normal((40, 5)), generator.standard_normal(40)
    return torch.from_numpy(x), torch.from_numpy(y), generator


def _errors(name: str, seed: int) -> dict[str, float]:
    x, y, generator = _data(name, seed)
    problem = E6(x, y, dtype=torch.float64)
    w = torch.from_numpy(2 * generator.standard_normal(problem.size))

    def mean_loss(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(lambda x, y: problem.loss({"w": w}, x, y))(x, y).mean()

    oracle = torch.func.grad(mean_loss)(w, problem.x, problem.y)
    gradient = problem.hessian() @ (w - problem.clarke_point)
    raw = ((x @ w - y) ** 2).mean() / 4 + (y * y).mean() / 4  # the formula on data without their mirror images
    return {
        "objective": _relative(mean_loss(w, problem.x, problem.y), problem.objective(w)),
        "objective_raw": _relative(mean_loss(w, x, y), raw),
        "gradient": _relative(oracle, gradient),
        "gradient_raw": _relative(torch.func.grad(mean_loss)(w, x, y), gradient),
    }


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@measure("neuron_identity")
def errors(settings: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
    """One random w (and data set, unless data=diabetes) per seed; relative errors of F and grad F [n]."""
    rows = [_errors(settings["data"], int(seed)) for seed in seeds]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    seeds = protocol["seeds"]
    return {
        data: Experiment("neuron_identity", {"data": data}, seeds, seconds=0.01 * seeds)
        for data in ("random", "diabetes")
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    for name, title in (
        ("objective", "On antisymmetric data a ReLU neuron has the objective of linear least squares."),
        ("gradient", "There its mean oracle vanishes, off the kinks, at least squares only."),
    ):
        formula = "F(w) = E(w.x - y)^2/4 + E y^2/4" if name == "objective" else "grad F(w) = H (w - w_LS)"
        rows.append(
            Part(
                title,
                "E6 (this project)",
                within(f"relative error of {formula}", TOLERANCE),
                Cases({f"{data} data": held(columns[name], TOLERANCE) for data, columns in results.items()}),
                tuple(
                    Control(f"{data} data without their mirror images", held(columns[f"{name}_raw"], TOLERANCE))
                    for data, columns in results.items()
                ),
                of=tuple(results),
                note=f"Largest error {largest(np.concatenate([columns[name] for columns in results.values()]))}.",
            )
        )
    return rows


CLAIM = Claim(
    "CL3",
    "equivalences",
    "A ReLU neuron on antisymmetric data hides linear least squares.",
    "E6 (this project)",
    experiments,
    parts,
)
