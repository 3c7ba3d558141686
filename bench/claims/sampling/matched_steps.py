"""CL39: the gap of the heavy ball is that of SGD with the step alpha / (1 - beta), in closed forms.

This follows from L3 and the z-transform (theory.md section 1). D1 alone gives both the same limit inclusion, but not
the same limit point or loss; networks at finite steps are the subject of CL48 and CL49.

At matched effective steps both have the gap alpha^eff tr Cov(v) / 4 of L3, and the same to leading order before. Early
they differ: the heavy ball starts at rest. At E1 off the kink v = x + s with x = w + 1, so that

    x_{k+1} = (1 + beta - alpha_k) x_k - beta x_{k-1} - alpha_k s_k,   E F - F* = E x_k^2 / 2

and the expected gap follows from the second moments of (x_k, x_{k-1}), with E x_0^2 = 1 + 4 for w_0 ~ N(0, 4).
E6 on one pair is left out: there v = 0 for both samples at the minimum, both gaps tend to 0 and L3 says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside, point
from bench.claims.step_sizes.heavy_ball import power
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import ratio_of_means
from bench.statistics.inference import Region
from shb.datasets import load_dataset
from shb.problems.closed_forms import E6
from shb.schedules import schedule_table

BETA, W0_SQUARE = 0.9, 4.0
PROBLEM = {
    "E1": {"problem": "e1"},
    # starts near the minimum, so that the slow directions of the data are not all there is
    "E6": {"problem": "e6", "problem.data": "diabetes", "init": "normal", "init.std": 0.5},
}
FACTOR = {"sgd": 1.0, "shb": 1 - BETA, "unmatched": 1.0}  # Polyak step over the effective step asked for


def rule(how: str, step: float, protocol: Protocol) -> dict[str, Any]:
    """Settings of SGD, of SHB with the same effective step, or of SHB with the same step ("unmatched")."""
    optimizer = {"optimizer": "sgd"} if how == "sgd" else {"optimizer": "shb", "optimizer.momentum": BETA}
    return optimizer | {"optimizer.lr": f"{step * FACTOR[how]:.12g}"} | power(protocol["q"], protocol["k0"])


def checkpoints(protocol: Protocol) -> list[int]:
    """K = 8, 16, ... up to the end."""
    return [2**j for j in range(3, protocol["steps"].bit_length()) if 2**j <= protocol["steps"]]


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    planned = {}
    at = {"objective": {"at": checkpoints(protocol)}}
    for name, problem in PROBLEM.items():
        for how in FACTOR:
            settings = problem | rule(how, protocol["step"][name], protocol) | {"steps": protocol["steps"]}
            planned[f"{name} {how}"] = trajectories(
                settings, seeds=protocol["seeds"], observe=at, device=protocol.device
            )
    return planned


def expected_gap(protocol: Protocol, beta: float, steps: int) -> float:
    """E F(w_steps) - F* at E1 from w_0 ~ N(0, 4) at rest, off the kink."""
    base = [protocol["step"]["E1"] * (1 - beta)]
    parameters = {"q": protocol["q"], "k0": protocol["k0"]}
    moments = np.full((2, 2), 1 + W0_SQUARE)  # of (x_k, x_{k-1})
    for (alpha,) in schedule_table("power", base, parameters, 0, steps, steps):
        forward = np.array([[1 + beta - alpha, -beta], [1.0, 0.0]])
        moments = forward @ moments @ forward.T + np.diag([alpha * alpha, 0.0])
    return float(moments[0, 0]) / 2


def parts(protocol: Protocol, results: Results) -> list[Part]:
    minimum = {"E1": -0.5, "E6": e6_minimum()}
    gaps = {f"{p} {how}": results[f"{p} {how}"]["objective_at"] - minimum[p] for p in PROBLEM for how in FACTOR}
    rows = []
    for name in PROBLEM:
        sgd, shb, unmatched = (gaps[f"{name} {how}"][:, -1] for how in FACTOR)
        where = "E1" if name == "E1" else "E6 on the diabetes data"
        rows.append(
            Part(
                f"SHB with step alpha ends with the mean gap of SGD with step alpha/(1 - beta) ({where}).",
                "L3, z-transform",
                inside("ratio of the mean gaps 1 +- 0.1, beta = 0.9", Region(0.9, 1.1), "ratio"),
                ratio_of_means(shb, sgd),
                (Control("SHB with the step of SGD", ratio_of_means(unmatched, sgd)),),
                of=(f"{name} sgd", f"{name} shb"),
            )
        )
    return [*rows, _early(protocol, gaps)]


def e6_minimum() -> float:
    """F* of E6 on the diabetes data."""
    train = load_dataset("diabetes").train
    return E6(train.x, train.y[:, 0]).minimum


def _early(protocol: Protocol, gaps: Mapping[str, np.ndarray]) -> Part:
    k = protocol["early"]
    index = checkpoints(protocol).index(k)
    shb, unmatched = (
        ratio_of_means(gaps[f"E1 {how}"][:, index], gaps["E1 sgd"][:, index]) for how in ("shb", "unmatched")
    )
    target = expected_gap(protocol, BETA, k) / expected_gap(protocol, 0.0, k)
    low, high = shb.interval()
    return Part(
        f"Early, after {k} steps, they differ as the exact second moments at E1 say.",
        "this project (second moments of E1)",
        point(f"ratio of the mean gaps {target:.3g}", target, 0.1 * target, "ratio"),
        shb,
        (Control("SHB with the step of SGD", unmatched),),
        of=("E1 sgd", "E1 shb"),
        alternatives=(
            Alternative(
                "the asymptotic ratio 1", f"{'inside' if low <= 1 <= high else 'outside'} [{low:.3g}, {high:.3g}]"
            ),
        ),
    )


CLAIM = Claim(
    "CL39",
    "sampling",
    "In closed forms SHB ends with the gap of SGD with the step alpha/(1 - beta).",
    "L3, z-transform",
    experiments,
    parts,
)
