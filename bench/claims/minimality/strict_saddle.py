"""CL61: a nonsmooth active strict saddle is critical, and neither SGD nor SHB ends there (E16, |x| - y^2 + y^4).

D1 and D4 allow the limit (0, 0), a Clarke critical point. It is left by

* a random start, without noise. On the active manifold {x = 0}, and off it, v_y = -2 y + 4 y^3, so that y obeys a
  smooth recursion of its own: for |y_0| <= 1 and alpha_0 < 1/4 it keeps its sign and grows like |y_0| e^{2t}, t = sum
  alpha / (1 - beta), until |y| is of order 1. |y_K| < d needs |y_0| < d e^{-2t} (1 + o(1)): probability d e^{-2t} for
  the uniform start on [-1, 1], here 0.1 e^{-13.8} = 1e-7 after 768 steps. The set of starts that end at the saddle is
  {y = 0}, null.
* noise, from any start: it moves y off 0.

At a constant step the time to leave is known. Near y = 0 the recursion is y_{k+1} = (1 + beta + 2 alpha) y_k - beta
y_{k-1} - alpha sigma s_k; with rho > 1 > rho' the roots of z^2 - (1 + beta + 2 alpha) z + beta, y_k rho^{-k} tends to

    Y ~ N(0, v),   v = (alpha sigma / (rho - rho'))^2 / (1 - rho^{-2}),   |y_k| > d from k = log(d / |Y|) / log rho on,

E log |N(0, 1)| = -(gamma + log 2) / 2, and the quartic term adds -log(1 - 2 d^2) / 4 to the clock. As a = alpha / (1
- beta) -> 0, log rho = 2 a, v = a sigma^2 / 4, and the clock to leave is const + log(1/a) / 4, for SHB as for SGD; at
beta = 0.9 the memory makes rho smaller by a quarter at a = 0.02. Controls: the start {y = 0} without noise, which is
kept exactly, goes to the saddle; and from y_0 ~ U(0.005, 0.02) without noise the clock to leave does not depend on a.
Pilots (seeds from 10,000) chose step sizes and horizons, and showed the law for a -> 0, our first one, to be too
simple for SHB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.minimality import METHODS
from bench.claims.prediction import inside
from bench.claims.share import never, of_runs
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, unbounded
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region

EFFECTIVE, Q = 0.5, 0.75  # of a_k = a / (k + 11)^q
SIGMA = 0.5  # of the noise
ON_MANIFOLD = {"init": "point", "init.value": (0.5, 0.0)}  # y = 0
RADIUS = 0.1  # of "at the saddle"
STEPS = (0.02, 0.0025)  # constant effective steps of the exits
LEVEL, CLOCK = 0.2, 7.0  # |y| that counts as left; longest run, in units of the clock
BESIDE = {"init": "uniform", "init.low": 0.005, "init.high": 0.02}  # of both coordinates
FEW = 1000  # runs of the controls


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(method: str, sigma: float, step: float, *settings: Mapping[str, Any], **sizes: Any) -> Experiment:
        beta = METHODS[method]
        problem = {"problem": "e16", "problem.sigma": sigma, "engine": protocol["engine"]}
        return heavy_ball(protocol, problem, *settings, lr=round(step * (1 - beta), 12), beta=beta, **sizes)

    def decaying(method: str, sigma: float, start: Mapping[str, Any], seeds: int | None = None) -> Experiment:
        return run(method, sigma, EFFECTIVE, start, power(Q), seeds=seeds)

    def exits(method: str, sigma: float, step: float, start: Mapping[str, Any], seeds: int) -> Experiment:
        observe = {"exit": {"coordinate": 1, "level": LEVEL}}
        steps, constant = round(CLOCK / step), {"schedule": "constant"}
        return run(method, sigma, step, start, constant, steps=steps, seeds=seeds, observe=observe)

    runs = {}
    for method in METHODS:
        runs[f"{method} random"] = decaying(method, 0.0, {"init": "uniform", "init.low": -1.0, "init.high": 1.0})
        runs[f"{method} manifold"] = decaying(method, 0.0, ON_MANIFOLD, seeds=FEW)
        runs[f"{method} noise"] = decaying(method, SIGMA, ON_MANIFOLD)
        for step in STEPS:
            runs[f"{method} exit {step:g}"] = exits(method, SIGMA, step, {"init": "zeros"}, protocol["exit_seeds"])
            runs[f"{method} beside {step:g}"] = exits(method, 0.0, step, BESIDE, FEW)
    return runs


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    stuck = {name: at_saddle(results[name]) for name in results if "exit" not in name and "beside" not in name}
    manifold = tuple(Control(f"{method} from y = 0 without noise", stuck[f"{method} manifold"]) for method in METHODS)

    def clock(method: str, kind: str, step: float) -> Mean:
        exits = results[f"{method} {kind} {step:g}"]["exit"]
        return Mean(step * np.where(exits < 0, CLOCK / step, exits) / clock_to_leave(step, METHODS[method]))

    def clocks(kind: str) -> dict[str, Mean]:
        return {f"{method}, a = {step:g}": clock(method, kind, step) for method in METHODS for step in STEPS}

    stayed = {name: int((columns["exit"] < 0).sum()) for name, columns in results.items() if "exit" in columns}
    return [
        Part(
            "From a random start, without noise, neither SGD nor SHB ends at the saddle.",
            "D1, D4 (this project); Davis and Drusvyatskiy",
            never(f"within {RADIUS:g} of the saddle"),
            Cases({method: stuck[f"{method} random"] for method in METHODS}),
            manifold,
            of=tuple(f"{method} random" for method in METHODS),
        ),
        Part(
            "Noise takes both off the saddle's stable manifold y = 0.",
            "E16 (this project)",
            never(f"within {RADIUS:g} of the saddle"),
            Cases({method: stuck[f"{method} noise"] for method in METHODS}),
            manifold,
            of=tuple(f"{method} noise" for method in METHODS),
        ),
        Part(
            "Noise takes as long to leave the saddle as the linear recursion there says, log(1/a) / 4 and more.",
            "E16 (this project)",
            inside("mean clock to |y| > 0.2 / the law within 5 % of 1", Region(0.95, 1.05), "ratio"),
            Cases(clocks("exit")),
            tuple(
                Control(f"{case}, from y = 0.005 to 0.02 without noise", one) for case, one in clocks("beside").items()
            ),
            note="The law: "
            + ", ".join(f"{m} {clock_to_leave(a, b):.3f} at a = {a:g}" for m, b in METHODS.items() for a in STEPS)
            + f"; {sum(stayed.values())} runs had not left.",
            of=tuple(f"{method} exit {step:g}" for method in METHODS for step in STEPS),
        ),
    ]


def clock_to_leave(step: float, beta: float, sigma: float = SIGMA, level: float = LEVEL) -> float:
    """Mean of the clock at which |y| passes `level`, from the saddle at rest, at the constant effective `step`."""
    alpha = step * (1 - beta)
    total = 1 + beta + 2 * alpha
    rho = (total + math.sqrt(total * total - 4 * beta)) / 2
    variance = (alpha * sigma / (rho - beta / rho)) ** 2 / (1 - rho**-2)
    log_normal = -(np.euler_gamma + math.log(2)) / 2
    steps = (math.log(level) - math.log(variance) / 2 - log_normal) / math.log(rho) + 1 / 2  # k is whole
    return step * steps - math.log(1 - 2 * level * level) / 4


def at_saddle(columns: Columns) -> Proportion:
    """Share of the runs whose last iterate is within RADIUS of (0, 0)."""
    return of_runs(np.hypot(columns["w0"], columns["w1"]) < RADIUS)


CLAIM = Claim(
    "CL61",
    "minimality",
    "A nonsmooth strict saddle is critical, and random starts and noise avoid it.",
    "D1, D4 (this project)",
    experiments,
    parts,
)
