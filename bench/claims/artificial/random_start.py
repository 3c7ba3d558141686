"""CL23: from a random w_0 with zero velocity (torch's default) and generic steps, no run is trapped.

E1, alpha_k = a / (k + 11)^q, float64. Theory: w_0 with a density and almost every step sequence (theory.md D4 B for
SHB, D4 C for SGD); piecewise quadratic f, so all but countably many a. What can be measured is a bound: no hit in N
runs bounds the share by 1 - 0.05^(1/N). The runs that are not trapped end where law L3 says:
E F(w_K) - F* = alpha_K tr Cov(v) / (4 (1 - beta)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.artificial.trap import LINE_START
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.prediction import inside
from bench.claims.share import count, never, share_of
from bench.claims.trajectories import cell_of, overrides_of, trajectories
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region
from shb.problems import E1
from shb.streams import BLOCK
from shb.training import Member, Stack

Q, K0, EFFECTIVE = 0.6, 10, 1.0  # alpha_k / (1 - beta) = EFFECTIVE / (k + 1 + K0)^Q
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
SCHEDULE = {"schedule": "power", "schedule.q": Q, "schedule.k0": K0}
CHUNK = 16_384  # members that advance together


@measure("trap_shares")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Only whether a run of the cell `overrides` was trapped, touched the trap, diverged: no other column is kept."""
    one = cell_of(tuple(settings["overrides"]), settings["device"])
    hyperparameters = one.members[0].hyperparameters
    stack = Stack(one.problem(), one.optimizer, [Member(int(s), hyperparameters) for s in seeds], one.plan)
    state = stack.start()
    for start in range(0, one.plan.steps, BLOCK):
        stack.advance(state, start, min(start + BLOCK, one.plan.steps))
    columns = {"trapped": state["trapped"], "touched": state["touched"], "diverged": ~state["alive"]}
    return {name: values[: len(seeds)].cpu().numpy() for name, values in columns.items()}


def cell(optimizer: str) -> dict[str, Any]:
    """Settings of SGD or SHB at E1 with the schedule above."""
    beta = MOMENTUM[optimizer]
    momentum = {"optimizer.momentum": beta} if beta else {}
    rule = {"problem": "e1", "optimizer": optimizer, "optimizer.lr": EFFECTIVE * (1 - beta)}
    return {**rule, **momentum, **SCHEDULE}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(settings: Mapping[str, Any], steps: int, seeds: str = "control_seeds") -> Experiment:
        return trajectories({**settings, "steps": steps}, seeds=protocol[seeds], device=protocol.device)

    planned = {}
    for optimizer in MOMENTUM:
        planned[optimizer] = run(cell(optimizer), protocol["steps"], "seeds")
        planned[f"{optimizer}_zeros"] = run(cell(optimizer) | {"init": "zeros"}, 100)
    planned["shb_unscaled"] = run(cell("shb") | {"optimizer.lr": EFFECTIVE}, protocol["steps"])
    exceptional = {"optimizer.lr": 1.0, "schedule.q": 1.0, "schedule.k0": 0}
    planned["sgd_exceptional"] = run(cell("sgd") | exceptional, 100)
    large = overrides_of(cell("shb"), {"steps": protocol["million_steps"]})
    settings = {"overrides": large, "device": protocol.device}
    n = protocol["million"]
    planned["million"] = Experiment(
        "trap_shares", settings, seeds=n, chunk=CHUNK, seconds=4e-8 * n * protocol["million_steps"]
    )
    return planned | {f"{problem}_{o}": _path(problem, o, protocol) for problem in ("e1", "e3") for o in PATHS}


PATHS: Mapping[str, Mapping[str, Any]] = {  # small steps: curves that can be followed with the eye
    "sgd": {"optimizer": "sgd", "optimizer.lr": 0.05},
    "shb": {"optimizer": "shb", "optimizer.lr": 0.005, "optimizer.momentum": 0.9},
    "adam": {"optimizer": "adam", "optimizer.lr": 0.03},
}


def _path(problem: str, optimizer: str, protocol: Protocol) -> Experiment:
    """A few whole paths, for the figure only; all start where the way to the Clarke point leads through w_1 = 0."""
    start: dict[str, Any] = {"init": "uniform", "init.low": 0.5, "init.high": 2.5}
    if problem == "e3":
        start = {"init": "point", "init.value": (1.5, LINE_START[1])}
    return trajectories(
        {"problem": problem, "steps": 200, **start, **PATHS[optimizer]},
        observe={"path": {"every": 1}},
        seeds=protocol["paths"],
        device=protocol.device,
    )


def last_effective_step(protocol: Protocol) -> float:
    """alpha_K / (1 - beta)."""
    return EFFECTIVE / (protocol["steps"] + 1 + K0) ** Q


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    landed = Control("SGD with alpha_0 = 1", share_of(results["sgd_exceptional"], "trapped"))
    names = {"sgd": "SGD", "shb": "SHB (beta = 0.9)"}

    def stayed(optimizer: str) -> Control:
        return Control(f"{names[optimizer]} started at 0", share_of(results[f"{optimizer}_zeros"], "trapped"))

    for optimizer in MOMENTUM:
        columns = results[optimizer]
        touched = count(columns, "touched")
        rows.append(
            Part(
                f"From a random start at rest with generic steps, {names[optimizer]} is not trapped at E1.",
                "paper C-f, D4(C)" if optimizer == "sgd" else "paper C-f, D4(B)",
                never(),
                Proportion(count(columns, "trapped"), len(columns["trapped"])),
                (stayed(optimizer), landed) if optimizer == "sgd" else (stayed(optimizer),),
                note=f"{touched} touched the artificial point.",
                of=(optimizer,),
            )
        )
    law = last_effective_step(protocol) * float(E1().noise_covariance().trace()) / 4

    def ratio(columns: Columns) -> np.ndarray:
        return (columns["objective"] - E1.minimum) / law

    for optimizer in MOMENTUM:
        columns = results[optimizer]
        lost = int((columns["diverged"] != 0).sum())
        controls = [Control(f"{names[optimizer]} started at 0", Mean(ratio(results[f"{optimizer}_zeros"])))]
        alternatives = ()
        if optimizer == "shb":
            controls.append(Control("SHB with the step of SGD", Mean(ratio(results["shb_unscaled"]))))
            shown = "" if lost else f"ratio to it {ratio(columns).mean() / (1 - MOMENTUM['shb']):.3g}"
            alternatives = (Alternative("law without 1 - beta", shown),)
        rows.append(
            Part(
                f"Those runs of {names[optimizer]} end around the Clarke point, as far off as its noise explains.",
                "L3",
                inside("E F(w_K) - F* over alpha_K / (4 (1 - beta)) in [0.9, 1.1]", Region(0.9, 1.1), "ratio"),
                None if lost else Mean(ratio(columns)),
                tuple(controls),
                out_of_scope=f"{lost} runs diverged: boundedness (A5) is violated" if lost else None,
                alternatives=alternatives,
                of=(optimizer,),
            )
        )
    million = results["million"]
    n = len(million["trapped"])
    touched = count(million, "touched")
    rows.append(
        Part(
            f"Of {n:,} random starts of SHB at E1, {protocol['million_steps']:,} steps each, none is trapped.",
            "paper C-f, D4(B)",
            never(most=10.0 / n),
            Proportion(count(million, "trapped"), n),
            (stayed("shb"), landed),
            note=f"{touched} touched the artificial point.",
            of=("million",),
        )
    )
    return rows


CLAIM = Claim(
    "CL23",
    "artificial",
    "Random initialisation with zero velocity and generic steps avoids the artificial point.",
    "paper C-f, D4(B), D4(C)",
    experiments,
    parts,
)
