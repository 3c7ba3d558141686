"""CL15: alpha_k = o(1/log k) converges, alpha_k = c / log k does not (theory.md A3, L6), at E1 (lambda = sigma = 1).

Over the window [K/2, K] the distance x_k = |w_k - w*| is nearly stationary Gaussian with variance
V = alpha_K sigma^2 / (2 lambda (1 - beta)), and its maximum u sqrt(V) grows like u^2/2 = log N, where N is the number
of independent values: log N = log K + O(log log K), times 1 - q for alpha = a / k^q.
  a/k^q:    log max = log sqrt(V) + log u: slope -q/2 + O((1 - q) / log N), negative but not -q/2 at finite K.
  c/log k:  V = L^2 / (2 log K) with L = sqrt(c sigma^2 / (lambda (1 - beta))), so that (max / L)^2 log K = u^2/2 =
            log K + O(log log K): max -> L from below, as slowly as sqrt(log N / log K). At finite K the sharp
            statement is therefore the slope 1 of (max / L)^2 log K against log K, and the limit L its consequence.
The corrections O(log log K) change that slope by less than 0.2 once a window holds several independent values, which
is why the first windows are left out. The noise of E1 is bounded: c / (1 - beta) <= 0.3, so that many samples make up a
large deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import (
    heavy_ball,
    late_slopes,
    power,
    slopes,
    unbounded,
    window_ends,
    worst,
)
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region

BETAS, QS = (0.0, 0.9), (0.4, 0.6, 0.75)
C = 0.3  # of c / (1 - beta)
LIMIT = math.sqrt(C)  # L
POWER_FIRST, LOG_FIRST = 256, 512  # first K: the start at w* is forgotten, and N is 5 or more at c / log k
FALLING, NOT_FALLING, GROWTH = Region(high=0.0), Region(low=0.0), Region(0.8, 1.2)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(beta: float, schedule: tuple[str, ...], effective: float, steps: int) -> Experiment:
        start = ("problem=e1", "init=point", "init.value=-1.0")
        lr = round(effective * (1 - beta), 12)
        return heavy_ball(protocol, *start, *schedule, lr=lr, beta=beta, steps=steps, observe={"windows": {}})

    few = protocol["power_steps"]
    unscaled = {"sgd unscaled": run(0.0, ("schedule=inverse_log",), C * (1 - BETAS[1]), few)}
    runs = {f"q{q} beta{beta}": run(beta, power(q), 0.5, protocol["power_steps"]) for q in QS for beta in BETAS}
    logs = {f"log beta{beta}": run(beta, ("schedule=inverse_log",), C, protocol["log_steps"]) for beta in BETAS}
    return runs | logs | unscaled


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    far = {name: columns["distance_max"] for name, columns in results.items()}
    powers = {
        f"q{q} beta{b}": Mean(late_slopes(far[f"q{q} beta{b}"], protocol["power_steps"], POWER_FIRST))
        for q in QS
        for b in BETAS
    }
    logs = {f"beta{b}": Mean(late_slopes(far[f"log beta{b}"], protocol["log_steps"], LOG_FIRST)) for b in BETAS}

    def growth_of(name: str, steps: int) -> Mean:
        ends = window_ends(steps)
        late = ends >= LOG_FIRST
        log_k = np.log(ends[late])
        return Mean(slopes((far[name][:, late] / LIMIT) ** 2 * log_k, log_k))

    growths = {f"beta{b}": growth_of(f"log beta{b}", protocol["log_steps"]) for b in BETAS}
    (slowest, falling), (steepest, flat) = worst(powers, FALLING), worst(logs, NOT_FALLING)
    case, growth = worst(growths, GROWTH)
    unscaled = growths["beta0.9"].value / (1 - 0.9)
    medians = {b: float(np.median(far[f"log beta{b}"][:, -1])) / LIMIT for b in BETAS}
    return [
        Part(
            "With step sizes a/k^q the largest distance to the minimum over [K/2, K] falls.",
            "D1 (this project; A3)",
            inside(f"log-log slope < 0 for q in {QS}, beta in {BETAS}", FALLING, "slope"),
            falling,
            (*(Control(f"c / log k, {name}", one) for name, one in logs.items()),),
            note=f"Worst of {len(powers)} cases: {slowest}; all: {_listed(powers)}.",
        ),
        Part(
            "With c / log k the largest distance to the minimum over [K/2, K] does not fall.",
            "D1 (this project; A3), L6",
            inside("log-log slope >= 0", NOT_FALLING, "slope"),
            flat,
            (*(Control(f"a / k^q, {name}", one) for name, one in powers.items()),),
            note=f"Worst case: {steepest}.",
        ),
        Part(
            "With c / log k the largest distance tends to L = sqrt(c sigma^2 / (lambda (1 - beta))), slowly.",
            "L6",
            inside("slope of (max / L)^2 log K against log K: 1, within 0.2", GROWTH, "slope"),
            growth,
            (
                Control("SGD with the step of the heavy ball", growth_of("sgd unscaled", protocol["power_steps"])),
                *(Control(f"a / k^q, {name}", growth_of(name, protocol["power_steps"])) for name in powers),
            ),
            alternatives=(
                Alternative("L without the factor 1/(1 - beta), at beta = 0.9", f"slope {unscaled:.2f} by that scale"),
            ),
            note=f"Worst case: {case}. At K = {window_ends(protocol['log_steps'])[-1]} the median maximum is "
            + ", ".join(f"{value:.2f} L at beta {b}" for b, value in medians.items())
            + ": L itself is not reached at any feasible K.",
        ),
    ]


def _listed(estimates: Mapping[str, Mean]) -> str:
    return ", ".join(f"{name}: {one.value:.3f}" for name, one in estimates.items())


CLAIM = Claim(
    "CL15",
    "step_sizes",
    "Step sizes o(1/log k) converge, c / log k do not.",
    "D1 (this project; A3), L6",
    experiments,
    parts,
)
