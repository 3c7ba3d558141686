"""Every closed form in the variants that differ, each with the exact law of its sample."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from shb.problems import (
    E1,
    E2,
    E3,
    E4,
    E5,
    E6,
    E7,
    E8,
    E9,
    E10,
    E11,
    E12,
    E13,
    E14,
    E15,
    E16,
    Absolute,
    ClosedForm,
    MaxAffinePlane,
    Quadratic,
    Quartic,
    Valley,
)


def regression_pairs():
    """Arguments x [20, 3] and y [20] of E5 and E6: no least-squares coefficient is 0."""
    random = np.random.RandomState(0)
    x = random.randn(20, 3)
    return torch.from_numpy(x), torch.from_numpy(x @ [1.0, -2.0, 0.5] + 0.1 * random.randn(20))


class Case(NamedTuple):
    """A problem and where to look at it; `clarke` is a critical point, None where there are many or none matters."""

    label: str
    problem: ClosedForm
    clarke: list[float] | None


LEVEL = ((1.0, 0.3), (-1.0, 0.2), (0.1, 1.0), (-0.2, -1.0), (0.0, 0.0))  # constant on a polygon, F = 0.5

CASES = [
    Case("e1", E1(), [-1.0]),
    Case("e1-abs", E1(form="abs"), [-1.0]),
    Case("e2", E2(), [-1.0]),
    Case("e2-uniform", E2(noise="uniform"), [-1.0]),
    Case("e3", E3(b=0.7), [-1.0, 0.7]),
    Case("e4", E4(), [0.5]),
    Case("e5", E5(), [1.0]),
    Case("e5-data", E5(*regression_pairs()), None),
    Case("e6", E6(), [1.0]),
    Case("e6-data", E6(*regression_pairs()), None),
    Case("e7", E7(), [0.0]),
    Case("e7-signs", E7(noise="signs"), [0.0]),
    Case("e8", E8(), None),
    Case("e8-ratio", E8(ratio=0.8), None),
    Case("e8-discrete", E8(law="discrete"), None),
    Case("e9", E9(), [-1.0]),
    Case("e10", E10(zero_share=0.3), [1.0, 1.0]),
    Case("e11", E11(), [0.0]),
    Case("e11-rotation", E11(kind="rotation"), [0.0, 0.0]),
    Case("e13-gaussian", E13(tails="gaussian", sigma=0.5), [0.0]),
    Case("e14", E14(), [0.6, 0.5]),
    Case("e14-straight", E14(wave=0.0), [0.0, 0.0]),
    Case("e15-zigzag", E15(levels=0), [0.0, 0.0]),
    Case("e15-three-levels", E15(levels=3), [0.0, 0.0]),
    Case("e16", E16(sigma=0.5), [0.0, -np.sqrt(0.5)]),
    Case("quadratic", Quadratic(sigma=0.5), [0.0]),
    Case("quadratic-three", Quadratic(curvature=(0.5, 1.0, 4.0), sigma=2.0), [0.0, 0.0, 0.0]),
    Case("absolute", Absolute(sigma=0.5), [0.0]),
    Case("max-affine", MaxAffinePlane(sigma=0.5), None),
    Case("max-affine-level", MaxAffinePlane(slopes=LEVEL, offsets=(0, 0, 0, 0, 0.5)), [0.0, 0.0]),
    Case("valley", Valley(sigma=0.5), [1.0, 0.3]),
    Case("quartic", Quartic(sigma=0.5), [0.0]),
]
HEAVY = Case("e12", E12(), [1.0])
PARETO = Case("e13", E13(), [0.0])
ROTATING = Case("e15", E15(), [0.0, 0.0])  # whose oracle is no gradient


def parametrize(select=lambda case: True, cases=CASES):
    import pytest

    chosen = [case for case in cases if select(case)]
    return pytest.mark.parametrize("case", chosen, ids=[case.label for case in chosen])


def critical(case):
    """A Clarke critical point, [size]."""
    if case.problem.name == "max_affine":
        return case.problem.minimisers[0]
    return case.problem.clarke_point if case.clarke is None else vector(*case.clarke)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def points(size, count=60, seed=0):
    """Points of the size of a few units, off every kink."""
    random = np.random.RandomState(seed)
    return torch.from_numpy(3 * random.randn(count, size))


def _normal_nodes(*splits):
    """Nodes and weights for E g(s), s ~ N(0, 1), g smooth between the splits; exact to about 1e-13."""
    ends = [-10.0, *sorted(split for split in splits if -10 < split < 10), 10.0]
    x, weight = np.polynomial.legendre.leggauss(80)
    nodes = np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairwise(ends)])
    weights = np.concatenate([(b - a) / 2 * weight for a, b in pairwise(ends)])
    return nodes, weights * np.exp(-nodes * nodes / 2) / np.sqrt(2 * np.pi)


def law(problem, w):
    """Samples as `loss` takes them (tensors [n, ...]) and their probabilities [n]: E g(w, s) is the weighted sum."""
    if problem.name in ("e5", "e6"):
        count = len(problem.y)
        return problem.batch(torch.arange(count)), torch.full((count,), 1 / count, dtype=torch.float64)
    if problem.name == "e7" and problem.noise == "normal":
        samples, weights = _normal_nodes(w[0].item())
    elif problem.name == "e8" and problem.law == "normal":
        samples, weights = _normal_nodes(w[0].item(), -w[0].item(), 0.0)
    elif problem.name == "e8":
        samples, weights = problem.values, np.full(len(problem.values), 1 / len(problem.values))
    elif problem.name == "e10":
        samples, weights = [0.0, 1.0], [problem.zero_share, 1 - problem.zero_share]
    elif problem.name in ("e2", "e9"):
        spread = 0.0 if problem.noise == "none" else 1 / np.sqrt(12)
        samples, weights = [1 - spread, 1 + spread], [0.5, 0.5]  # f is affine in s: two moments decide
    elif problem.name in ("e11", "e14", "e15"):
        samples, weights = [0.0], [1.0]
    elif problem.name == "e13":
        samples, weights = [-problem.sigma, problem.sigma], [0.5, 0.5]
    elif problem.name in ("e1", "e3", "e4", "e7"):
        samples, weights = [-1.0, 1.0], [0.5, 0.5]
    else:  # additive noise, affine in s as well
        count = 1 if problem.name == "valley" else problem.size
        samples = problem.noise.sigma * np.array(np.meshgrid(*[[-1.0, 1.0]] * count)).reshape(count, -1).T
        samples = samples[:, 0] if problem.name == "valley" else samples
        weights = np.full(len(samples), 1 / len(samples))
    as_tensor = lambda values: torch.from_numpy(np.array(values, np.float64))  # noqa: E731
    return (as_tensor(samples),), as_tensor(weights)


def oracle(problem, w, *sample):
    return torch.func.grad(lambda w: problem.loss({"w": w}, *sample))(w)


def oracles(problem, w):
    """v(w, s) [n, size] and probabilities [n]."""
    samples, weights = law(problem, w)
    return torch.func.vmap(lambda *sample: oracle(problem, w, *sample))(*samples), weights
