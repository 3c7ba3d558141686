"""CL24: randomised in phase space (w_0 and w_0 - w_{-1} normal), SHB avoids the trap for every step sequence.

(w, u) -> (w - alpha v + beta (w - u), w) has |det| = beta^p whatever alpha is, so null sets have null preimages
(theory.md D4 A): the steps that are exceptional for SGD, alpha_0 = 1 and a constant 1/2, are harmless. Even w_0 = 0
with a random velocity leaves, and the touch of 0 at the first step that alpha_0 = 1 causes at rest (CL25) disappears.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.share import count, never, share_of
from bench.claims.trajectories import trajectories

HARMONIC = {"optimizer.lr": 1.0, "schedule": "power", "schedule.q": 1.0, "schedule.k0": 0}  # alpha_k = 1 / (k + 1)
HALF = {"optimizer.lr": 0.5}
EVEN_START = 2  # SGD with constant step 1/2 falls from here into 0 with probability 1/2 (CL26)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(optimizer: Mapping[str, Any], chosen: Mapping[str, Any], seeds: str = "seeds") -> Experiment:
        settings = {"problem": "e1", "steps": protocol["steps"], **optimizer, **chosen}
        return trajectories(settings, seeds=protocol[seeds], device=protocol.device)

    few, sgd, shb = "control_seeds", {"optimizer": "sgd"}, {"optimizer": "shb", "optimizer.momentum": 0.9}
    moving, zero = {"velocity": "normal"}, {"init": "zeros"}
    return {
        "harmonic": run(shb, HARMONIC | moving),
        "half": run(shb, HALF | moving),
        "from_zero": run(shb, HALF | moving | zero),
        "sgd_harmonic": run(sgd, HARMONIC, few),
        "sgd_half": run(sgd, HALF | {"init": "point", "init.value": EVEN_START}, few),
        "rest_harmonic": run(shb, HARMONIC, few),
        "rest_from_zero": run(shb, HALF | zero, few),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def control(name: str, description: str, column: str = "trapped") -> Control:
        return Control(description, share_of(results[name], column))

    note = "{} of them touched the artificial point and left."
    return [
        Part(
            "With a random velocity SHB is not trapped at E1 by the exceptional steps alpha_k = 1/(k+1).",
            "D4(A)",
            never(),
            share_of(results["harmonic"], "trapped"),
            (control("sgd_harmonic", "SGD, same steps"),),
            note=note.format(count(results["harmonic"], "touched")),
            of=("harmonic",),
        ),
        Part(
            "With a random velocity SHB is not trapped at E1 by the exceptional constant step 1/2.",
            "D4(A)",
            never(),
            share_of(results["half"], "trapped"),
            (control("sgd_half", f"SGD, same step, from w_0 = {EVEN_START}"),),
            note=note.format(count(results["half"], "touched")),
            of=("half",),
        ),
        Part(
            "Started on the artificial point with a random velocity, SHB leaves.",
            "D4(D), E1(v)",
            never(),
            share_of(results["from_zero"], "trapped"),
            (control("rest_from_zero", "zero velocity"),),
            of=("from_zero",),
        ),
        Part(
            "With a random velocity the exceptional step alpha_0 = 1 does not even touch the artificial point.",
            "D4(A)",
            never("touched"),
            share_of(results["harmonic"], "touched"),
            (control("rest_harmonic", "zero velocity", "touched"),),
            of=("harmonic",),
        ),
    ]


CLAIM = Claim(
    "CL24",
    "artificial",
    "Random position and velocity avoid the artificial point for every step sequence.",
    "D4(A)",
    experiments,
    parts,
)
