"""Runs into a smooth minimum under a slowly decaying step size, which CL5 to CL8 share, and what L3 says of their end.

    E F(w_k) - F* ~ alpha_k tr C / (4 (1 - beta)),   C = Cov v(w*, xi), whatever the Hessian H            (L3)

Derivation: with a = alpha / (1 - beta), w_k - w* is close to a stationary Ornstein-Uhlenbeck process whose covariance S
solves H S + S H = a C, so that E F - F* = tr(H S) / 2 = a tr C / 4. The gap is g.T H^{1/2} S H^{1/2} g / 2 with g
normal, a sum of chi^2_1 whose weights are half the eigenvalues of H^{1/2} S H^{1/2}. They are a / 4 times those of C,
as L3 has them, if H and C commute; else Var(F) = tr((H S)^2) / 2 = (a^2 / 2) sum_ij h_i h_j C_ij^2 / (h_i + h_j)^2
(in the eigenbasis of H) is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bench.claims.claim import Protocol
from bench.claims.convergence import stationarity  # noqa: F401 (registers gradient_norm)
from bench.claims.experiment import Experiment
from bench.claims.step_sizes.heavy_ball import power, power_steps
from bench.claims.trajectories import cell_of, trajectories
from shb.datasets import load_dataset
from shb.problems import Problem
from shb.problems.closed_forms import E6

Q = 0.6  # alpha_k = lr / (k + 1 + k0)^q
OFFSET = 10 / 4096  # k0 per step of the run: alpha_0 / alpha_K is the same at every level
MOMENTUM = 0.9
# Effective step size at the last step: alpha_K lambda / (1 - beta) <= 0.02, and at E6 small against 1 / E|x|^2 = 0.1
LAST_STEP = {"e1": 0.02, "e3": 0.02, "e6": 0.005, "max_affine": 0.005, "absolute": 0.005}


def recorded_steps(steps: int) -> list[int]:
    """Dyadic steps at which F is recorded, the last six up to `steps` (a power of two)."""
    return [steps >> j for j in reversed(range(6))]


def base_step(last: float, steps: int, momentum: float) -> float:
    """lr whose effective step size is `last` after `steps` steps."""
    return (1 - momentum) * last * (steps + 1 + OFFSET * steps) ** Q


def effective_steps(problem: str, steps: int, at: Sequence[int]) -> np.ndarray:
    """alpha_k / (1 - beta) at the steps `at` of `run(problem, ...)`: [len(at)]."""
    base = base_step(LAST_STEP[problem], steps, 0.0)
    return power_steps(base, Q, max(at) + 1, OFFSET * steps)[np.asarray(at)]


def run(
    problem: str,
    protocol: Protocol,
    *,
    optimizer: str = "",
    momentum: float = MOMENTUM,
    step_of: float | None = None,
    constant: bool = False,
    observe: Mapping[str, Mapping] | None = None,
    settings: Mapping[str, Any] | None = None,
    seeds: str = "seeds",
) -> Experiment:
    """SHB (SGD for momentum 0) on a closed form; `constant` keeps the last step size throughout.

    The column objective_at has F at `recorded_steps`, gradient_norm the norm of grad F at the end.

    Args:
        optimizer: another one than SHB and SGD.
        step_of: of a control, the momentum whose alpha is taken: 0 gives SHB the alpha of SGD, 0.9 SGD that of SHB.
        settings: more of them, as for `trajectories`.
        seeds: name of their number in the protocol.
    """
    steps, of = protocol["steps"], momentum if step_of is None else step_of
    lr, schedule = base_step(LAST_STEP[problem], steps, of), power(Q, OFFSET * steps)
    if constant:
        lr, schedule = (1 - of) * LAST_STEP[problem], {"schedule": "constant"}
    rule = {"optimizer": optimizer or ("shb" if momentum else "sgd"), "optimizer.lr": lr}
    return trajectories(
        {"problem": problem, **rule, "steps": steps},
        schedule,
        {"optimizer.momentum": momentum} if momentum else {},
        settings or {},
        seeds=protocol[seeds],
        observe=observe or {"objective": {"at": recorded_steps(steps)}, "gradient_norm": {}},
        device=protocol.device,
    )


def problem_of(experiment: Experiment) -> Problem:
    """The problem of a trajectories experiment, for its facts."""
    return cell_of(tuple(experiment.settings["overrides"]), "cpu").problem()


def hessian_of(problem: Problem) -> np.ndarray:
    """H at the minimum: [p, p]; the identity at E1 and E3."""
    return problem.hessian().numpy() if hasattr(problem, "hessian") else np.eye(problem.size)


def at_least_squares(
    protocol: Protocol, momentum: float = MOMENTUM, *, step_of: float | None = None, seeds: str = "seeds_e6"
) -> Experiment:
    """`run` of E6 on the diabetes data, started at its minimum.

    From elsewhere the flattest of its curvatures (0.004) would be felt for 10^5 steps, in which L3 does not hold.
    """
    point = E6(*diabetes()).clarke_point.tolist()
    settings = {"problem.data": "diabetes", "init": "point", "init.value": str(point)}
    return run("e6", protocol, momentum=momentum, step_of=step_of, settings=settings, seeds=seeds)


def diabetes() -> tuple[Tensor, Tensor]:
    """x [n, 10] and y [n] of the training part, standardised, float64."""
    train = load_dataset("diabetes").train
    return train.x.double(), train.y[:, 0].double()


def mean_gap(covariance: np.ndarray, effective_step: float | np.ndarray) -> float | np.ndarray:
    """E F - F* of L3: effective_step tr C / 4."""
    return effective_step * np.trace(covariance) / 4


def stationary_moment(hessian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """S / effective step size: the solution of H S + S H = C, [p, p]."""
    h, basis = np.linalg.eigh(hessian)
    return basis @ ((basis.T @ covariance @ basis) / (h[:, None] + h)) @ basis.T


def neuron_moment(problem: E6, steps: int) -> np.ndarray:
    """E (w_K - w*)(w_K - w*).T of `run("e6", ...)` started at w*, to second order in the effective step size a: [p, p].

    S_{k+1} = S_k - a_k (H S_k + S_k H) + a_k^2 (C + E[(x.T S_k x) x x.T] / 2): the noise of least squares grows with
    the distance (each x is active in half of the samples), and S_k lags behind a_k where a_k k h is not large. L3
    leaves out both; the first adds about a E|x|^2 / 4 to the ratio of E F - F* to L3, more if |x|^2 has heavy tails.
    """
    x = problem.x.double().numpy()
    x = x[: len(x) // 2]  # the other half is -x
    h, c = problem.hessian().numpy(), problem.noise_covariance().numpy()
    size = len(h)
    products = (x[:, :, None] * x[:, None]).reshape(len(x), -1)
    fourth = products.T @ products / (2 * len(x))  # vec S -> vec E[(x.T S x) x x.T] / 2
    moment = np.zeros((size, size))
    for a in effective_steps("e6", steps, range(steps)):
        noise = c + (fourth @ moment.reshape(-1)).reshape(size, size)
        moment = moment - a * (h @ moment + moment @ h) + a * a * noise
    return moment


def gap_weights(hessian: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Weights [p] of the chi^2_1 in the gap w.T H w / 2 of a normal w with second moments S = `moment`."""
    root = np.linalg.cholesky(hessian)
    return np.linalg.eigvalsh(root.T @ moment @ root) / 2
