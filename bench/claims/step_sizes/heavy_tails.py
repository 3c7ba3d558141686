"""CL55: under noise of tail index p in (1, 2) step sizes k^-q converge iff q > 1/p, and 1/2 < q does not suffice.

E13: F = w^2 / 2, v = w + s, P(|s| > x) = x^{-p} for x >= 1, steps alpha_k ~ k^{-q}, SGD and SHB.

Converges iff sum alpha_k^p < inf, that is q > 1/p: then sum alpha_k s_k converges almost surely by Kolmogorov's three
series (truncated at |alpha_k s_k| = 1: sum P = sum alpha_k^p, sum of variances = O(sum alpha_k^p), means 0 by
symmetry), and a linear recursion driven by a convergent sum goes to 0. Otherwise |alpha_k s_k| > x infinitely often
for every x (Borel-Cantelli), and so does |w_{k+1} - w_k|, or |w_k|.

The largest |w_k| over [K/2, K] is that of one jump, of order (sum a_k^p)^{1/p}: the slope of its logarithm against
log K is 1/p - q, for SHB as for SGD. At a finite K many smaller jumps and the memory of SHB change it, by amounts
that `single_jump` computes. They are as large as the slopes themselves (0.07 of 0.08), but nearly the same for all (p,
q), so the law is judged by differences of slopes, in which at most 0.04 of them are left: by how much the slope changes
with q at one p, and with p at one q, 0.15 and 0.17 by the law. p = 1.2, q = 0.75 has sum alpha_k^2 < inf and does not
converge. Pilots (seeds from 10,000) chose a_k = 2 / (k + 11)^q and the first window; their slopes at K = 16,384 were
those of `single_jump` within 0.02.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import (
    heavy_ball,
    late_slopes,
    power,
    power_steps,
    unbounded,
    window_ends,
)
from bench.claims.step_sizes.single_jump import log_scales
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from bench.statistics.slope import slopes

BETAS = (0.0, 0.9)
EFFECTIVE = 2.0  # a of a_k = a / (k + 11)^q
LAWS = ((1.2, 0.75), (1.5, 0.75), (1.5, 0.6))  # (p, q): 1/p - q = 0.083, -0.083, 0.067
DIVERGING, CONVERGING, SLOW = LAWS
TOLERANCE = 0.05  # of a difference of slopes: the derived finite-K corrections are at most 0.033 (quick), 0.039 (full)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(tails: str, p: float, q: float, beta: float) -> Experiment:
        return heavy_ball(
            protocol,
            {"problem": "e13", "problem.tails": tails, "problem.index": p, "engine": protocol["engine"]},
            {"init": "point", "init.value": 0.0},
            power(q),
            lr=step_size(beta),
            beta=beta,
            observe={"windows": {}},
        )

    runs = {case(p, q, beta): run("pareto", p, q, beta) for p, q in LAWS for beta in BETAS}
    return runs | {
        f"gaussian beta {beta:g}{suffix}": run("gaussian", *law, beta)
        for law, suffix in ((CONVERGING, ""), (SLOW, " slow"))
        for beta in BETAS
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps, first = protocol["steps"], protocol["first"]
    slope = {name: late_slopes(columns["distance_max"], steps, first) for name, columns in results.items()}

    def of(law: tuple[float, float]) -> dict[str, Mean]:
        return {case(*law, beta): Mean(slope[case(*law, beta)]) for beta in BETAS}

    def controls(law: tuple[float, float]) -> tuple[Control, ...]:
        return tuple(Control(name, one) for name, one in of(law).items())

    def beyond(lower: tuple[float, float], one: np.ndarray, other: np.ndarray) -> Mean:
        """What is left of the difference of the slopes of `lower` and of CONVERGING once the law is subtracted."""
        return Mean(one - other - (exponent(lower) - exponent(CONVERGING)))

    changed = {SLOW: f"q {SLOW[1]:g} for {CONVERGING[1]:g}", DIVERGING: f"p {DIVERGING[0]:g} for {CONVERGING[0]:g}"}
    differences, derived = {}, {}
    for law, what in changed.items():
        for b in BETAS:
            name = f"{what}, beta = {b:g}"
            differences[name] = beyond(law, slope[case(*law, b)], slope[case(*CONVERGING, b)])
            both = [finite_slope(*one, b, steps, first) - exponent(one) for one in (law, CONVERGING)]
            derived[name] = both[0] - both[1]
    same = [
        Control(
            f"no change of {what[0]} (SHB minus SGD), beside {what}",
            beyond(law, *(slope[case(*CONVERGING, b)] for b in reversed(BETAS))),
        )
        for law, what in changed.items()
    ]
    gaussian = [
        Control(
            f"Gaussian noise, {changed[SLOW]}, beta = {b:g}",
            beyond(SLOW, slope[f"gaussian beta {b:g} slow"], slope[f"gaussian beta {b:g}"]),
        )
        for b in BETAS
    ]
    return [
        Part(
            "Under noise of tail index p the largest distance to the minimum over [K/2, K] goes like K^(1/p - q).",
            "single-jump law (theory.md 2.6)",
            inside(
                f"difference of log-log slopes minus that of 1/p - q within {TOLERANCE:g}, q or p changed",
                Region(-TOLERANCE, TOLERANCE),
                "slope",
            ),
            Cases(differences),
            (*same, *gaussian),
            note=f"By the law {exponent(SLOW) - exponent(CONVERGING):.3f} for q, "
            f"{exponent(DIVERGING) - exponent(CONVERGING):.3f} for p. Measured beyond it (and derived for this K): "
            + "; ".join(f"{name}: {one.value:.3f} ({derived[name]:.3f})" for name, one in differences.items())
            + ".",
            of=tuple(case(*law, b) for law in LAWS for b in BETAS),
        ),
        Part(
            "Square summable steps with q < 1/p do not converge: the largest distance over [K/2, K] does not fall.",
            "single-jump law (theory.md 2.6)",
            inside(f"log-log slope >= 0, p = {DIVERGING[0]}, q = {DIVERGING[1]}", Region(low=0.0), "slope"),
            Cases(of(DIVERGING)),
            controls(CONVERGING),
            of=tuple(of(DIVERGING)),
        ),
        Part(
            "With q > 1/p they converge, though the noise has no variance.",
            "single-jump law (theory.md 2.6)",
            inside(f"log-log slope < 0, p = {CONVERGING[0]}, q = {CONVERGING[1]}", Region(high=0.0), "slope"),
            Cases(of(CONVERGING)),
            controls(DIVERGING),
            of=tuple(of(CONVERGING)),
        ),
    ]


def exponent(law: tuple[float, float]) -> float:
    """1/p - q."""
    return 1 / law[0] - law[1]


def finite_slope(p: float, q: float, beta: float, steps: int, first: int) -> float:
    """The slope that `single_jump` derives for the windows of a run."""
    ends = window_ends(steps)
    late = ends >= first
    scales = log_scales(power_steps(step_size(beta), q, steps), beta, p)
    return float(slopes(scales[None, late], np.log(ends[late]))[0])


def step_size(beta: float) -> float:
    """a (1 - beta): alpha_k (k + 11)^q."""
    return round(EFFECTIVE * (1 - beta), 12)


def case(p: float, q: float, beta: float) -> str:
    """Name of an experiment."""
    return f"p = {p:g}, q = {q:g}, beta = {beta:g}"


CLAIM = Claim(
    "CL55",
    "step_sizes",
    "Heavy tails ask for faster decay: step sizes k^-q converge iff q > 1/p.",
    "single-jump law (this project)",
    experiments,
    parts,
)
