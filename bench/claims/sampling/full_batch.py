"""CL38: seeing all the data at once does not repair a formal derivative, and sampling costs no more than L3.

E1 and E6 at the artificial point 0, t = ReLU'(0) = 0: backpropagation through the mean over all samples adds up the
samples' formal derivatives and returns 0, although F is differentiable there with gradient 1 (E1) or -E xy/2 (E6). So
full-batch descent rests where mini-batch descent rests. From a random start the full batch, free of noise, ends at
F*, the mini-batch at F* + alpha_K tr Cov(v) / (4 (1 - beta)) on average (L3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Control, Observed, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import exact, tost
from bench.claims.sampling.oracles import spec
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Exact, MeanDifference, PairedMean
from bench.statistics.inference import Region

PROBLEM = {"E1": ("problem=e1",), "E6": ("problem=e6", "problem.data=diabetes")}
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
MARGIN = 2.0  # in units of the gap of L3, fixed beforehand (theory.md CL38)


def _rule(protocol: Protocol, optimizer: str, step: float, *schedule: str) -> list[str]:
    """Overrides of an optimizer with effective step `step` times the factor of the schedule."""
    beta = MOMENTUM[optimizer]
    power = ("schedule=power", f"schedule.q={protocol['q']}", f"schedule.k0={protocol['k0']}")
    momentum = [f"optimizer.momentum={beta}"] if beta else []
    lr = f"optimizer.lr={step * (1 - beta):.12g}"
    return [f"optimizer={optimizer}", lr, *momentum, *(schedule or power), f"steps={protocol['steps']}"]


def decay(protocol: Protocol, k: int) -> float:
    return (k + 1 + protocol["k0"]) ** -protocol["q"]


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    device, n, step = protocol.device, protocol["seeds"], protocol["step"]
    planned = {}

    def exact(oracle: str, *overrides: str, seeds: int = 1) -> Experiment:
        settings = spec(*overrides, device=device, oracle=oracle)
        return Experiment("deterministic_descent", settings, seeds, seconds=protocol["steps"] * 3e-4)

    for name, problem in PROBLEM.items():
        for t in (0.0, 0.5):
            settings = spec(*problem, f"relu_derivative={t}", device=device)
            planned[f"{name} oracle t={t}"] = Experiment("oracle_error", settings, protocol["points"])
        for optimizer in MOMENTUM:
            rule = [*problem, *_rule(protocol, optimizer, step[name]), "init=zeros"]
            planned[f"{name} {optimizer} sampled"] = trajectories(*rule, seeds=protocol["trap_seeds"], device=device)
            planned[f"{name} {optimizer} full"] = exact("backpropagation", *rule)
            planned[f"{name} {optimizer} clarke"] = exact("clarke", *rule)
    rule = [*PROBLEM["E1"], *_rule(protocol, "shb", step["E1"])]
    constant = [*PROBLEM["E1"], *_rule(protocol, "shb", step["E1"] * decay(protocol, 0), "schedule=constant")]
    planned["random sampled"] = trajectories(*rule, seeds=n, device=device)
    planned["random full"] = exact("backpropagation", *rule, seeds=n)
    planned["random constant"] = trajectories(*constant, seeds=n, device=device)
    return planned


def parts(protocol: Protocol, results: Results) -> list[Part]:
    zero, off, half = (
        {name: results[f"{name} oracle t={t}"][column] for name in PROBLEM}
        for t, column in ((0.0, "at_zero"), (0.0, "at_random"), (0.5, "at_zero"))
    )
    missed = {name: zero[name] / results[f"{name} oracle t=0.0"]["gradient"] for name in PROBLEM}
    error = max(float(np.abs(one - 1).max()) for one in missed.values())
    elsewhere = max(float(one.max()) for one in off.values())
    n = protocol["points"]
    repaired = max(float((half[name] / results[f"{name} oracle t=0.0"]["gradient"]).max()) for name in PROBLEM)
    oracle = Part(
        "At an artificial point backpropagation through all the data returns 0, where the true gradient is not 0.",
        "paper C-e, E1, E6",
        exact(
            "error of the full-batch oracle = 100 % of the gradient (E1, E6)",
            Region(1 - 1e-12, 1 + 1e-12),
            "of the gradient",
        ),
        Exact(1 + error, n),
        (
            Observed(f"the same at {n} random points", elsewhere < 1e-9, f"largest error {elsewhere:.1g}"),
            Control("ReLU'(0) = 1/2, at 0", Exact(repaired, n)),
        ),
        note=f"the true gradient at 0 is {results['E1 oracle t=0.0']['gradient'][0]:.3g} at E1",
    )
    stuck = [results[f"{p} {o} {how}"] for p in PROBLEM for o in MOMENTUM for how in ("sampled", "full")]
    moved = max(float(one["artificial_distance"].max()) for one in stuck)
    freed = [float(results[f"{p} {o} clarke"]["artificial_distance"].min()) for p in PROBLEM for o in MOMENTUM]
    trap = Part(
        "Started at the artificial point, full-batch descent is as stuck as mini-batch descent.",
        "paper C-e, D4(D)",
        exact(
            "|w_K| = 0 exactly, for SGD and SHB, sampled and full batch, E1 and E6", Region(0.0, 0.0), "largest |w_K|"
        ),
        Exact(moved, sum(len(one["artificial_distance"]) for one in stuck)),
        (
            Control(
                "the Clarke subgradient instead, same start and steps: smallest |w_K|", Exact(min(freed), len(freed))
            ),
        ),
    )
    return [oracle, trap, _random(protocol, results)]


def _random(protocol: Protocol, results: Results) -> Part:
    sampled, full, constant = (results[f"random {how}"]["objective"] for how in ("sampled", "full", "constant"))
    gap = protocol["step"]["E1"] * decay(protocol, protocol["steps"] - 1) / 4  # tr Cov(v) = 1 at E1
    trap = results["E1 shb sampled"]["objective"]
    return Part(
        "From the same random start, mini-batch and full-batch SHB end at the same objective up to the noise of L3.",
        "D1, L3",
        tost(
            f"mean difference of F(w_K) within {MARGIN:g} of alpha_K / (4 (1 - beta)), E1",
            Region(-MARGIN, MARGIN),
            "gaps of L3",
        ),
        PairedMean(sampled / gap, full / gap),
        (
            Control("constant step", PairedMean(constant / gap, full / gap)),
            Control("started at the artificial point", MeanDifference(trap / gap, full / gap)),
        ),
        note="L3 predicts a difference of 1: the full batch has no noise",
    )


CLAIM = Claim(
    "CL38",
    "sampling",
    "The full batch does not repair an artificial point, and sampling costs only its noise.",
    "paper C-e, L3",
    experiments,
    parts,
)
