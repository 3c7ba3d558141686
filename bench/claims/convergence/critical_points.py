"""CL5: from random initialisations SHB ends near Clarke critical points: P(m_eps(w_K) <= tau) = 1 (D1, D4).

Smooth minima (E1, E3, E6): m_0(w) = |grad F(w)|, whose mean square is a tr(H C) / 2 with a = alpha_K / (1 - beta) (from
H S + S H = a C, gap.py); tau is 3 times the root. In one dimension the Gaussian limit leaves 0.27 % beyond tau, so that
the prediction for finite K is a share of at most 1 %, not 0.

Sharp minimum (max of affine functions): stationarity of |w - w*|^2 gives E F - F* <= a E|v|^2 / 2 for SGD, hence
E|w - w*| <= a E|v|^2 / (2 mu), mu = min F'(w*; d) over |d| = 1, and the law is close to exponential (L4).
eps is 6 times that bound (e^-6 = 0.25 %), tau = 0.01: m_eps is 0 if the ball holds a point where 0 in dF, and the
distance of 0 to the nearest hull of some slopes otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.gap import LAST_STEP, hessian_of, problem_of, run
from bench.claims.experiment import Experiment
from bench.claims.prediction import tost
from bench.claims.share import of_runs
from bench.claims.step_sizes.heavy_ball import power
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion
from bench.statistics.inference import Region
from shb.problems.closed_forms import MaxAffinePlane

FAILURES = Region(0.0, 0.01)
FLAT = 0.01  # tau at the sharp minimum


def sharpness(problem: MaxAffinePlane, directions: int = 100_000) -> float:
    """mu = min over unit d of max over the active slopes of a.d, at the only minimiser."""
    (corner,) = problem.minimisers.numpy()
    slopes, offsets = problem.slopes.double().cpu().numpy(), problem.offsets.double().cpu().numpy()
    active = slopes[slopes @ corner + offsets >= problem.minimum - 1e-9]
    angle = np.linspace(0, 2 * np.pi, directions)
    return float((active @ np.stack([np.cos(angle), np.sin(angle)])).max(0).min())


@functools.cache
def sharp_radius() -> float:
    """eps of the module docstring for `run("max_affine", ...)`, in units of w."""
    problem = MaxAffinePlane()
    square = float((problem.slopes**2).sum(1).max()) + float(problem.noise_covariance().trace())
    return 6 * LAST_STEP["max_affine"] * square / (2 * sharpness(problem))


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    gradient_norm = {"gradient_norm": {}}
    end_stationarity = {"end_stationarity": {"radius": sharp_radius()}}
    diabetes = {"problem.data": "diabetes"}

    def control(problem: str, settings: Mapping[str, Any], observe: Mapping[str, Mapping]) -> Experiment:
        return trajectories(
            {"problem": problem, "optimizer": "shb", "steps": protocol["steps_control"], "init": "point"},
            settings,
            observe=observe,
            seeds=protocol["seeds_control"],
            device=protocol.device,
        )

    return {
        "e1": run("e1", protocol),
        "e3": run("e3", protocol, observe=gradient_norm, seeds="seeds_few"),
        "e6": run("e6", protocol, observe=gradient_norm, seeds="seeds_few", settings=diabetes),
        "max_affine": run("max_affine", protocol, observe=end_stationarity, seeds="seeds_few"),
        "e1 control": control("e1", {"init.value": 0.0}, gradient_norm),
        "e3 control": control("e3", {"init.value": [0.0, 2.0]}, gradient_norm),
        "e6 control": control("e6", diabetes | {"init.value": 0.0}, gradient_norm),
        "max_affine control": control(
            "max_affine",
            {"optimizer.lr": 0.1, "optimizer.momentum": 0.5, "init.value": [4.0, 4.0]} | power(2.0, 0),
            end_stationarity,
        ),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    planned = experiments(protocol)
    rows = []
    for name, where, changed in (
        ("e1", "at E1", "start at the artificial point 0"),
        ("e3", "at E3, whose artificial set is a line", "start on the artificial line"),
        ("e6", "for a ReLU neuron on the diabetes data", "start at the artificial point 0"),
        ("max_affine", "for a maximum of affine functions", "summable step sizes 0.1/(k+1)^2"),
    ):
        problem, columns = problem_of(planned[name]), results[name]
        if name == "max_affine":
            column, tau, what = "end_stationarity", FLAT, f"P(m_eps(w_K) > {FLAT:g}), eps = {sharp_radius():.2g},"
        else:
            square = np.trace(hessian_of(problem) @ problem.noise_covariance().numpy()) * LAST_STEP[name] / 2
            column, tau = "gradient_norm", 3 * float(np.sqrt(square))
            what = f"P(m_0(w_K) > {tau:.2g}), 3 sd of L3,"
        unbounded = int(columns["diverged"].sum())
        rows.append(
            Part(
                f"From random starts SHB ends near a Clarke critical point ({where}).",
                "paper C-a, C-f; D1, D4",
                tost(f"{what} <= 1 %", FAILURES, "share"),
                _share(columns[column] > tau),
                (Control(changed, _share(results[f"{name} control"][column] > tau)),),
                of=(name,),
                out_of_scope=f"{unbounded} of {len(columns[column])} runs unbounded (A5)" if unbounded else None,
            )
        )
    return rows


def _share(hits: np.ndarray) -> Proportion:
    return of_runs(hits)


CLAIM = Claim(
    "CL5",
    "convergence",
    "From random initialisations the heavy ball ends near Clarke critical points.",
    "paper C-a, C-f; D1, D4",
    experiments,
    parts,
)
