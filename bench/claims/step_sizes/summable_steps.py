"""CL14: with a summable step size SHB stops before it arrives (theory.md L7).

F = |w|, w_0 = 10, alpha_k = 1/(k+1)^2, beta = 1/2. While w > 0 every subgradient is 1, so w_k - w_{k-1} = -sum_{j<k}
beta^{k-1-j} alpha_j and w_k = 10 - sum_{j<k} alpha_j (1 - beta^{k-j}) / (1 - beta) -> 10 - (pi^2/6)/(1/2) = 6.7101.
Additive noise with mean 0 leaves the mean unchanged; with s = +-1 and sigma = 1/2 no run can reach the kink, for
1.5 pi^2/3 = 4.93 < 10. Every limit point is not critical: sum alpha = inf in (A3) cannot be dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import exact, point
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps
from bench.statistics.estimates import Exact, Mean
from bench.statistics.inference import Region

START, LR, BETA = 10.0, 1.0, 0.5
LIMIT = START - math.pi**2 / 6 / (1 - BETA)


def stopping_point(steps: int) -> float:
    """E w_K of the summable schedule, exact while w > 0."""
    weights = (1 - BETA ** np.arange(steps, 0, -1.0)) / (1 - BETA)
    return START - float(power_steps(LR, 2.0, steps, 0.0) @ weights)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(
        q: float, sigma: float, steps: int, seeds: int, observe: Mapping | None = None, beta: float = BETA
    ) -> Experiment:
        problem = {"problem": "absolute", "problem.noise": "signs", "problem.sigma": sigma}
        start = {"init": "point", "init.value": START}
        return heavy_ball(
            protocol, problem | start, power(q, 0.0), lr=LR, beta=beta, steps=steps, seeds=seeds, observe=observe
        )

    steps, noisy = protocol["steps"], protocol["noisy_steps"]
    path = {"path": {"at": sorted({0, steps, *(2**j for j in range(steps.bit_length()))})}}
    return {
        "summable": run(2.0, 0.0, steps, 1, path),
        "divergent_sum": run(1.0, 0.0, steps, 1, path),
        "noisy": run(2.0, 0.5, noisy, protocol["seeds"]),
        "noisy_divergent_sum": run(1.0, 0.5, steps, protocol["control_seeds"]),
        "sgd": run(2.0, 0.0, steps, 1, beta=0.0),
        "noisy_sgd": run(2.0, 0.5, noisy, protocol["control_seeds"], beta=0.0),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def error(name: str) -> Exact:
        return Exact(abs(float(results[name]["clarke_distance"][0]) / LIMIT - 1))

    stopped = float(results["summable"]["clarke_distance"][0])
    without_beta = START - math.pi**2 / 6
    noisy = Mean(results["noisy"]["w0"])
    target = stopping_point(protocol["noisy_steps"])
    formula = "formula without the factor 1/(1 - beta)"
    return [
        Part(
            "With a summable step size the heavy ball stops at a computable point that is not critical.",
            "L7, necessity of sum alpha = inf in D1 (A3)",
            exact(f"w_K = 10 - pi^2/3 = {LIMIT:.4f} within 0.1 %", Region(0.0, 1e-3), "relative error"),
            error("summable"),
            (
                Control("alpha_k = 1/(k+1), whose sum is infinite", error("divergent_sum")),
                Control("SGD with the same step sizes", error("sgd")),
            ),
            of=("summable",),
            note=f"w_K = {stopped:.5f}; no randomness.",
            alternatives=(Alternative(formula, f"{without_beta:.4f} predicted, {stopped:.4f} seen"),),
        ),
        Part(
            "With a summable step size and noise the heavy ball stops on average at the same point.",
            "L7",
            point(f"mean w_K = {target:.4f}, within 0.1", target, 0.1, "w"),
            noisy,
            (
                Control("alpha_k = 1/(k+1), same noise", Mean(results["noisy_divergent_sum"]["w0"])),
                Control("SGD with the same step sizes and noise", Mean(results["noisy_sgd"]["w0"])),
            ),
            of=("noisy",),
            alternatives=(Alternative(formula, f"{without_beta:.4f} predicted, {noisy.value:.4f} seen"),),
        ),
    ]


CLAIM = Claim(
    "CL14", "step_sizes", "The step sizes must sum to infinity.", "L7, D1 (this project; A3)", experiments, parts
)
