"""CL8: near a sharp minimum E|w_k| is proportional to alpha_k, near a smooth one to sqrt(alpha_k) (L4, L3).

F = |w| with noise of variance sigma^2. SGD: E w^2 is stationary, so 0 = -2 alpha E[w v] + alpha^2 E v^2, hence exactly
E|w| = alpha (1 + sigma^2) / 2. SHB: stationarity of E w^2 and of E[w_k u_k], u_k = w_k - w_{k-1}, gives exactly

    E|w| = (1 + beta) E u^2 / (2 alpha)

(A = E[w_k u_{k+1}] = -E u^2 / 2 from w_{k+1}^2; E[w_k u_k] = A + E u^2; A = beta E[w_k u_k] - alpha E|w|.)
L4 puts E u^2 = alpha^2 sigma^2 / (1 - beta^2), the value without drift: E|w| ~ alpha sigma^2 / (2 (1 - beta)). That is
a limit of large sigma. At a given sigma the law of w / alpha does not depend on alpha, so no small step size repairs
it: the time of order sigma^2 steps on one side of the kink must be long against the memory 1 / (1 - beta).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results, Status
from bench.claims.convergence.gap import LAST_STEP, MOMENTUM, effective_steps, problem_of, recorded_steps, run
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region, p_outside

GROUP = 200  # seeds whose mean is one observation
SHARP, SMOOTH, RATIO = Region(0.95, 1.05), Region(0.45, 0.55), Region(0.9, 1.1)
FITTED = 4  # of the recorded steps, the last ones: where the step size changes slowly, alpha_k k / (1 - beta) >> 1
NEAR = ("init=normal", "init.std=0.1")
NOISY = 4.0  # sigma of the run in which L4 holds for beta = 0.9


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    return {
        "sharp_sgd": run("absolute", protocol, momentum=0.0, overrides=NEAR, seeds="seeds_sharp"),
        "sharp": run("absolute", protocol, overrides=NEAR, seeds="seeds_sharp"),
        "sharp_noisy": run("absolute", protocol, overrides=(*NEAR, f"problem.sigma={NOISY}")),
        "smooth_sgd": run("e1", protocol, momentum=0.0),
        "smooth": run("e1", protocol),
    }


def distances(name: str, results: Results, protocol: Protocol) -> np.ndarray:
    """|w_k - w*| at the last FITTED recorded steps: [n, J]; F = |w - w*| or F - F* = (w - w*)^2 / 2."""
    f = results[name]["objective_at"][:, -FITTED:]
    if name.startswith("sharp"):
        return f
    return np.sqrt(2 * (f - problem_of(experiments(protocol)[name]).minimum))


def slopes(values: np.ndarray, step_sizes: np.ndarray) -> np.ndarray:
    """Slope of log mean against log step size of each group of seeds: values [n, J] -> [n // GROUP]."""
    groups = values[: len(values) // GROUP * GROUP].reshape(-1, GROUP, values.shape[1])
    x = np.log(step_sizes) - np.log(step_sizes).mean()
    return np.log(groups.mean(axis=1)) @ x / (x @ x)


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
        slope = Mean(slopes(distances(name, results, protocol), step_sizes))
        swapped, size = (SMOOTH, "step size") if sharp else (SHARP, "root of the step size")
        rows.append(
            Part(
                f"The mean distance to the minimum falls like the {size} ({where}).",
                "L4 (this project)" if sharp else "L3 (this project)",
                inside(
                    f"slope of log E|w_k - w*| against log alpha_k: {1 if sharp else 0.5:g} +- 0.05",
                    SHARP if sharp else SMOOTH,
                    "slope",
                ),
                slope,
                (
                    Observed(
                        f"prediction of the {'smooth' if sharp else 'sharp'} minimum",
                        p_outside(slope, swapped) < 1e-4,
                        f"slope {slope.value:.3f} against {swapped}",
                    ),
                ),
            )
        )
    return rows + _constants(results)


def _constants(results: Results) -> list[Part]:
    """The constants in E|w_K| = constant times alpha_K."""
    last = LAST_STEP["absolute"]

    def ratio(name: str, expected: float) -> Mean:
        return Mean(results[name]["objective"] / expected)

    l4, noisy = last / 2, last * NOISY**2 / 2
    found = Mean(results["sharp"]["objective"] - _identity(results["sharp"], last))
    superseded = ratio("sharp", l4)
    rows = []
    for title, predicted, estimate, wrong, change in (
        (
            "SGD keeps the mean distance alpha (1 + sigma^2) / 2 from a sharp minimum.",
            "E|w_K| / (alpha_K (1 + sigma^2) / 2) in [0.9, 1.1], sigma = 1",
            ratio("sharp_sgd", last),
            ratio("sharp_sgd", l4),
            "without the 1, the square of the slope",
        ),
        (
            "SHB keeps the mean distance alpha sigma^2 / (2 (1 - beta)) from a sharp minimum, at noise of slope size.",
            "E|w_K| / (alpha_K sigma^2 / (2 (1 - beta))) in [0.9, 1.1], sigma = 1",
            superseded,
            ratio("sharp", l4 * (1 - MOMENTUM)),
            "without 1 - beta",
        ),
        (
            "SHB keeps the mean distance alpha sigma^2 / (2 (1 - beta)) from a sharp minimum, at large noise.",
            f"E|w_K| / (alpha_K sigma^2 / (2 (1 - beta))) in [0.9, 1.1], sigma = {NOISY:g}",
            ratio("sharp_noisy", noisy),
            ratio("sharp_noisy", noisy * (1 - MOMENTUM)),
            "without 1 - beta",
        ),
        (
            "At a sharp minimum SHB has E|w| = (1 + beta) E u^2 / (2 alpha), u the last step, at any noise.",
            "1 + (E|w_K| - (1 + beta) E u_K^2 / (2 alpha_K)) / L4 in [0.9, 1.1], sigma = 1",
            Mean(1 + (results["sharp"]["objective"] - _identity(results["sharp"], last)) / l4),
            Mean(1 + (results["sharp"]["objective"] - _identity(results["sharp"], last) / (1 + MOMENTUM)) / l4),
            "without 1 + beta",
        ),
    ):
        rows.append(
            Part(
                title,
                "L4 (this project)"
                if change != "without 1 + beta"
                else "exact stationarity, corrects L4 (this project)",
                inside(predicted, RATIO),
                estimate,
                (Observed(change, p_outside(wrong, RATIO) < 1e-4, f"ratio {wrong.value:.3g}"),),
                status=Status.SUPERSEDED if estimate is superseded else Status.TEST,
                note=_note(found) if estimate is superseded else "",
            )
        )
    return rows


def _identity(columns: Mapping[str, np.ndarray], last: float) -> np.ndarray:
    """(1 + beta) u_K^2 / (2 alpha_K) of each seed: [n]."""
    return (1 + MOMENTUM) * columns["speed"] ** 2 / (2 * last * (1 - MOMENTUM))


def _note(found: Mean) -> str:
    return (
        "L4 for SHB is a limit of large sigma, not of small alpha: w / alpha has the same law for every alpha."
        f" The exact identity of CL8h holds here within {found.value:.1g}."
    )


CLAIM = Claim(
    "CL8",
    "convergence",
    "The error is of order alpha at sharp minima and sqrt(alpha) at smooth ones.",
    "L4, L3 (this project)",
    experiments,
    parts,
)
