"""CL21: the iterates pass the artificial point of E1 as if it were not there.

D_F(0) = [0, 2] contains 0: solutions of w' in -D_F(w) may rest at 0 for any time. The Clarke flow w' = -(1 + w) takes
log((1 + d) / (1 - d)) from d to -d, that is (1 - beta) log((1 + d) / (1 - d)) in the clock sum alpha, and no longer:
D4 says that iterates from a random start follow dF. Control: started at 0 with ReLU'(0) = 0 they rest for ever; their
crossing time is counted up to the end of the run, which makes it too short.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.inclusion.paths import heavy_ball
from bench.claims.observers import observer
from bench.claims.prediction import inside
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from shb.problems import Params
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep

HALF_WIDTH = 0.5  # d
MOMENTUM = {"a": 0.0, "b": 0.9}
HORIZON = 4.0  # units of the clock sum alpha / (1 - beta); from w_0 = 1 to 2 the flow needs at most log 6 = 1.8


@observer("crossing")
class Crossing:
    """Times, in the clock sum alpha, at which the first coordinate is first <= d and first <= -d: columns entered,
    left [n], -1 if never.
    """

    def __init__(self, problem: ClosedForm, plan: Plan, half_width: float) -> None:
        self.levels = {"entered": half_width, "left": -half_width}

    def start(self, params: Params) -> None:
        w = params["w"][:, 0]
        self.time = torch.zeros(len(w), dtype=torch.float64, device=w.device)
        self.first = {name: torch.where(w <= level, 0.0, -1.0).double() for name, level in self.levels.items()}

    def __call__(self, step: StackStep) -> None:
        self.time = self.time + step.hyperparameters["lr"]
        w = step.new_params["w"][:, 0]
        for name, level in self.levels.items():
            newly = (w <= level) & (self.first[name] < 0)
            self.first[name] = torch.where(newly, self.time, self.first[name])

    def columns(self) -> dict[str, Tensor]:
        return self.first


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    effective = protocol["effective_step"]

    def run(start: Mapping[str, Any], beta: float, seeds: int) -> Experiment:
        return trajectories(
            {"problem": "e1", "steps": round(HORIZON / effective)},
            start,
            heavy_ball(effective, beta),
            observe={"crossing": {"half_width": HALF_WIDTH}},
            seeds=seeds,
            device=protocol.device,
        )

    random = {"init": "uniform", "init.low": 1.0, "init.high": 2.0}
    planned = {letter: run(random, beta, protocol["seeds"]) for letter, beta in MOMENTUM.items()}
    return planned | {
        f"{x}_zero": run({"init": "zeros"}, beta, protocol["control_seeds"]) for x, beta in MOMENTUM.items()
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    flow = math.log((1 + HALF_WIDTH) / (1 - HALF_WIDTH))
    rows = []
    for letter, beta in MOMENTUM.items():
        columns, resting = results[letter], results[f"{letter}_zero"]
        never = int((columns["left"] < 0).sum())
        taken = columns["left"] - columns["entered"]
        end = HORIZON * (1 - beta)  # in the clock sum alpha; who has not left by then takes at least so long
        stayed = np.where(resting["left"] < 0, end, resting["left"]) - resting["entered"]
        alternatives = (Alternative("prediction without 1 - beta", f"ratio {(taken / flow).mean():.3g}"),)
        rows.append(
            Part(
                f"{'SHB' if beta else 'SGD'} passes the artificial point of E1 as fast as the Clarke flow.",
                "paper C-f, D4",
                inside(
                    f"crossing time of [-d, d], d = {HALF_WIDTH:g}, over (1 - beta) log((1+d)/(1-d)) in [0.9, 1.1]",
                    Region(0.9, 1.1),
                    "ratio",
                ),
                Mean(taken / ((1 - beta) * flow)) if not never else None,
                (Control("start at 0, counted up to the end of the run", Mean(stayed / ((1 - beta) * flow))),),
                out_of_scope=f"{never} runs had not crossed by time {HORIZON:g}" if never else None,
                note=f"beta = {beta:g}, effective step {protocol['effective_step']:g}; longest crossing "
                f"{np.max(taken) / ((1 - beta) * flow):.3g} of the flow's.",
                alternatives=alternatives if beta else (),
                of=(letter,),
            )
        )
    return rows


CLAIM = Claim(
    "CL21",
    "inclusion",
    "The iterates do not rest at an artificial point that they pass.",
    "paper C-f, D4",
    experiments,
    parts,
)
