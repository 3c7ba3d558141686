"""CL46: how many updates until a run of each problem passes the criterion of CL5. The theory promises no rate.

A run passes at K if m_eps(w_K) is at most what its own step size allows, with a_K = alpha_K / (1 - beta) and C = Cov v:

    smooth minimum (E1, E3, E6)   m_0 = |grad F(w_K)| <= 3 sqrt(a_K tr(H C) / 2), three times its root mean square (L3)
    sharp minimum (max-affine)    m_eps = 0 within eps = 6 a_K E|v|^2 / (2 mu), six times the mean distance (L4)

(derivations in convergence/critical_points.py). Being Gaussian, a stationary run exceeds 3 sd with probability 0.27 %;
the report is the smallest K = 2^j from which on at least 99 % of the runs pass. That a share of at least 99 % passes at
the last K is the only prediction: D1 says that runs pass in the end, not when. Every problem has seeds of its own (with
the samples of E1, the first coordinate of E3 would be E1), and its own control, judged by the same criterion: the
artificial start where it has one, summable steps where it has none (at E1 both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.critical_points import FLAT, sharpness
from bench.claims.convergence.gap import hessian_of, problem_of
from bench.claims.experiment import Experiment
from bench.claims.observers import observer
from bench.claims.share import always, of_runs
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion
from shb.problems import Params
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep

SHARE = 0.99  # of the runs, at which the criterion of CL5 passes
TITLES = {
    "e1": "E1",
    "e3": "E3",
    "e6": "a ReLU neuron on the diabetes data (E6)",
    "max_affine": "a maximum of affine functions",
}
PROBLEMS = {name: {"problem": name} | ({"problem.data": "diabetes"} if name == "e6" else {}) for name in TITLES}


@observer("stationarity_path")
class StationarityPath:
    """m_radius(w_k) at the steps `at` with one radius each; radius 0: |grad F(w_k)|.

    Column stationarity_at [n, len(at)].
    """

    def __init__(self, problem: ClosedForm, plan: Plan, at: Sequence[int], radii: Sequence[float]) -> None:
        self.problem, self.radii = problem, dict(zip(at, radii))
        self._gradient = torch.func.vmap(torch.func.grad(problem.objective))
        self.rows: list[Tensor] = []

    def start(self, params: Params) -> None:
        pass

    def __call__(self, step: StackStep) -> None:
        radius = self.radii.get(step.k + 1)
        if radius is not None:
            w = step.new_params["w"].double()
            self.rows.append(self.problem.stationarity(w, radius) if radius else self._gradient(w).norm(dim=1))

    def columns(self) -> dict[str, Tensor]:
        return {"stationarity_at": torch.stack(self.rows, 1)}


def checkpoints(protocol: Protocol) -> list[int]:
    """K = 2^4, 2^5, ... up to the end."""
    return [2**j for j in range(4, protocol["steps"].bit_length()) if 2**j <= protocol["steps"]]


def last_steps(protocol: Protocol, name: str) -> np.ndarray:
    """a_K at the checkpoints K: that of the last update before each."""
    return protocol["step"][name] * (np.array(checkpoints(protocol)) + protocol["k0"]) ** -protocol["q"]


def thresholds(protocol: Protocol, name: str) -> tuple[np.ndarray, np.ndarray]:
    """tau and eps at every checkpoint, see the module's docstring."""
    problem, a = problem_of(trajectories(PROBLEMS[name], seeds=1)), last_steps(protocol, name)
    if name == "max_affine":
        square = float((problem.slopes**2).sum(1).max()) + float(problem.noise_covariance().trace())
        return np.full(len(a), FLAT), 6 * a * square / (2 * sharpness(problem))
    power = float(np.trace(hessian_of(problem) @ problem.noise_covariance().numpy()))
    return 3 * np.sqrt(a * power / 2), np.zeros(len(a))


TRAPS_AT_ZERO = ("e1", "e3", "e6")  # 0 is an artificial point of these, with the derivative ReLU'(0) = 0
SUMMABLE = ("e1", "max_affine")  # one control for each problem, at E1 both


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(name: str, seeds: int, more: Mapping[str, Any]) -> Experiment:
        eps = thresholds(protocol, name)[1]
        beta = protocol["momentum"]
        lr = f"{protocol['step'][name] * (1 - beta):.12g}"
        return trajectories(
            {**PROBLEMS[name], "optimizer": "shb", "optimizer.lr": lr, "optimizer.momentum": beta},
            {"schedule": "power", "schedule.k0": protocol["k0"], "steps": protocol["steps"], **more},
            seeds=seeds,
            first_seed=list(TITLES).index(name) * protocol["seeds"],
            observe={"stationarity_path": {"at": checkpoints(protocol), "radii": [float(r) for r in eps]}},
            device=protocol.device,
        )

    decaying, few = {"schedule.q": protocol["q"]}, protocol["control_seeds"]
    planned = {name: run(name, protocol["seeds"], decaying) for name in TITLES}
    planned |= {f"{name} artificial": run(name, few, decaying | {"init": "zeros"}) for name in TRAPS_AT_ZERO}
    return planned | {f"{name} summable": run(name, few, {"schedule.q": 2.0}) for name in SUMMABLE}


def passing(protocol: Protocol, results: Results, name: str, how: str = "") -> np.ndarray:
    """Whether a run passes at each checkpoint: bool [n, checkpoints]; not finite is not passing."""
    tau, _ = thresholds(protocol, name)
    return results[f"{name} {how}".strip()]["stationarity_at"] <= tau


def first_pass(shares: np.ndarray, at: Sequence[int]) -> int | None:
    """Smallest K from which on at least SHARE of the runs pass at every checkpoint; None if not even at the last."""
    enough = shares >= SHARE
    if not enough[-1]:
        return None
    failed = np.flatnonzero(~enough)
    return at[failed[-1] + 1 if len(failed) else 0]


def parts(protocol: Protocol, results: Results) -> list[Part]:
    at = checkpoints(protocol)

    def share(name: str, how: str = "") -> Proportion:
        hits = passing(protocol, results, name, how)[:, -1]
        return of_runs(hits)

    rows = []
    for name, title in TITLES.items():
        hits = passing(protocol, results, name)
        k = first_pass(hits.mean(axis=0), at)
        when = f"from K = {k} on" if k else f"not by K = {at[-1]}"
        controls = [
            Control(what, share(name, how))
            for how, what, those in (
                ("artificial", "started at the artificial point 0", TRAPS_AT_ZERO),
                ("summable", "summable steps, q = 2", SUMMABLE),
            )
            if name in those
        ]
        rows.append(
            Part(
                f"In the end runs pass the stationarity test of CL5 ({title}); the number of updates is reported.",
                "D1, seed practice",
                always(what=f"passing at K = {at[-1]}", least=SHARE),
                share(name),
                tuple(controls),
                note=f"No rate is predicted. {SHARE:.0%} of the runs pass {when}; half of them first at K = "
                f"{_median(hits, at)}",
                of=(name,),
            )
        )
    return rows


def _median(hits: np.ndarray, at: Sequence[int]) -> int | None:
    """Median over the runs of the first checkpoint that passes; None if half of them never pass."""
    first = np.where(hits.any(axis=1), np.array(at)[hits.argmax(axis=1)], np.inf)
    middle = float(np.sort(first)[len(first) // 2])
    return int(middle) if np.isfinite(middle) else None


CLAIM = Claim(
    "CL46",
    "practice",
    "Runs pass the stationarity test in the end, at a number of updates that is only reported.",
    "D1, seed practice",
    experiments,
    parts,
)
