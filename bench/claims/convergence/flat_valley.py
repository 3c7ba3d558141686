"""CL10: F(w_k) converges although the iterates may wander in a flat valley (theory.md D1 ii).

F = (w_1 - 1)^2 / 2 with noise s of variance 1 along w_2 only. From rest, exactly,
    w_2,K - w_2,0 = -sum_{k<K} alpha_k s_k (1 - beta^{K-k}) / (1 - beta),
so Var w_2,K = sum_{k<K} alpha_k^2 ((1 - beta^{K-k}) / (1 - beta))^2, bounded iff the step sizes are square summable.
With alpha_k ~ k^{-0.4} it grows like K^{0.2} and w_2 wanders for ever, while alpha_k = o(1/log k) suffices for F.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import point
from bench.claims.share import always, of_runs
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps, unbounded
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, Proportion

LR, BETA = 0.05, 0.9
SQUARE_SUMMABLE, NOT_SQUARE_SUMMABLE = 0.75, 0.4
FALL, LEAST = 1e-6, 0.99  # of the oscillation; in more than this share of the runs


def wandering(q: float, steps: int) -> float:
    """Var w_2 after `steps` steps."""
    weights = (1 - BETA ** np.arange(steps, 0, -1.0)) / (1 - BETA)
    return float(((power_steps(LR, q, steps) * weights) ** 2).sum())


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    steps, few = protocol["steps"], protocol["control_seeds"]
    start = {"problem": "valley", "init": "point", "init.value": [3.0, 0.0]}
    observe = {"windows": {}, "path": {"at": [steps // 16, steps // 2, steps]}}

    def run(q: float, beta: float = BETA, seeds: int | None = None) -> Experiment:
        return heavy_ball(protocol, start, power(q), lr=LR, beta=beta, seeds=seeds, observe=observe)

    runs = {str(q): run(q) for q in (SQUARE_SUMMABLE, NOT_SQUARE_SUMMABLE)}
    runs |= {f"sgd {q}": run(q, 0.0, few) for q in (SQUARE_SUMMABLE, NOT_SQUARE_SUMMABLE)}
    return runs | {"undamped": run(SQUARE_SUMMABLE, 1.0, few)}


def settled(columns: Columns) -> Proportion:
    """Share of the runs whose last oscillation of F is at most FALL of their largest."""
    osc = columns["osc"]
    return of_runs(osc[:, -1] <= FALL * osc.max(1))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    narrow, wide = str(SQUARE_SUMMABLE), str(NOT_SQUARE_SUMMABLE)
    scope = unbounded(**{q: results[q] for q in (narrow, wide)})
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps = protocol["steps"]
    moved = float(np.median(np.abs(results[wide]["w1"][:, 2] - results[wide]["w1"][:, 1])))  # of w_2, from K/2 to K

    def ratio(name: str, q: str, k: int = steps) -> Mean:
        """Of E w_2^2 at K to the formula of q at k."""
        return Mean(results[name]["w1"][:, 2] ** 2 / wandering(float(q), k))

    def variance(title: str, q: str, *alternatives: Alternative) -> Part:
        growth = wandering(float(q), steps) / wandering(float(q), steps // 16)
        without = f"ratio {ratio(q, q).value / (1 - BETA) ** 2:.0f}"
        return Part(
            title,
            "catalogue CL10 (derived)",
            point(f"E w_2^2 / formula = 1, within 0.06, at q = {q}", 1.0, 0.06, "ratio"),
            ratio(q, q),
            (Control("SGD with the step of the heavy ball", ratio(f"sgd {q}", q)),),
            alternatives=(Alternative("formula without 1/(1 - beta)^2", without), *alternatives),
            of=(q,),
            note=f"From K/16 to K the predicted variance grows by {growth:.2f}.",
        )

    return [
        Part(
            "The objective converges while the iterates wander in a flat valley.",
            "paper C-c; D1(ii) (this project)",
            always(f"with an oscillation of F over [K/2, K] of at most {FALL:g} of the largest", LEAST),
            Cases({f"q = {q}": settled(results[q]) for q in (narrow, wide)}),
            (Control("beta = 1, no damping", settled(results["undamped"])),),
            of=(narrow, wide),
            note=f"No noise reaches the coordinate that F depends on. Meanwhile w_2 moves by {moved:.2f} (median, q = "
            f"{wide}, from K/2 to K).",
        ),
        variance(
            "With square summable steps the variance along the valley stays finite, as computed.",
            narrow,
            Alternative(f"formula of q = {wide}", f"ratio {ratio(narrow, wide).value:.3f}"),
        ),
        variance(
            "Without square summability the variance along the valley grows for ever, as computed, while F converges.",
            wide,
            Alternative("formula stopped at K/16", f"ratio {ratio(wide, wide, steps // 16).value:.2f}"),
        ),
    ]


CLAIM = Claim(
    "CL10",
    "convergence",
    "The objective converges even where the iterates wander.",
    "paper C-c; D1(ii) (this project)",
    experiments,
    parts,
)
