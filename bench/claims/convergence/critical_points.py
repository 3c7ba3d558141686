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

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.gap import LAST_STEP, hessian_of, problem_of, run
from bench.claims.experiment import Experiment
from bench.claims.prediction import tost
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
    common = {"seeds": protocol["seeds_control"], "device": protocol.device}
    steps = f"steps={protocol['steps_control']}"
    summable = ("schedule=power", "schedule.q=2.0", "schedule.k0=0")
    gradient_norm = {"gradient_norm": {}}
    return {
        "e1": run("e1", protocol),
        "e3": run("e3", protocol, observe=gradient_norm, seeds="seeds_few"),
        "e6": run("e6", protocol, observe=gradient_norm, seeds="seeds_few", overrides=("problem.data=diabetes",)),
        "max_affine": run(
            "max_affine", protocol, observe={"end_stationarity": {"radius": sharp_radius()}}, seeds="seeds_few"
        ),
        "artificial": trajectories(
            "problem=e1", "optimizer=shb", "init=point", "init.value=0.0", steps, observe=gradient_norm, **common
        ),
        "summable": trajectories(
            *("problem=absolute", "optimizer=shb", "optimizer.lr=1.0", "optimizer.momentum=0.5", *summable),
            *("init=point", "init.value=10.0", steps),
            observe={"end_stationarity": {"radius": 0.5}},
            **common,
        ),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    planned = experiments(protocol)
    rows = []
    stuck = _share(results["artificial"]["gradient_norm"] > 0.5)
    stopped = _share(results["summable"]["end_stationarity"] > 0.5)
    controls = (
        Control("start at the artificial point of E1", stuck),
        Control("summable step sizes 1/(k+1)^2 from 10 on |w|", stopped),
    )
    for name, where in (
        ("e1", "at E1"),
        ("e3", "at E3, whose artificial set is a line"),
        ("e6", "for a ReLU neuron on the diabetes data"),
        ("max_affine", "for a maximum of affine functions"),
    ):
        problem, columns = problem_of(planned[name]), results[name]
        if name == "max_affine":
            far = columns["end_stationarity"] > FLAT
            what = f"P(m_eps(w_K) > {FLAT:g}) <= 1 %, eps = {sharp_radius():.2g}"
        else:
            square = np.trace(hessian_of(problem) @ problem.noise_covariance().numpy()) * LAST_STEP[name] / 2
            tau = 3 * float(np.sqrt(square))
            far, what = columns["gradient_norm"] > tau, f"P(m_0(w_K) > {tau:.2g}) <= 1 %, 3 sd of L3"
        unbounded = int(columns["diverged"].sum())
        rows.append(
            Part(
                f"From random starts SHB ends near a Clarke critical point ({where}).",
                "paper C-a, C-f; D1, D4",
                tost(what, FAILURES, "share"),
                _share(far),
                controls,
                out_of_scope=f"{unbounded} of {len(far)} runs unbounded (A5)" if unbounded else None,
            )
        )
    return rows


def _share(hits: np.ndarray) -> Proportion:
    return Proportion(int(hits.sum()), len(hits))


CLAIM = Claim(
    "CL5",
    "convergence",
    "From random initialisations the heavy ball ends near Clarke critical points.",
    "paper C-a, C-f; D1, D4",
    experiments,
    parts,
)
