"""CL38: seeing all the data at once does not repair a formal derivative, and sampling costs no more than L3.

E1 and E6 at the artificial point 0, t = ReLU'(0) = 0: backpropagation through the mean over all samples adds up the
samples' formal derivatives and returns 0, although F is differentiable there with gradient 1 (E1) or -E xy/2 (E6). So
full-batch descent rests where mini-batch descent rests. From a random start the full batch, free of noise, ends at
F*, the mini-batch at F* + alpha_K tr Cov(v) / (4 (1 - beta)) on average, times the lag: E w_K^2 follows the falling
step late, by 11 % at K = 4,096 (L3, `moment_ratio` in convergence/finite_step.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.convergence.finite_step import moment_ratio
from bench.claims.experiment import Experiment
from bench.claims.prediction import exact, point
from bench.claims.sampling.oracles import spec
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Exact, MeanDifference, PairedMean
from bench.statistics.inference import Region

PROBLEM: Mapping[str, Mapping[str, Any]] = {
    "E1": {"problem": "e1"},
    "E6": {"problem": "e6", "problem.data": "diabetes"},
}
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
RESOLUTION = 0.1  # in units of the gap of L3: ten times the second order that the law with its lag leaves out


def _rule(protocol: Protocol, optimizer: str, step: float, steps: str = "steps", decaying: bool = True) -> dict:
    """Settings of an optimizer with effective step `step` times the factor of the schedule."""
    beta = MOMENTUM[optimizer]
    rule = {"optimizer": optimizer, "optimizer.lr": f"{step * (1 - beta):.12g}", "steps": protocol[steps]}
    if beta:
        rule["optimizer.momentum"] = beta
    if not decaying:
        return rule | {"schedule": "constant"}
    return rule | {"schedule": "power", "schedule.q": protocol["q"], "schedule.k0": protocol["k0"]}


def decay(protocol: Protocol, k: int) -> float:
    return (k + 1 + protocol["k0"]) ** -protocol["q"]


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    device, n, step = protocol.device, protocol["seeds"], protocol["step"]
    planned = {}

    def full(oracle: str, rule: Mapping[str, Any], seeds: int = 1) -> Experiment:
        settings = spec(rule, device=device, oracle=oracle)
        return Experiment("deterministic_descent", settings, seeds, seconds=rule["steps"] * 3e-4)

    for name, problem in PROBLEM.items():
        for t in (0.0, 0.5):
            settings = spec(problem, {"relu_derivative": t}, device=device)
            planned[f"{name} oracle t={t}"] = Experiment("oracle_error", settings, protocol["points"])
        for optimizer in MOMENTUM:
            rule = {**problem, **_rule(protocol, optimizer, step[name], "trap_steps"), "init": "zeros"}
            planned[f"{name} {optimizer} sampled"] = trajectories(rule, seeds=protocol["trap_seeds"], device=device)
            planned[f"{name} {optimizer} full"] = full("backpropagation", rule)
            planned[f"{name} {optimizer} clarke"] = full("clarke", rule)
    rule = {**PROBLEM["E1"], **_rule(protocol, "shb", step["E1"])}
    constant = {**PROBLEM["E1"], **_rule(protocol, "shb", step["E1"] * decay(protocol, 0), decaying=False)}
    planned["random sampled"] = trajectories(rule, seeds=n, device=device)
    planned["random full"] = full("backpropagation", rule, n)
    planned["random constant"] = trajectories(constant, seeds=protocol["constant_seeds"], device=device)
    return planned


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def relative(t: float) -> list[float]:
        """Error of the full-batch oracle at 0 in units of the gradient there, E1 and E6."""
        gradient = {name: results[f"{name} oracle t=0.0"]["gradient"] for name in PROBLEM}
        return [float((results[f"{name} oracle t={t}"]["at_zero"] / gradient[name]).max()) for name in PROBLEM]

    def least_like(found: list[float]) -> Exact:
        """The error that differs most from 1."""
        return Exact(max(found, key=lambda error: abs(error - 1)), len(found))

    elsewhere = max(float(results[f"{name} oracle t=0.0"]["at_random"].max()) for name in PROBLEM)
    oracle = Part(
        "At an artificial point backpropagation through all the data returns 0, where the true gradient is not 0.",
        "paper C-e, E1, E6",
        exact(
            "error of the full-batch oracle at 0 = 100 % of the gradient (E1, E6; no randomness)",
            Region(1 - 1e-12, 1 + 1e-12),
            "of the gradient",
        ),
        least_like(relative(0.0)),
        (Control("ReLU'(0) = 1/2", Exact(max(relative(0.5)), len(PROBLEM))),),
        note=f"At {protocol['points']} random points the largest error is {elsewhere:.1g}; the true gradient at 0 is "
        f"{results['E1 oracle t=0.0']['gradient'][0]:.3g} at E1.",
        of=tuple(f"{name} oracle t=0.0" for name in PROBLEM),
    )

    def runs(how: str) -> dict[str, np.ndarray]:
        names = [f"{problem} {optimizer} {how}" for problem in PROBLEM for optimizer in MOMENTUM]
        return {name: results[name]["artificial_distance"] for name in names}

    sampled, stuck, freed = (runs(how) for how in ("sampled", "full", "clarke"))
    resting = np.logical_and.reduce([distance == 0 for distance in sampled.values()])
    trap = Part(
        "Started at the artificial point, full-batch descent is as stuck as mini-batch descent (CL22).",
        "paper C-e, D4(D)",
        exact("|w_K| = 0 exactly, full batch, SGD and SHB, E1 and E6 (no randomness)", Region(0.0, 0.0), "|w_K|"),
        Exact(max(float(one.max()) for one in stuck.values()), len(stuck)),
        (
            Control(
                "the Clarke subgradient instead, same start and steps: smallest |w_K|",
                Exact(min(float(one.min()) for one in freed.values()), len(freed)),
            ),
        ),
        note=f"Sampled, {int(resting.sum())} of {len(resting)} seeds stay under both optimizers at both problems.",
        of=tuple(stuck),
    )
    return [oracle, trap, _random(protocol, results)]


def _random(protocol: Protocol, results: Results) -> Part:
    sampled, full, constant = (results[f"random {how}"]["objective"] for how in ("sampled", "full", "constant"))
    a = protocol["step"]["E1"] * decay(protocol, protocol["steps"] - 1)
    gap = a / 4  # tr Cov(v) = 1 at E1
    law = moment_ratio(a, MOMENTUM["shb"], decay=protocol["q"], step=protocol["steps"] + protocol["k0"])
    trap = results["E1 shb sampled"]["objective"]
    return Part(
        "From the same random start, mini-batch and full-batch SHB end at the same objective up to the noise of L3.",
        "D1, L3 with its lag",
        point(
            f"mean difference of F(w_K) = {law:.4g} alpha_K / (4 (1 - beta)), E1: L3 and its lag",
            law,
            RESOLUTION,
            "gaps of L3",
        ),
        PairedMean(sampled / gap, full / gap),
        (
            Control("constant step", PairedMean(constant / gap, full[: len(constant)] / gap)),
            Control("started at the artificial point", MeanDifference(trap / gap, full / gap)),
        ),
        alternatives=(Alternative("L3 without the lag", "1"),),
        note="The full batch has no noise.",
        of=("random sampled", "random full"),
    )


CLAIM = Claim(
    "CL38",
    "sampling",
    "The full batch does not repair an artificial point, and sampling costs only its noise.",
    "paper C-e, L3",
    experiments,
    parts,
)
