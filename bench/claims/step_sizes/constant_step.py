"""CL16: a constant step size reaches a neighbourhood whose size is known, and does not converge (theory.md L1).

At E1 (lambda = sigma = 1, minimum -1) SHB is linear off the kink: w_{k+1} = w_k - alpha (w_k + 1 + s_k) + beta (w_k -
w_{k-1}), whose stationary variance is L1 exactly, alpha (1 + beta) / ((1 - beta) (2 (1 + beta) - alpha)). It is of
order alpha: the runs stay near the minimum with a probability that tends to 1 as alpha -> 0 (Bianchi, Hachem and
Schechtman; Josz and Lai), but at a fixed alpha the oscillation of F does not fall.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import heavy_ball, late_slopes, power, unbounded
from bench.claims.trajectories import trajectories
from bench.claims.verdict import alone
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, PairedMean
from bench.statistics.inference import Region

ALPHAS, BETAS = (0.2, 0.1, 0.05, 0.025, 0.0125), (0.0, 0.9)
RADIUS = 0.25  # of the neighbourhood
WINDOW_STEP = 0.05  # of the runs whose oscillation is measured
FIRST = 256  # first window of the slopes: at alpha / (1 - beta) = 1/2 and at its decaying counterpart, stationary
FALLING, VARIANCE, POSITIVE = Region(high=-0.375), Region(0.97, 1.03), Region(low=0.0)  # -0.375 = -q/2, q = 0.75


def variance(alpha: float, beta: float) -> float:
    """L1 with lambda = sigma = 1."""
    return alpha * (1 + beta) / ((1 - beta) * (2 * (1 + beta) - alpha))


def relaxation(alpha: float, beta: float) -> int:
    """Steps in which a deviation falls to 1/e: -1 / log |z|, z the larger root of z^2 - (1 + beta - alpha) z + beta."""
    return math.ceil(-1 / math.log(float(np.abs(np.roots([1.0, -(1 + beta - alpha), beta])).max())))


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    start = {"problem": "e1", "init": "point", "init.value": -1.0}
    runs = {}
    for beta in BETAS:
        for alpha in ALPHAS:
            spacing = relaxation(alpha, beta)
            steps = (protocol["burn_in"] + protocol["points"]) * spacing
            at = list(range(protocol["burn_in"] * spacing, steps + 1, spacing))
            observe = {"path": {"at": at}}
            runs[f"{alpha} beta{beta}"] = heavy_ball(protocol, start, lr=alpha, beta=beta, steps=steps, observe=observe)
    spacing = relaxation(ALPHAS[0], BETAS[1])
    first, steps = protocol["burn_in"] * spacing, (protocol["burn_in"] + protocol["points"]) * spacing
    runs["nesterov"] = trajectories(
        start,
        {"optimizer": "nesterov", "optimizer.lr": ALPHAS[0], "optimizer.momentum": BETAS[1], "steps": steps},
        seeds=protocol["window_seeds"],
        observe={"path": {"at": list(range(first, steps + 1, spacing))}},
        device=protocol.device,
    )
    for name, schedule in (("constant", {"schedule": "constant"}), ("decaying", power(0.75))):
        runs[name] = heavy_ball(
            protocol,
            start,
            schedule,
            lr=WINDOW_STEP,
            beta=0.9,
            steps=protocol["window_steps"],
            seeds=protocol["window_seeds"],
            observe={"windows": {}},
        )
    return runs


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    deviation = {name: columns["w0"] + 1 for name, columns in results.items() if " " in name}
    squares = {name: (values**2).mean(1) for name, values in deviation.items()}
    ratios = {f"{a} beta{b}": Mean(squares[f"{a} beta{b}"] / variance(a, b)) for a in ALPHAS for b in BETAS}
    simple = Mean(squares[f"{ALPHAS[0]} beta0.0"] / (ALPHAS[0] / 2))
    plain = ratios["0.1 beta0.9"].value * variance(0.1, 0.9) / variance(0.1, 0.0)
    nesterov = Mean(((results["nesterov"]["w0"] + 1) ** 2).mean(1) / variance(ALPHAS[0], BETAS[1]))
    decayed = Mean((results["decaying"]["w0"] + 1) ** 2 / variance(WINDOW_STEP, BETAS[1]))
    outside = {name: (np.abs(values) > RADIUS).mean(1) for name, values in deviation.items()}
    falls = {
        f"{a} to {smaller} at beta {b}": PairedMean(outside[f"{a} beta{b}"], outside[f"{smaller} beta{b}"])
        for b in BETAS
        for a, smaller in pairwise(ALPHAS)
    }
    shares = {b: [float(outside[f"{a} beta{b}"].mean()) for a in ALPHAS] for b in BETAS}
    by_momentum = {a: PairedMean(outside[f"{a} beta{BETAS[0]}"], outside[f"{a} beta{BETAS[1]}"]) for a in ALPHAS}
    slope = {
        name: Mean(late_slopes(results[name]["osc"], protocol["window_steps"], FIRST))
        for name in ("constant", "decaying")
    }
    verdict = {name: alone(inside("slope <= -q/2", FALLING), one) for name, one in slope.items()}
    return [
        Part(
            "At a constant step size the spread around the minimum is the stationary variance of L1.",
            "L1",
            inside(f"E (w - w*)^2 / L1 within 3 % of 1, alpha in {ALPHAS}, beta in {BETAS}", VARIANCE, "ratio"),
            Cases(ratios),
            (
                Control(f"Nesterov's momentum instead, alpha = {ALPHAS[0]}, beta = {BETAS[1]}", nesterov),
                Control(f"alpha_k = {WINDOW_STEP} / (k + 11)^0.75 instead, at the end", decayed),
            ),
            alternatives=(
                Alternative(
                    "alpha / (2 (1 - beta)), the law for small alpha, at alpha = 0.2 and beta = 0",
                    f"ratio {simple.value:.3f}",
                ),
                Alternative("L1 without momentum, at beta = 0.9", f"ratio {plain:.2f}"),
            ),
            of=tuple(ratios),
        ),
        Part(
            f"Halving the constant step makes it rarer to be farther than {RADIUS} from the minimum.",
            "L1; Bianchi, Hachem and Schechtman; Josz and Lai",
            inside("the share of time outside falls at every halving", POSITIVE, "share"),
            Cases(falls),
            tuple(Control(f"raising beta from 0 to 0.9 at alpha = {a} instead", one) for a, one in by_momentum.items()),
            of=tuple(outside),
            note="; ".join(f"beta {b}: {', '.join(f'{s:.4f}' for s in own)}" for b, own in shares.items()) + ".",
        ),
        Part(
            "At a constant step size the oscillation of F does not fall: it does not converge.",
            "D1 (this project; A3), L1",
            inside("log-log slope of the oscillation of F over [K/2, K] >= 0", POSITIVE, "slope"),
            slope["constant"],
            (Control("alpha_k = a / k^0.75", slope["decaying"]),),
            of=("constant",),
            alternatives=(
                Alternative(
                    "the claim 'converges' (slope <= -q/2)",
                    f"{verdict['constant']} here, {verdict['decaying']} with a / k^0.75",
                ),
            ),
        ),
    ]


CLAIM = Claim(
    "CL16",
    "step_sizes",
    "A constant step size gives a neighbourhood, not convergence.",
    "L1",
    experiments,
    parts,
)
