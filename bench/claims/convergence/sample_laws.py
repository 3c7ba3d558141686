"""CL11: convergence of the objective under many laws of the samples (abstract C-c; theory.md 2.4).

F = w^2/2, v = w + s with s of mean 0 and variance 1. The statistic is that of CL4: the oscillation of F over [K/2, K]
falls, log-log slope -q up to a logarithm (maximum of N values; see CL15), here with q = 0.75 required to be below -q/2.
By the central limit theorem its level depends on the law through its variance only. Gaussian and Cantor noise are
not covered by the Sard condition of theory.md 2.4, so they are evidence, not a test of the theorem. The control is a
Cauchy law: without a mean (noise) or with infinite F (features, E12).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside, tost
from bench.claims.step_sizes.heavy_ball import heavy_ball, late_slopes, power, unbounded, worst
from bench.statistics.estimates import Mean, PairedMean
from bench.statistics.inference import Region

Q, FIRST = 0.75, 64  # exponent of the step size; first window, when the start is forgotten
COVERED = ("finite 2", "finite 10", "finite 1000", "uniform", "triangular", "mixture")
UNCOVERED = ("gaussian", "cantor")
FALLING, SAME = Region(high=-Q / 2), Region(-0.1, 0.1)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(*problem: str) -> Experiment:
        return heavy_ball(
            protocol, *problem, "init=normal", "init.std=0.5", *power(Q), lr=0.1, beta=0.9, observe={"windows": {}}
        )

    def noise(law: str) -> Experiment:
        name, _, atoms = law.partition(" ")
        return run("problem=quadratic", f"problem.noise={name}", *([f"problem.atoms={atoms}"] if atoms else []))

    laws = {law: noise(law) for law in (*COVERED, *UNCOVERED, "cauchy")}
    return laws | {"cauchy features": run("problem=e12")}


def falling(columns: Columns, steps: int) -> bool:
    """Whether CL4's statistic falls in every run that stayed bounded, and all did."""
    finite = np.isfinite(columns["osc"]).all(1) & (columns["diverged"] == 0) & (columns["sup_norm"] < 1e6)
    return bool(finite.all()) and Mean(late_slopes(columns["osc"], steps, FIRST)).interval()[1] < FALLING.high


def parts(protocol: Protocol, results: Results) -> list[Part]:
    laws = (*COVERED, *UNCOVERED)
    scope = unbounded(**{law: results[law] for law in laws})
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps = protocol["steps"]
    slopes = {law: Mean(late_slopes(results[law]["osc"], steps, FIRST)) for law in laws}
    level = {law: np.log(results[law]["osc"][:, -1]) for law in (*laws, "cauchy")}
    relative = {law: PairedMean(level[law], level["gaussian"]) for law in (*COVERED, "cantor")}
    other, difference = worst(relative, SAME)
    heavy = PairedMean(level["cauchy"], level["gaussian"])

    def control(law: str, description: str) -> Observed:
        sup = results[law]["sup_norm"]
        escaped = int((~(sup < 1e6) | (results[law]["diverged"] > 0)).sum())
        finite = np.isfinite(results[law]["osc"]).all(1)
        median = np.median(late_slopes(results[law]["osc"][finite], steps, FIRST)) if finite.any() else np.nan
        shown = f"{escaped} of {len(sup)} runs beyond 1e6, median slope of the others {median:+.2f}"
        return Observed(description, not falling(results[law], steps), shown)

    cauchy = (control("cauchy features", "Cauchy features (E12)"), control("cauchy", "Cauchy noise"))

    def part(own: tuple[str, ...], title: str, source: str) -> Part:
        law, slope = worst({law: slopes[law] for law in own}, FALLING)
        return Part(
            title,
            source,
            inside(f"log-log slope of the oscillation of F over [K/2, K] below -q/2 = {-Q / 2}", FALLING, "slope"),
            slope,
            cauchy,
            note=f"Worst of {', '.join(own)}: {law}.",
        )

    return [
        part(
            COVERED,
            "The objective converges for finite, uniform, triangular and mixed laws of the samples.",
            "paper C-c; D1(ii) (this project)",
        ),
        part(
            UNCOVERED,
            "The objective converges for Gaussian and Cantor samples too, which the definability argument leaves open.",
            "evidence only (theory.md 2.4)",
        ),
        Part(
            "The law of the samples matters through its variance only.",
            "L3 (this project)",
            tost("mean log oscillation minus that of Gaussian samples within 0.1 of 0", SAME, "log ratio"),
            difference,
            (Observed("Cauchy noise of the same scale", heavy.interval()[0] > SAME.high, f"{heavy.value:+.1f}"),),
            note=f"Worst of {', '.join(relative)}: {other}.",
        ),
    ]


CLAIM = Claim(
    "CL11",
    "convergence",
    "The objective converges for general laws of the samples.",
    "paper C-c; D1(ii) (this project)",
    experiments,
    parts,
)
