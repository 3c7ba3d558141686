"""CL8: near a sharp minimum E|w_k| is proportional to alpha_k, near a smooth one to sqrt(alpha_k) (L4, L3).

F = |w| with noise of variance sigma^2. SGD: E w^2 is stationary, so 0 = -2 alpha E[w v] + alpha^2 E v^2, hence exactly
E|w| = alpha (1 + sigma^2) / 2. SHB: stationarity of E w^2 and of E[w_k u_k], u_k = w_k - w_{k-1}, gives exactly

    E|w| = (1 + beta) E u^2 / (2 alpha)

(A = E[w_k u_{k+1}] = -E u^2 / 2 from w_{k+1}^2; E[w_k u_k] = A + E u^2; A = beta E[w_k u_k] - alpha E|w|.)
L4 puts E u^2 = alpha^2 sigma^2 / (1 - beta^2), the value without drift: E|w| ~ alpha sigma^2 / (2 (1 - beta)). That is
a limit of large sigma. At a given sigma the law of w / alpha does not depend on alpha, so no small step size repairs
it: the time of order sigma^2 steps on one side of the kink must be long against the memory 1 / (1 - beta). The next
order (finite_step.py) is judged where its own error is 2 % at most: there the leading term is 10 % off at beta = 0.5,
sigma = 2, and at sigma = 1 the next order fails, too (12 %).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results, Status
from bench.claims.convergence.finite_step import sharp_distance
from bench.claims.convergence.gap import LAST_STEP, MOMENTUM, effective_steps, problem_of, recorded_steps, run
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from bench.statistics.slope import exponents

GROUP = 200  # seeds whose mean is one observation
SHARP, SMOOTH, RATIO = Region(0.95, 1.05), Region(0.45, 0.55), Region(0.9, 1.1)
NEXT_ORDER = Region(0.94, 1.06)  # the law of the next order is within 2 % (theory.md 2.6), L4's leading term is not
FITTED = 4  # of the recorded steps, the last ones: where the step size changes slowly, alpha_k k / (1 - beta) >> 1
NEAR = {"init": "normal", "init.std": 0.1}
NOISY = 4.0  # sigma of the run in which L4 holds for beta = 0.9
HALF = 0.5  # the other momentum of the law of the next order
LAW = {  # run -> (beta, sigma) at which its error is 2 % at most
    "sharp_half": (HALF, 2.0),
    "sharp_noisy": (MOMENTUM, NOISY),
}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def sharp(sigma: float = 1.0, momentum: float = MOMENTUM, seeds: str = "seeds", **changed: Any) -> Experiment:
        noise = {} if sigma == 1 else {"problem.sigma": sigma}
        return run("absolute", protocol, momentum=momentum, settings=NEAR | noise, seeds=seeds, **changed)

    few = "seeds_control"
    return {
        "sharp_sgd": sharp(momentum=0.0, seeds="seeds_sharp"),
        "sharp": sharp(seeds="seeds_sharp"),
        "sharp_noisy": sharp(NOISY),
        "sharp_half": sharp(2.0, HALF),
        "smooth_sgd": run("e1", protocol, momentum=0.0),
        "smooth": run("e1", protocol),
        "sharp_sgd constant": sharp(momentum=0.0, constant=True, seeds=few),
        "sharp constant": sharp(constant=True, seeds=few),
        "smooth_sgd constant": run("e1", protocol, momentum=0.0, constant=True, seeds=few),
        "smooth constant": run("e1", protocol, constant=True),
        "sharp_sgd other": sharp(step_of=0.0, seeds=few),
        "sharp other": sharp(momentum=0.0, step_of=MOMENTUM, seeds=few),
        "sharp_noisy other": sharp(NOISY, 0.0, step_of=MOMENTUM, seeds=few),
        "sharp nesterov": sharp(optimizer="nesterov", seeds=few),
        "sharp_half quiet": sharp(1.0, HALF, seeds=few),
    }


def distances(name: str, results: Results, protocol: Protocol) -> np.ndarray:
    """|w_k - w*| at the last FITTED recorded steps: [n, J]; F = |w - w*| or F - F* = (w - w*)^2 / 2."""
    f = results[name]["objective_at"][:, -FITTED:]
    if name.startswith("sharp"):
        return f
    return np.sqrt(2 * (f - problem_of(experiments(protocol)[name]).minimum))


def group_slopes(values: np.ndarray, step_sizes: np.ndarray) -> np.ndarray:
    """Slope of log mean against log step size of each group of seeds: values [n, J] -> [n // GROUP]."""
    groups = values[: len(values) // GROUP * GROUP].reshape(-1, GROUP, values.shape[1])
    return exponents(groups.mean(axis=1), step_sizes)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    at = recorded_steps(protocol["steps"])[-FITTED:]
    step_sizes = effective_steps("absolute", protocol["steps"], at)
    for name, where in (
        ("sharp_sgd", "SGD at the sharp minimum of |w|"),
        ("sharp", "SHB at the sharp minimum of |w|"),
        ("smooth_sgd", "SGD at the smooth minimum of E1"),
        ("smooth", "SHB at the smooth minimum of E1"),
    ):
        sharp = name.startswith("sharp")
        slope, constant = (
            Mean(group_slopes(distances(one, results, protocol), step_sizes)) for one in (name, f"{name} constant")
        )
        rows.append(
            Part(
                f"The mean distance to the minimum falls like the {'step size' if sharp else 'root of the step size'} "
                f"({where}).",
                "L4 (this project)" if sharp else "L3 (this project)",
                inside(
                    f"slope of log E|w_k - w*| against log alpha_k: {1 if sharp else 0.5:g} +- 0.05",
                    SHARP if sharp else SMOOTH,
                    "slope",
                ),
                slope,
                (Control("constant step size, against the same alpha_k", constant),),
                of=(name,),
            )
        )
    return [*rows, *_constants(results), _next_order(step_sizes, results)]


def _constants(results: Results) -> list[Part]:
    """The constants in E|w_K| = constant times alpha_K."""
    last, law = LAST_STEP["absolute"], "L4 (this project)"

    def ratio(name: str, expected: float) -> Mean:
        return Mean(results[name]["objective"] / expected)

    def identity(name: str) -> Mean:
        columns = results[name]
        return Mean(1 + (columns["objective"] - _identity(columns, last)) / (last / 2))

    rows = []
    for name, title, predicted, expected in (
        (
            "sharp_sgd",
            "SGD keeps the mean distance alpha (1 + sigma^2) / 2 from a sharp minimum.",
            "E|w_K| / (alpha_K (1 + sigma^2) / 2) in [0.9, 1.1], sigma = 1",
            last,
        ),
        (
            "sharp",
            "SHB keeps the mean distance alpha sigma^2 / (2 (1 - beta)) from a sharp minimum, at noise of slope size.",
            "E|w_K| / (alpha_K sigma^2 / (2 (1 - beta))) in [0.9, 1.1], sigma = 1",
            last / 2,
        ),
        (
            "sharp_noisy",
            "SHB keeps the mean distance alpha sigma^2 / (2 (1 - beta)) from a sharp minimum, at large noise.",
            f"E|w_K| / (alpha_K sigma^2 / (2 (1 - beta))) in [0.9, 1.1], sigma = {NOISY:g}",
            last * NOISY**2 / 2,
        ),
    ):
        changed = "SHB with the step of SGD" if name == "sharp_sgd" else "SGD with the step of SHB"
        superseded = name == "sharp"
        rows.append(
            Part(
                title,
                law,
                inside(predicted, RATIO),
                ratio(name, expected),
                (Control(changed, ratio(f"{name} other", expected)),),
                status=Status.SUPERSEDED if superseded else Status.TEST,
                of=(name,),
                note="A limit of large sigma, not of small alpha: w / alpha has the same law for every alpha. The "
                "identity CL8h and the law CL8i correct it."
                if superseded
                else "",
            )
        )
    rows.append(
        Part(
            "At a sharp minimum SHB has E|w| = (1 + beta) E u^2 / (2 alpha), u the last step, at any noise.",
            "exact stationarity, corrects L4 (this project)",
            inside("1 + (E|w_K| - (1 + beta) E u_K^2 / (2 alpha_K)) / L4 in [0.9, 1.1], sigma = 1", RATIO),
            identity("sharp"),
            (Control("Nesterov's momentum instead", identity("sharp nesterov")),),
            of=("sharp",),
        )
    )
    return rows


def _next_order(step_sizes: np.ndarray, results: Results) -> Part:
    """L4 with its next order; every run averages its last recorded steps, which lie far apart."""

    def mean(name: str, expected: np.ndarray) -> Mean:
        return Mean((results[name]["objective_at"][:, -FITTED:] / expected).mean(1))

    def law(beta: float, sigma: float) -> np.ndarray:
        return np.array([sharp_distance(a, beta, sigma) for a in step_sizes])

    leading = {name: mean(name, step_sizes * sigma**2 / 2) for name, (_, sigma) in LAW.items()}
    return Part(
        "With its next order L4 holds at moderate noise, too.",
        "corrects CL8f (this project; finite_step.py)",
        inside("E|w_k| / ((a_k / 2) (sigma^2 + (1 - beta) / (1 + beta))) in [0.94, 1.06]", NEXT_ORDER, "ratio"),
        Cases({f"beta = {b:g}, sigma = {s:g}": mean(name, law(b, s)) for name, (b, s) in LAW.items()}),
        (
            Control("SGD with the step of SHB, sigma = 4", mean("sharp_noisy other", law(MOMENTUM, NOISY))),
            Control("sigma = 1, beta = 0.5: noise of slope size", mean("sharp_half quiet", law(HALF, 1.0))),
        ),
        alternatives=(
            Alternative(
                "the leading term a sigma^2 / 2",
                ", ".join(f"{one.value:.3f} at beta = {LAW[name][0]:g}" for name, one in leading.items()),
            ),
        ),
        of=tuple(LAW),
    )


def _identity(columns: Columns, last: float) -> np.ndarray:
    """(1 + beta) u_K^2 / (2 alpha_K) of each seed: [n]."""
    return (1 + MOMENTUM) * columns["speed"] ** 2 / (2 * last * (1 - MOMENTUM))


CLAIM = Claim(
    "CL8",
    "convergence",
    "The error is of order alpha at sharp minima and sqrt(alpha) at smooth ones.",
    "L4, L3 (this project)",
    experiments,
    parts,
)
