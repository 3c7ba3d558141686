"""CL13: negative momentum and momentum close to 1 work; the stable steps are those of L2 (theory.md A4, L2).

Three values inside (-1, 1) and two outside it are run: the rest of the interval is a matter of the theorem.

On lambda w^2/2 the heavy ball has the characteristic polynomial z^2 - (1 + beta - alpha lambda) z + beta. Its roots lie
inside the unit circle iff |beta| < 1 and 0 < alpha lambda < 2 (1 + beta); at the upper end one root is -1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.prediction import tost
from bench.claims.share import always, of_runs
from bench.claims.step_sizes.constant_step import variance
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps
from bench.claims.trajectories import advance, overrides_of
from bench.statistics.cases import Cases
from bench.statistics.estimates import Proportion
from bench.statistics.inference import Region
from shb.streams import stream
from shb.training import Member, Stack

BETAS, OUTSIDE = (-0.5, 0.9, 0.99), (1.0, 1.01)
DEVIATIONS = 5.0  # stationary standard deviations within which a run has arrived
UNDERFLOW = 1e-290  # of |w|, started at 1: below it rounding decides which of two iterates is larger
RARE = Region(0.0, 1e-3)
EDGE, LEAST = 0.01, 0.97  # relative error of a boundary; share of the momenta
RATIOS = [round(0.981 + 0.002 * i, 3) for i in range(20)]  # alpha lambda / (2 (1 + beta)); 1 lies in the middle


@measure("stability_boundary", version=2)
def stability_boundary(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """For a random beta per seed, the alpha lambda at which SHB on lambda w^2/2 without noise starts to grow.

    Columns beta, and boundary: middle of the last step (of the grid `ratios`) at which |w| fell from K/2 to K and the
    next one. Rows without such a change are nan. `optimizer` is SHB unless it is given.
    """
    steps, curvature, ratios = settings["steps"], settings["curvature"], np.array(settings["ratios"])
    low, high = settings["betas"]
    betas = np.array([stream(int(seed), "velocity").uniform(low, high) for seed in seeds])
    problem = {"problem": "quadratic", "problem.curvature": [curvature], "problem.sigma": 0.0, "dtype": "float64"}
    run = {"init": "point", "init.value": 1.0, "optimizer": settings.get("optimizer", "shb"), "steps": steps}
    cell = build_cell(compose_config(overrides_of(problem, run, {"seeds": 1, "device": settings["device"]})))
    members = [
        Member(0, {"lr": float(ratio * 2 * (1 + beta) / curvature), "momentum": float(beta)})
        for beta in betas
        for ratio in ratios
    ]
    columns = advance(Stack(cell.problem(), cell.optimizer, members, cell.plan), {"path": {"at": [steps // 2, steps]}})
    size, diverged = (
        columns["w0"][: len(members)].abs().cpu().numpy(),
        columns["diverged"][: len(members)].cpu().numpy(),
    )
    grown = (size[:, 1] > size[:, 0]) & (size[:, 1] > UNDERFLOW)
    grows = (diverged | grown).reshape(len(seeds), len(ratios))
    clean = (grows[:, 1:] >= grows[:, :-1]).all(1) & ~grows[:, 0] & grows[:, -1]
    first = grows.argmax(1)
    boundary = np.where(clean, (ratios[first] + ratios[first - 1]) / 2, np.nan) * 2 * (1 + betas)
    return {"beta": betas, "boundary": boundary}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(beta: float, seeds: int) -> Experiment:
        lr = round(1 - beta, 12) if beta < 1 else 0.01
        return heavy_ball(protocol, {"problem": "e1"}, power(0.75), lr=lr, beta=beta, seeds=seeds)

    settings = {
        "steps": protocol["boundary_steps"],
        "curvature": 2.5,
        "ratios": RATIOS,
        "betas": [-0.5, 0.95],
        "device": protocol.device,
    }
    runs = {f"beta {b}": run(b, protocol["seeds"]) for b in BETAS}
    runs |= {f"beta {b}": run(b, protocol["control_seeds"]) for b in OUTSIDE}
    for name, own in (("boundary", {}), ("boundary nesterov", {"optimizer": "nesterov"})):
        runs[name] = Experiment("stability_boundary", settings | own, protocol["instances"], seconds=2.0)
    return runs


def failures(columns: Columns, tolerance: float) -> Proportion:
    """Share of runs that ended farther than `tolerance` from the minimum, or diverged."""
    arrived = (columns["clarke_distance"] <= tolerance) & (columns["diverged"] == 0)
    return of_runs(~arrived)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    last = float(power_steps(1.0, 0.75, protocol["steps"])[-1])  # alpha_K / (1 - beta)
    tolerance = {b: DEVIATIONS * math.sqrt(variance(last * (1 - b), b)) for b in BETAS}
    widest = max(tolerance.values())
    outside = {b: failures(results[f"beta {b}"], widest) for b in OUTSIDE}
    blown = float(np.median(results["beta 1.01"]["sup_norm"]))
    beta = results["boundary"]["beta"]

    def agree(predicted: np.ndarray, name: str = "boundary") -> Proportion:
        """Share of the momenta whose boundary is as predicted; without a boundary on the grid it is not."""
        error = np.abs(results[name]["boundary"] / predicted - 1)
        return of_runs(error <= EDGE)

    def other(formula: str, predicted: np.ndarray) -> Alternative:
        return Alternative(formula, f"right for {agree(predicted).hits} of {len(beta)} momenta")

    return [
        Part(
            "SHB converges for negative momentum and for momentum close to 1.",
            "paper C-a; D1 (this project; A4)",
            tost(
                f"share of runs farther than {DEVIATIONS:g} standard deviations (L1) below 0.001, beta in {BETAS}",
                RARE,
                "share",
            ),
            Cases({f"beta {b}": failures(results[f"beta {b}"], tolerance[b]) for b in BETAS}),
            (
                Control("beta = 1", outside[1.0]),
                Control("beta = 1.01", outside[1.01]),
            ),
            of=tuple(f"beta {b}" for b in BETAS),
            note=f"Median sup |w_k| at beta = 1.01: {blown:.1e}.",
        ),
        Part(
            "On a quadratic the heavy ball becomes unstable at alpha lambda = 2 (1 + beta).",
            "L2",
            always("of random beta in [-0.5, 0.95] whose boundary is within 1 % of it", LEAST),
            agree(2 * (1 + beta)),
            (Control("Nesterov's momentum instead", agree(2 * (1 + beta), "boundary nesterov")),),
            alternatives=(
                other("boundary of SGD, 2", np.full_like(beta, 2.0)),
                other("effective step: alpha lambda / (1 - beta) = 2", 2 * (1 - beta)),
            ),
            of=("boundary",),
        ),
    ]


CLAIM = Claim(
    "CL13",
    "convergence",
    "Negative momentum and momentum close to 1 work, 1 and more do not.",
    "paper C-a; D1 (this project; A4), L2",
    experiments,
    parts,
)
