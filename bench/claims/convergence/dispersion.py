"""CL7: how the final objective differs between seeds: its law, its spread, and how the spread shrinks (L3, gap.py).

F(w_K) - F* has the law of sum_i weights_i chi^2_1 with the weights of gap.py (E6: of its second-order recursion). Its
standard deviation is proportional to alpha_K; it is estimated in groups of 200 seeds, which gives t intervals.

Networks (qualitative): the step size falls by ten at half time. The variation of F within a run (after removing a
straight line) must fall with it, the variation of the runs' mean levels between seeds must not. In one basin it must:
from the all-zero start only the last bias moves, on a parabola. There the levels, means over a window, fall like the
step over the root of the number of relaxation times in it, so at least like the root of the step: by sqrt(10) or more,
log10 -0.5. The region for "not" ends half way to that, at 10^(+-0.25). (A first region ended at 10^(+-0.5); its control
could fall out of it only with a last step of 0.03 times the first.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.gap import (
    MOMENTUM,
    at_least_squares,
    effective_steps,
    gap_weights,
    hessian_of,
    neuron_moment,
    problem_of,
    recorded_steps,
    run,
    stationary_moment,
)
from bench.claims.convergence.weighted_chi2 import weighted_chi2_cdf
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.trajectories import trajectories
from bench.statistics.bootstrap import Bootstrap
from bench.statistics.estimates import KolmogorovDistance, Mean
from bench.statistics.inference import Region
from bench.statistics.slope import exponents, slopes

GROUP = 200  # seeds whose spread is one observation
SLOPE, DISTANCE, VARIANCE = Region(0.9, 1.1), Region(0.0, 0.05), Region(0.9**2, 1.1**2)
WITHIN, BETWEEN = Region(high=np.log10(0.5)), Region(-0.25, 0.25)  # log10 of a ratio of standard deviations
TAIL = 40  # evaluations at the end of each half of a network's run


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    falling = {"schedule": "step", "schedule.gamma": 0.1, "schedule.step_size": 0.5}
    return {
        "e1": run("e1", protocol),
        "e6": at_least_squares(protocol),
        "constant": run("e1", protocol, constant=True),
        "e1 other": run("e1", protocol, momentum=0.0, step_of=MOMENTUM, seeds="seeds_control"),
        "e6 other": at_least_squares(protocol, 0.0, step_of=MOMENTUM, seeds="seeds_control"),
        "mlp": _network(protocol, falling),
        "mlp_constant": _network(protocol, {"schedule": "constant"}),
        "mlp_zero": _network(protocol, falling | {"init": "zeros"}, "seeds_zero"),
    }


def _network(protocol: Protocol, settings: Mapping[str, Any], size: str = "seeds_network") -> Experiment:
    steps, seeds = protocol["steps_network"], protocol[size]
    tails = [np.linspace(stop - steps // 8, stop, TAIL, dtype=int).tolist() for stop in (steps // 2, steps)]
    return trajectories(
        {"problem": "learning", "model": "mlp", "model.hidden": [16], "dataset": "diabetes", "batch_size": 16},
        {"dtype": "float32", "engine": "compiled", "steps": steps},
        {"optimizer": "shb", "optimizer.lr": 0.01, "optimizer.momentum": MOMENTUM},
        settings,
        seeds=seeds,
        observe={"objective": {"at": tails[0] + tails[1]}},
        device=protocol.device,
        chunk=64 if size == "seeds_network" else 512,
        seconds=steps * 5e-4 * max(1, seeds / 256),
    )


def group_slopes(gaps: np.ndarray, step_sizes: np.ndarray) -> np.ndarray:
    """Slope of log sd against log step size of each group of seeds: gaps [n, J], step_sizes [J] -> [n // GROUP]."""
    return exponents(_groups(gaps).std(axis=1, ddof=1), step_sizes)


def _groups(values: np.ndarray) -> np.ndarray:
    """[n, ...] -> [n // GROUP, GROUP, ...]."""
    return values[: len(values) // GROUP * GROUP].reshape(-1, GROUP, *values.shape[1:])


def parts(protocol: Protocol, results: Results) -> list[Part]:
    planned, steps = experiments(protocol), protocol["steps"]
    at = recorded_steps(steps)
    step_sizes = effective_steps("e1", steps, at)
    minimum = problem_of(planned["e1"]).minimum
    decaying, constant = (
        Mean(group_slopes(results[name]["objective_at"] - minimum, step_sizes)) for name in ("e1", "constant")
    )
    flat = Control("constant step size, against the same alpha_k", constant)
    rows = [
        Part(
            "The spread of the final objective over seeds shrinks in proportion to the step size (E1, SHB).",
            "L3 (this project)",
            inside("slope of log sd(F(w_k)) against log alpha_k in [0.9, 1.1]", SLOPE, "slope"),
            decaying,
            (flat,),
            of=("e1",),
        )
    ]
    for name, what in (("e1", "E1"), ("e6", "a ReLU neuron on the diabetes data")):
        problem = problem_of(planned[name])
        hessian, last = hessian_of(problem), effective_steps(problem.name, steps, [steps])[0]
        if name == "e6":
            moment = neuron_moment(problem, steps)
        else:
            moment = last * stationary_moment(hessian, problem.noise_covariance().numpy())
        gaps, others = (results[n]["objective"] - problem.minimum for n in (name, f"{name} other"))
        rows += _law(name, what, gaps, others, gap_weights(hessian, moment))
    return rows + _network_parts(results)


def _law(name: str, what: str, gaps: np.ndarray, others: np.ndarray, weights: np.ndarray) -> list[Part]:
    """Law and variance of the gap; `others` are those of SGD with the step of SHB."""
    law, expected = weighted_chi2_cdf(weights), 2 * (weights**2).sum()
    changed = "SGD with the step of SHB"
    return [
        Part(
            f"The law of the final gap over seeds is a weighted sum of chi^2 with one degree of freedom ({what}).",
            "L3 (this project)",
            inside("Kolmogorov distance to the predicted law <= 0.05", DISTANCE),
            KolmogorovDistance(gaps, law),
            (Control(changed, KolmogorovDistance(others, law)),),
            of=(name,),
        ),
        Part(
            f"The variance of the final gap over seeds is that of this law ({what}).",
            "L3 (this project)",
            inside("ratio of variances in [0.81, 1.21] (10 % of the standard deviation)", VARIANCE),
            Mean(_groups(gaps).var(axis=1, ddof=1) / expected),
            (Control(changed, Mean(_groups(others).var(axis=1, ddof=1) / expected)),),
            of=(name,),
        ),
    ]


def _variation(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Per seed: log10 of the fall of the sd within a run [n], and the mean levels before and after [n, 2]."""
    f = columns["objective_at"].reshape(-1, 2, TAIL)
    x = np.arange(TAIL) - (TAIL - 1) / 2
    levels = f.mean(-1)
    residual = f - levels[..., None] - slopes(f, x)[..., None] * x
    within = residual.std(-1)
    return np.log10(within[:, 1] / within[:, 0]), levels


def _network_parts(results: Results) -> list[Part]:
    (fall, levels), (fall_constant, _) = _variation(results["mlp"]), _variation(results["mlp_constant"])
    _, one_basin = _variation(results["mlp_zero"])

    def log_ratio(levels: np.ndarray) -> np.ndarray:
        deviation = levels.std(axis=1, ddof=1)
        return np.log10(deviation[:, 1] / deviation[:, 0])

    def between(levels: np.ndarray) -> Bootstrap:
        return Bootstrap(log_ratio, levels, seed=7, vectorized=True, resamples=100_000)

    return [
        Part(
            "Dividing the last step size of a network by ten at least halves the variation of F within a run.",
            "L3 (this project), qualitative",
            inside(
                "log10 of the ratio of standard deviations <= -0.30 (L3 off degenerate minima: -1)",
                WITHIN,
                "log10 ratio",
            ),
            Mean(fall),
            (Control("constant step size", Mean(fall_constant)),),
            of=("mlp",),
        ),
        Part(
            "It does not remove the differences between the levels that different seeds reach.",
            "L3 (this project), qualitative",
            inside("log10 of the ratio of standard deviations over seeds in [-0.25, 0.25]", BETWEEN, "log10 ratio"),
            between(levels),
            (Control("all-zero start: only the last bias moves, one basin", between(one_basin)),),
            of=("mlp",),
        ),
    ]


CLAIM = Claim(
    "CL7",
    "convergence",
    "The spread of the final objective over seeds is proportional to the step size.",
    "L3 (this project)",
    experiments,
    parts,
)
