"""CL15: alpha_k = o(1/log k) converges, alpha_k = c / log k does not (theory.md A3, L6), at E1 (lambda = sigma = 1).

Over the window [K/2, K] the distance x_k = |w_k - w*| is nearly stationary Gaussian with variance
V = alpha_K sigma^2 / (2 lambda (1 - beta)), and its maximum u sqrt(V) grows like u^2/2 = log N, where N is the number
of independent values: log N = log K + O(log log K), times 1 - q for alpha = a / k^q.
  a/k^q:    log max = log sqrt(V) + log u: slope -q/2 + O((1 - q) / log N), negative but not -q/2 at finite K.
  c/log k:  levels of order 1 are large deviations of the bounded noise of E1 for every K: the share of the time beyond
            a level x is K^{-V(x) (1 - beta) / c} up to powers of log K, V the quasipotential of log cosh
            (quasipotential.py). So V(max) (1 - beta) / c log K = log N = log K + O(log log K): max -> L from below,
            V(L) = c / (1 - beta), as slowly as log N / log K -> 1. At finite K the sharp statement is therefore the
            slope 1 of V(max) (1 - beta) / c log K against log K, and the limit L its consequence.
The number of independent values is about K a_K sqrt(log K) ~ K / sqrt(log K), which takes 1 / (2 log K), 0.06 at these
K, from the slope 1; the first windows, of few independent values, are left out. Gaussian noise would have
L = sqrt(c / (1 - beta)), 5 % more at c / (1 - beta) = 0.3, and V(x) = x^2: an alternative beside the measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import heavy_ball, late_slopes, power, unbounded, window_ends
from bench.claims.step_sizes.quasipotential import largest_distance, quasipotential
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from bench.statistics.slope import slopes

BETAS, QS = (0.0, 0.9), (0.4, 0.6, 0.75)
C = 0.3  # of c / (1 - beta)
LIMIT = largest_distance(C)  # L, 0.95 sqrt(C)
REACHED = 0.99  # of the distance 1, which noise +-1 does not reach; V is infinite there
POWER_FIRST, LOG_FIRST = 256, 512  # first K: the start at w* is forgotten, and N is 5 or more at c / log k
FALLING, NOT_FALLING, GROWTH = Region(high=0.0), Region(low=0.0), Region(0.9, 1.1)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(
        beta: float, schedule: Mapping[str, Any], effective: float, steps: int, seeds: int | None = None
    ) -> Experiment:
        start = {"problem": "e1", "init": "point", "init.value": -1.0}
        lr = round(effective * (1 - beta), 12)
        observe = {"windows": {}}
        return heavy_ball(protocol, start, schedule, lr=lr, beta=beta, steps=steps, seeds=seeds, observe=observe)

    few, inverse_log = protocol["power_steps"], {"schedule": "inverse_log"}
    unscaled = {"sgd unscaled": run(0.0, inverse_log, C * (1 - BETAS[1]), few)}
    runs = {f"q{q} beta{beta}": run(beta, power(q), 0.5, protocol["power_steps"]) for q in QS for beta in BETAS}
    many, steps = protocol["log_seeds"], protocol["log_steps"]
    logs = {f"log beta{beta}": run(beta, inverse_log, C, steps, many) for beta in BETAS}
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

    def growth_of(name: str, steps: int, cost: Callable[[np.ndarray], np.ndarray] = quasipotential) -> Mean:
        ends = window_ends(steps)
        late = ends >= LOG_FIRST
        log_k = np.log(ends[late])
        return Mean(slopes(cost(np.minimum(far[name][:, late], REACHED)) / C * log_k, log_k))

    growths = {f"beta{b}": growth_of(f"log beta{b}", protocol["log_steps"]) for b in BETAS}
    gaussian = {name: growth_of(f"log {name}", protocol["log_steps"], np.square) for name in growths}
    unscaled = growths["beta0.9"].value / (1 - 0.9)
    medians = {b: float(np.median(far[f"log beta{b}"][:, -1])) / LIMIT for b in BETAS}
    return [
        Part(
            "With step sizes a/k^q the largest distance to the minimum over [K/2, K] falls.",
            "D1 (this project; A3)",
            inside(f"log-log slope < 0 for q in {QS}, beta in {BETAS}", FALLING, "slope"),
            Cases(powers),
            (*(Control(f"c / log k, {name}", one) for name, one in logs.items()),),
            of=tuple(powers),
            note=f"All: {_listed(powers)}.",
        ),
        Part(
            "With c / log k the largest distance to the minimum over [K/2, K] does not fall.",
            "D1 (this project; A3), L6",
            inside("log-log slope >= 0", NOT_FALLING, "slope"),
            Cases(logs),
            (*(Control(f"a / k^q, {name}", one) for name, one in powers.items()),),
            of=tuple(f"log {name}" for name in logs),
        ),
        Part(
            "With c / log k the largest distance tends slowly to L, V(L) = c / (1 - beta), V the quasipotential.",
            "L6, for bounded noise",
            inside("slope of V(max) (1 - beta) / c log K against log K: 1, within 0.1", GROWTH, "slope"),
            Cases(growths),
            (
                Control("SGD with the step of the heavy ball", growth_of("sgd unscaled", protocol["power_steps"])),
                *(Control(f"a / k^q, {name}", growth_of(name, protocol["power_steps"])) for name in powers),
            ),
            alternatives=(
                Alternative("V of Gaussian noise, L = sqrt(c / (1 - beta))", _listed(gaussian)),
                Alternative("without the factor 1/(1 - beta), at beta = 0.9", f"slope {unscaled:.2f} by that scale"),
            ),
            of=tuple(f"log {name}" for name in growths),
            note=f"L = {LIMIT:.3f}. At K = {window_ends(protocol['log_steps'])[-1]} the median maximum is "
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
