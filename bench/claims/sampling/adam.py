"""CL40: Adam rests at the same artificial points (0 / (sqrt 0 + eps) = 0) and avoids them from a random start.

The noise of these problems is symmetric. Adam's mean field E[m / sqrt(v)] is no gradient of F: under noise that is not,
its limit is another point, which CL54c-e test.
Adam is not an SHB with deterministic parameters: D1 does not cover it, Xiao, Hu, Liu and Toh do (theory.md section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.share import always, never
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion

PROBLEMS = ("e1", "e2", "e5", "e6")


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(problem: str, **more: Any) -> Experiment:
        return trajectories(
            {"problem": problem, "optimizer": "adam", "optimizer.lr": protocol["lr"]},
            {"schedule": "power", "steps": protocol["steps"], **more},
            seeds=protocol["seeds"],
            device=protocol.device,
        )

    planned = {}
    for problem in PROBLEMS:
        planned[f"{problem} zero"] = run(problem, init="zeros")
        planned[f"{problem} half"] = run(problem, init="zeros", relu_derivative=0.5)
        planned[f"{problem} random"] = run(problem)
    return planned


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def count(start: str) -> int:
        return sum(int((results[f"{p} {start}"]["artificial_distance"] == 0).sum()) for p in PROBLEMS)

    total = protocol["seeds"] * len(PROBLEMS)
    zero, half, random = (count(start) for start in ("zero", "half", "random"))
    far = sum(int((~(results[f"{p} random"]["clarke_distance"] < protocol["near"])).sum()) for p in PROBLEMS)
    stuck = sum(int((~(results[f"{p} zero"]["clarke_distance"] < protocol["near"])).sum()) for p in PROBLEMS)
    where = ", ".join(PROBLEMS).upper()
    start = "the same runs from w_0 = 0"
    return [
        Part(
            f"Started at the artificial point of {where}, Adam never moves.",
            "paper C-e, theory.md CL40",
            always(),
            Proportion(zero, total),
            (Control("ReLU'(0) = 1/2", Proportion(half, total)),),
            of=tuple(f"{p} zero" for p in PROBLEMS),
        ),
        Part(
            "From a random start Adam is not trapped.",
            "theory.md CL40 (Xiao et al.)",
            never(),
            Proportion(random, total),
            (Control(start, Proportion(zero, total)),),
            of=tuple(f"{p} random" for p in PROBLEMS),
        ),
        Part(
            "From a random start, under symmetric noise, Adam ends near the Clarke point.",
            "theory.md CL40 (Xiao et al.)",
            never(what=f"farther than {protocol['near']:g}"),
            Proportion(far, total),
            (Control(start, Proportion(stuck, total)),),
            of=tuple(f"{p} random" for p in PROBLEMS),
        ),
    ]


CLAIM = Claim(
    "CL40",
    "sampling",
    "Adam has the same traps and, under symmetric noise, the same avoidance.",
    "theory.md CL40",
    experiments,
    parts,
)
