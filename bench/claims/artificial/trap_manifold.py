"""CL28: at E3 a whole line leads to the artificial point (0, b), but only if position and velocity start on it.

On {w_1 = 0} with zero velocity in w_1 and t = 0, w_1 stays 0 and w_2 goes to b: convergence to an artificial point
with motion, F -> 0. Off the line, by however little, w_1 feels the slope 1 of F and goes to -1, F -> -1/2
(theory.md D4 D; example E3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.share import always, never
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"optimizer": "sgd", "optimizer.lr": 0.5},
    "shb": {"optimizer": "shb", "optimizer.lr": 0.05, "optimizer.momentum": 0.9},
}
START, PERTURBATION = 3.0, 1e-12


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(optimizer: str, w1: float) -> Experiment:
        return trajectories(
            {"problem": "e3", "init": "point", "init.value": (w1, START)},
            OPTIMIZERS[optimizer],
            {"schedule": "power", "steps": protocol["steps"]},
            seeds=protocol["seeds"],
            device=protocol.device,
        )

    starts = {"on": 0.0, "off": PERTURBATION}
    return {f"{o}_{name}": run(o, w1) for o in OPTIMIZERS for name, w1 in starts.items()}


def at_artificial(columns: Columns) -> int:
    """Runs that end within 0.01 of (0, b) with w_1 = 0 exactly."""
    return int(np.sum((columns["artificial_distance"] < 0.01) & (columns["w0"] == 0)))


def at_clarke(columns: Columns) -> int:
    """Runs that end within 0.5 of (-1, b); the last effective step leaves a standard deviation of about 0.05."""
    return int(np.sum(columns["clarke_distance"] < 0.5))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["seeds"]
    rows = []
    for optimizer, name in (("sgd", "SGD"), ("shb", "the heavy ball")):
        on, off = results[f"{optimizer}_on"], results[f"{optimizer}_off"]
        rows.append(
            Part(
                f"Started on the line w_1 = 0 at rest, {name} converges to the artificial point of E3.",
                "paper C-e, E3",
                always(what="ending at (0, b)"),
                Proportion(at_artificial(on), n),
                (Control(f"w_1 = {PERTURBATION:g} instead of 0", Proportion(at_artificial(off), n)),),
                of=(f"{optimizer}_on",),
            )
        )
    missed = n - at_clarke(results["shb_off"])
    rows.append(
        Part(
            "Started 1e-12 beside that line, the heavy ball reaches the Clarke point.",
            "D4(D), E3",
            never(what="missing (-1, b)"),
            Proportion(missed, n),
            (Control("start on the line", Proportion(n - at_clarke(results["shb_on"]), n)),),
            of=("shb_off",),
        )
    )
    return rows


CLAIM = Claim(
    "CL28",
    "artificial",
    "A line of starts converges to an artificial point, its neighbourhood does not.",
    "paper C-e, D4(D)",
    experiments,
    parts,
)
