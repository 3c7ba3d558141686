"""CL19: in the clock sum alpha / (1 - beta) the iterates follow the differential inclusion, with error of order
sqrt(alpha).

w^tau(t_k) = w_k at t_k = sum alpha / (1 - beta), x the solution of w' in -dF(w) from w_0; error = sup |w^tau - x| over
a window of length 2 (law L5). Where F'' = 1 and the noise has variance 1, as at E1, (w^tau - x) / sqrt(alpha_eff) tends
to the Ornstein-Uhlenbeck process dU = -U dt + dB, so the mean error over sqrt(alpha_eff) tends to E sup |U|
(`expected_supremum`; this project). Without noise the error is O(alpha) (control). The moving average of gradients with
the same numbers moves by alpha only, slower than the clock by 1 - beta: its error does not vanish (control), as little
as that of the heavy ball in the clock sum alpha (shown beside it).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg import expm

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.inclusion.paths import heavy_ball, paths
from bench.claims.prediction import inside
from bench.claims.trajectories import overrides_of, trajectories
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from bench.statistics.slope import exponents
from shb.nonsmooth import PiecewiseField
from shb.nonsmooth.interpolation import clock, tracking_error
from shb.optimizers.conversions import effective_step

WINDOW = 2.0  # units of the clock
BETA = 0.8
PROBLEMS: dict[str, dict[str, Any]] = {  # every start is off the kinks, |w| meets its kink at time 1.5
    "e1": {"problem": "e1", "init": "point", "init.value": 1.5},
    "absolute": {"problem": "absolute", "init": "point", "init.value": 1.5},
    "max_affine": {"problem": "max_affine", "init": "point", "init.value": [2.0, 1.0]},
    "smooth": {"problem": "e2", "init": "point", "init.value": 1.5},  # E1 without noise
}
JUDGED = (("e1", 0.0), ("e1", BETA), ("absolute", BETA), ("max_affine", BETA))
RUNS = (*JUDGED, ("smooth", 0.0))
SLOPE = Region(0.4, 0.6)
FEW = 64  # runs of a control
DRAWN = (0.04, 0.0025)  # effective steps of the paths in the figure


@measure("tracking")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """error: in the right clock; wrong: the same path in the clock sum alpha; both in units of w."""
    found = paths(settings["overrides"], settings["device"], seeds)
    field, alpha = found.problem.field(), found.lr
    path = found.w[:, :, 0] if isinstance(field, PiecewiseField) else found.w
    effective = effective_step(alpha, found.momentum)
    step = min(1e-3, float(effective.min()))
    columns = {"error": tracking_error(clock(effective), path, field, WINDOW, step=step)}
    if np.any(found.momentum):
        slow = clock(alpha)
        columns["wrong"] = tracking_error(slow, path, field, float(slow[-1]), step=step)
    return columns


AVERAGE = "average"  # in place of beta: the moving average of gradients


def name_of(problem: str, beta: float | str, effective: float) -> str:
    return f"{problem}_{beta}_{effective}"


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    planned = {}
    for problem, beta in RUNS:
        n = 2 if problem == "smooth" else protocol["seeds"]
        for effective in protocol["effective_steps"]:
            steps = round(WINDOW / effective)
            overrides = overrides_of(PROBLEMS[problem], heavy_ball(effective, beta), {"steps": steps})
            planned[name_of(problem, beta, effective)] = Experiment(
                "tracking", {"overrides": overrides, "device": protocol.device}, seeds=n, seconds=0.3 + 3e-4 * steps
            )
    for problem in {problem: None for problem, beta in RUNS if beta}:
        for effective in protocol["effective_steps"]:
            steps = round(WINDOW / effective)
            average = heavy_ball(effective, BETA) | {"optimizer": "ema_momentum", "steps": steps}
            planned[name_of(problem, AVERAGE, effective)] = Experiment(
                "tracking",
                {"overrides": overrides_of(PROBLEMS[problem], average), "device": protocol.device},
                seeds=min(FEW, protocol["seeds"]),
                seconds=0.3 + 3e-4 * steps,
            )
    for effective in DRAWN:
        planned[f"path_{effective}"] = trajectories(
            PROBLEMS["e1"],
            heavy_ball(effective, BETA),
            {"steps": round(WINDOW / effective)},
            observe={"path": {"every": 1}},
            seeds=3,
            device=protocol.device,
        )
    return planned


@functools.cache
def expected_supremum(window: float, points: int = 101) -> float:
    """E sup_{t <= window} |U_t| of dU = -U dt + dB, U_0 = 0.

    P(sup |U| <= x) is the solution at time `window` of the backward equation u_t = u''/2 - y u' on (-x, x) that is 1 at
    first and 0 at the ends; central differences, then the integral of 1 - P over x.
    """
    levels = np.linspace(0.0, 5.0, 81)
    inside = np.zeros(len(levels))
    for i, x in enumerate(levels[1:], 1):
        y = np.linspace(-x, x, points + 2)[1:-1]
        h = y[1] - y[0]
        generator = np.diag(np.full(points, -1 / h**2))
        generator += np.diag(1 / (2 * h**2) - y[:-1] / (2 * h), 1) + np.diag(1 / (2 * h**2) + y[1:] / (2 * h), -1)
        inside[i] = expm(window * generator).sum(1)[points // 2]
    return float(np.trapezoid(1 - inside, levels))


def orders(protocol: Protocol, results: Results, problem: str, beta: float | str, column: str = "error") -> np.ndarray:
    """Per seed: slope of log error against log effective step, least squares, [n]."""
    steps = protocol["effective_steps"]
    return exponents(np.stack([results[name_of(problem, beta, step)][column] for step in steps], 1), steps)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    smallest = min(protocol["effective_steps"])
    average = "moving average of gradients with the same numbers"
    titles = {"e1": "E1", "absolute": "|w| with noise", "max_affine": "a maximum of five planes with noise"}
    rows = []
    order = sorted(protocol["effective_steps"], reverse=True)
    for problem, beta in JUDGED:
        alternatives = ()
        if beta:
            control = Control(average, Mean(orders(protocol, results, problem, AVERAGE)))
            left = results[name_of(problem, beta, smallest)]["wrong"].mean()
            slope = orders(protocol, results, problem, beta, "wrong").mean()
            shown = f"slope {slope:.3f}, error {left:.2f} at step {smallest:g}"
            alternatives = (Alternative("clock sum alpha", shown),)
        else:
            control = Control("without noise (E2)", Mean(orders(protocol, results, "smooth", 0.0)), "E2")
        by_step = ", ".join(f"{results[name_of(problem, beta, s)]['error'].mean():.3g}" for s in order)
        rows.append(
            Part(
                f"{'SHB' if beta else 'SGD'} follows the differential inclusion of {titles[problem]}, the closer the "
                "smaller the step.",
                "paper C-b, L5",
                inside("log-log slope of the error against the effective step in [0.4, 0.6]", SLOPE, "slope"),
                Mean(orders(protocol, results, problem, beta)),
                (control,),
                note=f"beta = {beta:g}; mean errors {by_step} at steps {', '.join(f'{s:g}' for s in order)}.",
                alternatives=alternatives,
                of=tuple(name_of(problem, beta, s) for s in order),
            )
        )
    last = results[name_of("e1", BETA, smallest)]
    scale = np.sqrt(smallest) * expected_supremum(WINDOW)
    rows.append(
        Part(
            "The size of the error at E1 is that of the limiting Ornstein-Uhlenbeck process.",
            "L5, this project",
            inside(
                f"mean error over {expected_supremum(WINDOW):.3f} sqrt(alpha_eff) in [0.9, 1.1]",
                Region(0.9, 1.1),
                "ratio",
            ),
            Mean(last["error"] / scale),
            (Control(average, Mean(results[name_of("e1", AVERAGE, smallest)]["error"] / scale)),),
            of=(name_of("e1", BETA, smallest),),
            note=f"SHB, beta = {BETA:g}, effective step {smallest:g}.",
            alternatives=(Alternative("clock sum alpha", f"ratio {last['wrong'].mean() / scale:.3g}"),),
        )
    )
    return rows


CLAIM = Claim(
    "CL19",
    "inclusion",
    "The iterates follow the differential inclusion in the clock sum alpha / (1 - beta).",
    "paper C-b, L5",
    experiments,
    parts,
)
