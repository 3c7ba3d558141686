"""CL20: F(z_k) decreases on average wherever w_k is not nearly stationary; F(w_k) itself need not.

z_k = w_k + c_k (w_k - w_{k-1}), c = beta / (1 - beta), moves without momentum: z_{k+1} = z_k - alpha_eff v(w_k). F is a
Lyapunov function of w' in -dF(w), so E[F(z_{k+n}) - F(z_k) | w_k, w_{k-1}] is about -alpha_eff sum |grad F|^2 < 0
(theory.md 2.2). Measured on many replicas of the same (w_k, w_{k-1}) with fresh samples, for starts whose distance from
0 to Goldstein's subdifferential of radius RADIUS exceeds DELTA. A velocity that points uphill first raises F(w_k).
Controls: at the minimum, which is stationary, F(z) grows by the noise; the oracle with a detached target (E11) is no
conservative gradient, and F grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.inclusion.paths import heavy_ball, paths
from bench.claims.prediction import tost
from bench.claims.trajectories import overrides_of
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from shb.optimizers.conversions import z_weights
from shb.problems import CLOSED_FORMS

BETA, EFFECTIVE = 0.9, 0.02
STEPS = 50  # one unit of the clock
RADIUS, DELTA = 0.05, 0.3
E1_STARTS = [[w] for w in (-3.0, -2.0, -1.5, -0.5, 0.0625, 0.5, 2.0)]
PLANE_STARTS = [[2.0, 1.0], [-1.0, 2.0], [-2.0, -0.5], [0.0, -2.0], [1.0, 0.0], [-0.5, 1.0]]
UPHILL = (1.0, 0.05, 5)  # w_0 and velocity at E1, updates until F(w) is looked at


@measure("lyapunov")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Seed i starts at starts[i mod S]. Columns: start (its index), m (exact Goldstein distance there), and F along the
    path, objective_w and objective_z [n, K + 1]."""
    index = seeds % len(settings["starts"])
    found = paths(
        settings["overrides"], settings["device"], seeds, np.array(settings["starts"])[index], settings["velocity"]
    )
    w = found.w
    lagged = np.concatenate([found.previous[None], w[:-1]])
    z = w + z_weights(found.momentum)[:, None, None] * (w - lagged)
    problem = found.problem
    return {
        "start": index,
        "m": problem.stationarity(torch.from_numpy(w[0]), RADIUS).numpy(),
        "objective_w": problem.objective(torch.from_numpy(w)).T.numpy(),
        "objective_z": problem.objective(torch.from_numpy(z)).T.numpy(),
    }


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def one(
        problem: Mapping[str, Any],
        starts: list[list[float]],
        velocity: float = 0.0,
        beta: float = BETA,
        steps: int = STEPS,
    ) -> Experiment:
        settings = {
            "overrides": overrides_of(problem, heavy_ball(EFFECTIVE, beta), {"steps": steps}),
            "starts": starts,
            "velocity": velocity,
            "device": protocol.device,
        }
        return Experiment("lyapunov", settings, seeds=protocol["replicas"] * len(starts), seconds=0.3)

    e1, plane = {"problem": "e1"}, {"problem": "max_affine"}
    planned = {"e11": one({"problem": "e11", "problem.kind": "detached"}, [[1.0], [-2.0], [0.5]])}
    for sign, velocity in (("rest", 0.0), ("up", EFFECTIVE), ("down", -EFFECTIVE)):
        planned[f"e1_{sign}"] = one(e1, E1_STARTS, velocity)
        planned[f"plane_{sign}"] = one(plane, PLANE_STARTS, velocity)
    planned["e1_minimum"] = one(e1, [[-1.0]])
    planned["plane_minimum"] = one(plane, CLOSED_FORMS["max_affine"]().minimisers[:1].tolist())
    start, velocity, _ = UPHILL
    planned["uphill"] = one(e1, [[start]], velocity)
    planned["sgd"] = one(e1, [[start]], beta=0.0)
    return planned


def change(columns: Columns, which: str, steps: int = -1) -> np.ndarray:
    """F after `steps` updates (-1: all) minus F at the start, per replica [n]; which is "w" or "z"."""
    values = columns[f"objective_{which}"]
    return values[:, steps] - values[:, 0]


def by_start(results: Results, names: Sequence[str]) -> dict[str, Mean]:
    """The mean change of F(z) over the replicas of every start with m > DELTA."""
    found = {}
    for name in names:
        columns = results[name]
        changes = change(columns, "z")
        for start in np.unique(columns["start"]):
            chosen = columns["start"] == start
            if columns["m"][chosen][0] > DELTA:
                found[f"{name}, start {int(start)}"] = Mean(changes[chosen])
    return found


def parts(protocol: Protocol, results: Results) -> list[Part]:
    detached = tuple(
        Control(f"detached target (E11), start {number}", one, "E11")
        for number, one in enumerate(by_start(results, ["e11"]).values())
    )
    rows = []
    for name, title in (("e1", "E1"), ("plane", "a maximum of five planes with noise")):
        names = tuple(f"{name}_{sign}" for sign in ("rest", "up", "down"))
        rows.append(
            Part(
                f"Away from stationary points the objective at z decreases on average at {title}.",
                "paper C-b, D1",
                tost("mean change of F(z) over one unit of the clock < 0, from every start", Region(-np.inf, 0.0)),
                Cases(by_start(results, names)),
                (Control("start at the minimum", Mean(change(results[f"{name}_minimum"], "z"))), *detached),
                of=names,
                note=f"beta = {BETA:g}, effective step {EFFECTIVE:g}; starts with m > {DELTA:g}.",
            )
        )
    start, velocity, steps = UPHILL
    z = Mean(change(results["uphill"], "z", steps))
    rows.append(
        Part(
            "The objective at w itself may increase for a while under momentum.",
            "D1",
            tost("mean change of F(w) > 0 from a start with a velocity uphill", Region(0.0, np.inf)),
            Mean(change(results["uphill"], "w", steps)),
            (Control("SGD from the same w", Mean(change(results["sgd"], "w", steps))),),
            of=("uphill",),
            note=f"E1, w = {start:g}, velocity {velocity:g}, {steps} updates; F(z) changes by {z.value:.3g} meanwhile.",
        )
    )
    return rows


CLAIM = Claim(
    "CL20",
    "inclusion",
    "F is a Lyapunov function of the averaged motion: F(z) decreases where w is not stationary.",
    "paper C-b, D1",
    experiments,
    parts,
)
