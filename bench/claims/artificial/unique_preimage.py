"""CL27: under momentum the only way into the trap of E1 is to start in it with zero velocity.

T_s(w, u) = (w - alpha v(w, s) + beta (w - u), w) maps (w, u) to (0, 0) only if w = 0, hence v = 0, hence beta u = 0
(theory.md D4 D). Phase points on a dyadic grid, alpha = beta = 1/2 and at most 30 steps are exact in float64, so exact
hits do occur: w_k = 0 with a velocity (a touch) often, the trap never. Two controls take the momentum away: SGD, and
the heavy ball whose velocity is set to 0 before every tenth step (beta_k = 0 there, which D4 excludes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.share import count, never, share_of
from shb.optimizers import get_optimizer
from shb.problems import E1
from shb.streams import words
from shb.training import Member, Plan, Stack

RESET_EVERY = 10


@measure("dyadic_phase_points")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """E1 from w_0, w_0 - w_{-1} uniform on {-4, -4 + 1/8, ..., 4}^2 without (0, 0); `reset` stops the velocity."""
    problem, plan = E1(), Plan(settings["steps"])
    hyperparameters = {"lr": settings["lr"], "momentum": settings["momentum"]}
    stack = Stack(problem, get_optimizer(settings["optimizer"]), [Member(int(s), hyperparameters) for s in seeds], plan)
    w, velocity = _grid(seeds)
    filled = np.concatenate([np.arange(len(seeds)), np.full(stack.width - len(seeds), len(seeds) - 1)])
    state = stack.start()
    state["params"]["w"] = torch.from_numpy(w[filled, None])
    momentum = settings["optimizer"] == "shb"
    if momentum:
        state["optimizer"]["velocity"]["w"] = torch.from_numpy(velocity[filled, None])
    state["inside"] = problem.in_trap(state["params"])
    state["touched"] = state["inside"].clone()
    for k in range(plan.steps):
        if settings["reset"] and k % RESET_EVERY == RESET_EVERY - 1:
            state["optimizer"]["velocity"]["w"] = torch.zeros_like(state["params"]["w"])
        stack.advance(state, k, k + 1)
    columns = {name: state[name][: len(seeds)].numpy() for name in ("trapped", "touched")}
    return {**columns, "w0": w, "velocity0": velocity}


def _grid(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Independent grid points and velocities; a start at rest on 0 is moved to 1/8."""
    drawn = (words(seeds, "grid", 0, 2) % np.uint64(65)).astype(np.float64) / 8 - 4
    w, velocity = drawn
    return np.where((w == 0) & (velocity == 0), 0.125, w), velocity


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def one(optimizer: str, *, reset: bool = False, seeds: int) -> Experiment:
        settings = {"optimizer": optimizer, "lr": 0.5, "momentum": 0.5, "reset": reset, "steps": protocol["steps"]}
        return Experiment("dyadic_phase_points", settings, seeds=seeds, seconds=seeds * 4e-6)

    few = protocol["control_seeds"]
    return {
        "shb": one("shb", seeds=protocol["seeds"]),
        "sgd": one("sgd", seeds=few),
        "reset": one("shb", reset=True, seeds=few),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    share = {name: share_of(columns, "trapped") for name, columns in results.items()}
    touched = count(results["shb"], "touched")
    return [
        Part(
            "With momentum no phase point other than the trap itself leads into the trap, even on an exact grid.",
            "D4(D)",
            never(most=1e-4),
            share["shb"],
            (
                Control("SGD on the same grid", share["sgd"]),
                Control(f"velocity set to 0 before every {RESET_EVERY}th step", share["reset"]),
            ),
            alternatives=(
                Alternative(
                    "a touch of 0 with a velocity counted as trapped", f"{touched} of {share['shb'].n} touch 0"
                ),
            ),
            of=("shb",),
        )
    ]


CLAIM = Claim(
    "CL27",
    "artificial",
    "The trap has no basin under momentum.",
    "D4(D)",
    experiments,
    parts,
    single=True,
)
