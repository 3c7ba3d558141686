"""CL12: with beta_k = (gamma_k/gamma_{k-1})(1 - r gamma_k), gamma_k^2 = alpha_k, energy is dissipated (theory.md D2).

y_{k+1} = (w_{k+1} - w_k)/gamma_k obeys y_{k+1} = (1 - r gamma_k) y_k - gamma_k v_k, so in the clock sum gamma the mean
of E = F - F* + |y|^2/2 changes at the rate -r |y|^2 + gamma sigma^2/2. Hence it falls until the noise floor. On a
quadratic kinetic and potential energy have equal shares there, E |y|^2 = E, and the balance m' = -r m + gamma sigma^2/2
gives the floor gamma sigma^2/(2r), which tends to 0 with gamma; m lags behind it by 1/r in that clock. Undamped (r = 0)
the energy is constant without noise and grows by sum alpha sigma^2 / 2 with it: no convergence.
The decrease is judged in windows of length 1 of that clock, each before the mean energy is within a factor 10 of the
floor gamma E|v*|^2/(2r), where |v*|^2 = 1 at E1 and 1 + sigma^2 at |w|.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import bench.claims.convergence.energy  # noqa: F401 (registers the observer)
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside, point
from bench.claims.step_sizes.heavy_ball import power, power_steps, unbounded
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate, Mean, PairedMean
from bench.statistics.inference import Region

RS, LR, Q, EVERY = (0.5, 1.0, 2.0), 0.02, 0.75, 1.0
NOISE = {"e1": 1.0, "absolute": 0.25}  # problem -> sigma^2
SECOND_MOMENT = {"e1": 1.0, "absolute": 1.25}  # of v near the minimum
FLOOR, TAIL = 10.0, 8  # multiple of the noise floor; windows at the end that count as the floor
FALLS, SAME = Region(low=0.0), Region(0.9, 1.1)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(problem: Mapping[str, Any], r: float) -> Experiment:
        return trajectories(
            problem,
            power(Q),
            {"momentum_schedule": "second_order", "momentum_schedule.r": r, "optimizer": "shb", "optimizer.lr": LR},
            {"optimizer.allow_unstable": True, "steps": protocol["steps"]},
            seeds=protocol["seeds"],
            observe={"energy": {"every": EVERY}},
            device=protocol.device,
        )

    problems = {"e1": {"problem": "e1"}, "absolute": {"problem": "absolute", "problem.sigma": 0.5}}
    runs = {f"{name} r{r}": run(problem, r) for name, problem in problems.items() for r in RS}
    return runs | {"undamped": run(problems["e1"] | {"init": "point", "init.value": -1.0}, 0.0)}


def balance(r: float, steps: int) -> np.ndarray:
    """m_0 = 0, ..., m_steps of the energy balance at E1 (sigma = 1), in steps of the clock: [steps + 1]."""
    m = np.zeros(steps + 1)
    for k, alpha in enumerate(power_steps(LR, Q, steps)):
        m[k + 1] = (1 - r * np.sqrt(alpha)) * m[k] + alpha / 2
    return m


def energy(columns: Columns) -> np.ndarray:
    """F - F* + |y|^2/2: [n, points]."""
    return columns["gap"] + columns["speed2"] / 2


def decreases(columns: Columns, floor: float) -> dict[str, Estimate]:
    """Relative paired decrease of energy over every window that ends above FLOOR x `floor` x gamma."""
    own = energy(columns)
    mean, gamma = own.mean(0), columns["gamma"][0]
    found: dict[str, Estimate] = {}
    for j in range(1, len(mean)):
        if mean[j] < FLOOR * floor * gamma[j]:
            break
        found[str(j)] = PairedMean(own[:, j - 1] / mean[j - 1], own[:, j] / mean[j - 1])
    return found


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps = protocol["steps"]
    windows: dict[str, Estimate] = {}
    for r in RS:
        for problem in NOISE:
            found = decreases(results[f"{problem} r{r}"], SECOND_MOMENT[problem] / (2 * r))
            windows |= {f"{problem}, r = {r}, window {j}": one for j, one in found.items()}

    def floor(columns: Columns, r: float) -> Mean:
        """|y|^2 over its floor for damping r, of the last windows."""
        late = columns["index"][0, -TAIL:].astype(int)
        return Mean((columns["speed2"][:, -TAIL:] / balance(r, steps)[late]).mean(1))

    undamped = energy(results["undamped"])
    middle = undamped[:, len(undamped[0]) // 2]
    injected = float(power_steps(LR, Q, int(results["undamped"]["index"][0, -1])).sum()) / 2
    gamma = float(results["e1 r1.0"]["gamma"][0, -1])
    return [
        Part(
            "In the second-order regime the mean energy F + |y|^2/2 falls in every window before the noise floor.",
            "D2 (this project)",
            inside(f"relative decrease > 0 in every window, r in {RS}, at E1 and |w|", FALLS, "share of energy"),
            Cases(windows),
            (
                Control(
                    "r = 0 at E1, second half of the run as one window",
                    PairedMean(middle / middle.mean(), undamped[:, -1] / middle.mean()),
                ),
            ),
            of=tuple(f"{problem} r{r}" for r in RS for problem in NOISE),
        ),
        Part(
            "In the second-order regime the velocity tends to 0 like E |y|^2 ~ gamma sigma^2/(2r).",
            "D2 (this project); energy balance (derived)",
            inside("ratio within 10 % of 1 at E1", SAME, "ratio"),
            Cases({f"r = {r}": floor(results[f"e1 r{r}"], r) for r in RS}),
            tuple(Control(f"r = 0, judged with r = {r}", floor(results["undamped"], r)) for r in RS),
            of=tuple(f"e1 r{r}" for r in RS),
            note=f"At the end gamma = {gamma:.4f}.",
        ),
        Part(
            "Without damping noise raises the mean energy by sum alpha sigma^2/2: SHB does not converge.",
            "regime R3; energy balance (derived)",
            point("energy gained / formula = 1, within 0.1, at E1", 1.0, 0.1, "ratio"),
            Mean(undamped[:, -1] / injected),
            tuple(Control(f"damped, r = {r}", Mean(energy(results[f"e1 r{r}"])[:, -1] / injected)) for r in RS),
            alternatives=(
                Alternative("constant energy, as without noise", f"0 predicted, {undamped[:, -1].mean():.3f} gained"),
            ),
            of=("undamped",),
        ),
    ]


CLAIM = Claim(
    "CL12", "convergence", "In the second-order regime energy is dissipated.", "D2 (this project)", experiments, parts
)
