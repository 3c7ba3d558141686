"""CL29: "random" must mean absolutely continuous: a law with atoms on a grid is trapped with positive probability.

E1, SGD, alpha = 1/2: from w > 0 a step gives w/2 or w/2 - 1, each with probability 1/2, so 0 is reached from 2 with
probability 1/2, and from a positive even w_0 with 2^{-floor(log2 w_0)}; odd and negative w_0 never reach 0 (example
E1 iv). E10: with a bias that starts at 0, as Keras does, an all-zero input has pre-activation exactly 0 for every
weight: a kink that no random weight avoids, in any precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.share import always, never, probability, share_of
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion

STARTS = (2, 6, 8)  # predicted shares 1/2, 1/4, 1/8
ODD = 5


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def e1(init: Mapping[str, Any], optimizer: str = "sgd") -> Experiment:
        momentum = {"optimizer.momentum": 0.9} if optimizer == "shb" else {}
        return trajectories(
            {"problem": "e1", "optimizer": optimizer, "optimizer.lr": 0.5, **momentum, **init},
            {"steps": protocol["steps"]},
            seeds=protocol["seeds"],
            device=protocol.device,
        )

    def e10(bias: str) -> Experiment:
        return trajectories(
            {"problem": "e10", "problem.bias": bias, "optimizer": "sgd", "optimizer.lr": 0.1, "steps": 1},
            observe={"path": {"at": [0]}},
            seeds=protocol["seeds"],
            device=protocol.device,
        )

    def point(w: int) -> dict[str, Any]:
        return {"init": "point", "init.value": w}

    grid = {f"start{w}": e1(point(w)) for w in (*STARTS, ODD)}
    return {
        **grid,
        "zeros": e1({"init": "zeros"}),
        "normal": e1({"init": "normal", "init.std": 2.0}),
        "shb": e1(point(STARTS[0]), optimizer="shb"),
        "e10_zero": e10("zero"),
        "e10_random": e10("random"),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["seeds"]
    trapped = {name: int(columns["trapped"].sum()) for name, columns in results.items() if "trapped" in columns}
    normal = Control("w_0 ~ N(0, 4)", share_of(results["normal"], "trapped"))
    rows = [
        Part(
            f"Started at the grid point {w}, SGD with constant step 1/2 falls into the trap of E1 as computed.",
            "D4(C), E1(iv)",
            probability(2.0 ** -int(math.log2(w)), words=f"share trapped = 1/{2 ** int(math.log2(w))}"),
            Proportion(trapped[f"start{w}"], n),
            (normal,),
            of=(f"start{w}",),
        )
        for w in STARTS
    ]
    kinks = {name: int((results[f"e10_{name}"]["w1"][:, 0] == 0).sum()) for name in ("zero", "random")}
    even = Control(f"SGD from the grid point {STARTS[0]}", share_of(results[f"start{STARTS[0]}"], "trapped"))
    return [
        *rows,
        Part(
            f"From the grid point {ODD}, which no dyadic path joins to 0, SGD is not trapped.",
            "E1(iv)",
            never(),
            Proportion(trapped[f"start{ODD}"], n),
            (even,),
            of=(f"start{ODD}",),
        ),
        Part(
            "Zero initialisation is trapped for ever.",
            "paper C-e, E1(i)",
            always(what="trapped"),
            Proportion(trapped["zeros"], n),
            (normal,),
            of=("zeros",),
        ),
        Part(
            "The heavy ball is not trapped from a grid point that traps SGD half of the time.",
            "D4(D)",
            never(),
            Proportion(trapped["shb"], n),
            (even,),
            of=("shb",),
        ),
        Part(
            "A bias that starts at zero puts every run on a kink, whatever the weights (all-zero inputs).",
            "E10",
            always(what="on an exact kink at the start, in float64,"),
            Proportion(kinks["zero"], n),
            (Control("random bias", Proportion(kinks["random"], n)),),
            of=("e10_zero",),
        ),
    ]


CLAIM = Claim(
    "CL29",
    "artificial",
    "Initialisation on a grid, or of zeros, is not random enough.",
    "D4, E1(iv), E10",
    experiments,
    parts,
)
