"""CL9: SHB spends a vanishing share of its step sizes away from critical points (theory.md D1 i).

The share up to K is sum alpha_k 1{m_radius(w_k) > delta} / sum alpha_k. Transients and large excursions take a finite
part of the clock T_K = sum alpha_k ~ K^{1-q}, so that the share falls like 1/T_K: by 0.4 from K/8 to K at q = 0.6. The
predicted 5 % at K = 2^18 is therefore a share of 5 % T_{2^18} / T_K at a smaller K.
Measured with m_radius of the Clarke subdifferential: at the trap of E1, which is critical for D_F only, it is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps, unbounded
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, PairedMean
from bench.statistics.inference import Region

RADIUS, DELTA, Q, EFFECTIVE = 0.1, 0.5, 0.6, 1.0
LIMIT, LIMIT_STEPS = 0.05, 2**18  # predicted share, at this K
FALLS = Region(low=0.0)
KEPT = 0.75  # the share at K must be below this multiple of that at K/8
CASES = {
    "E1, SGD": ({"problem": "e1"}, 0.0),
    "E1, beta 0.9": ({"problem": "e1"}, 0.9),
    "|w|, beta 0.9": ({"problem": "absolute", "problem.sigma": 0.5}, 0.9),
}
CONTROLS = {
    "start at the trap of E1": ({"problem": "e1", "init": "point", "init.value": 0.0}, 0.9),
    "oracle J w, no gradient (E11)": (
        {"problem": "e11", "problem.kind": "rotation", "init": "point", "init.value": [1.0, 0.0]},
        0.0,
    ),
}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(problem: Mapping[str, Any], beta: float, seeds: int) -> Experiment:
        steps = protocol["steps"]
        occupation = {"radius": RADIUS, "delta": DELTA, "at": [steps // 8, steps]}
        return heavy_ball(
            protocol,
            problem,
            power(Q),
            lr=round(EFFECTIVE * (1 - beta), 12),
            beta=beta,
            steps=steps,
            seeds=seeds,
            observe={"occupation": occupation},
        )

    runs = {name: run(problem, beta, protocol["seeds"]) for name, (problem, beta) in CASES.items()}
    return runs | {name: run(problem, beta, protocol["control_seeds"]) for name, (problem, beta) in CONTROLS.items()}


def limit(steps: int) -> float:
    """The predicted upper bound of the share at K = `steps`."""
    clock = np.cumsum(power_steps(1.0, Q, LIMIT_STEPS))
    return LIMIT * float(clock[-1] / clock[steps - 1])


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**{name: results[name] for name in CASES})
    if scope:
        return [CLAIM.out_of_scope(scope)]
    rare = Region(high=limit(protocol["steps"]))
    occupation = {name: columns["occupation"] for name, columns in results.items()}
    fall = {name: PairedMean(KEPT * own[:, 0], own[:, 1]) for name, own in occupation.items()}
    shares = ", ".join(
        f"{name}: {occupation[name][:, 0].mean():.4f} to {occupation[name][:, 1].mean():.4f}" for name in CASES
    )
    return [
        Part(
            "SHB spends little of its clock sum alpha away from Clarke critical points.",
            "paper C-a; D1(i) (this project)",
            inside(
                f"share of sum alpha with m > {DELTA} at most 5 % at K = 2^18, hence {100 * rare.high:.2g} % here",
                rare,
                "share",
            ),
            Cases({name: Mean(occupation[name][:, 1]) for name in CASES}),
            tuple(Control(name, Mean(occupation[name][:, 1])) for name in CONTROLS),
            of=tuple(CASES),
            note=f"From K = {protocol['steps'] // 8} to {protocol['steps']}: {shares}.",
        ),
        Part(
            "The share of the clock spent away from Clarke critical points tends to 0.",
            "paper C-a; D1(i) (this project)",
            inside(f"{KEPT} x share at K/8 - share at K > 0", FALLS, "share"),
            Cases({name: fall[name] for name in CASES}),
            tuple(Control(name, fall[name]) for name in CONTROLS),
            of=tuple(CASES),
        ),
    ]


CLAIM = Claim(
    "CL9",
    "convergence",
    "SHB accumulates essentially at critical points only.",
    "paper C-a; D1(i) (this project)",
    experiments,
    parts,
)
