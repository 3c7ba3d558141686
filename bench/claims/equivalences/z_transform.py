"""CL2: z_k = w_k + c_k (w_k - w_{k-1}) takes the steps of SGD with the effective step size (theory.md section 1).

With c_k = beta_k (1 + c_{k+1}):  z_{k+1} = z_k - alpha^eff_k v_k,  alpha^eff_k = alpha_k (1 + c_{k+1})
= alpha_k (1 + beta_{k+1} + beta_{k+1} beta_{k+2} + ...). What the formula means is measured on its own: one unit
gradient at step k, and nothing after it, displaces w by alpha^eff_k in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.equivalences.exact import held, largest, within
from bench.claims.experiment import Experiment, measure
from shb.optimizers import get_optimizer
from shb.optimizers.conversions import constant_momentum_step, effective_step, z_weights
from shb.streams import stream

TOLERANCE = 1e-12
IMPULSES = (0, 1, 7, 20, 50)  # steps at which a lone gradient comes
TAIL = 0.5  # momentum after the last random one: the displacement is complete to 1e-16 after 60 more steps


def _path(name: str, gradients: np.ndarray, alpha: np.ndarray, beta: np.ndarray, w0: np.ndarray) -> np.ndarray:
    """The project's rule `name` on given gradients [K, p]: w_0 .. w_K, [K + 1, p]."""
    rule, params = get_optimizer(name), {"w": torch.from_numpy(w0)}
    state, path = rule.init(params, {}), [w0]
    for k in range(len(alpha)):
        step = {"lr": torch.tensor(alpha[k]), "momentum": torch.tensor(beta[k])}
        params, state = rule.update(params, {"w": torch.from_numpy(gradients[k])}, state, step, k)
        path.append(params["w"].numpy())
    return np.array(path)


def _residuals(name: str, seed: int, steps: int) -> dict[str, float]:
    generator = stream(seed, "claim")
    alpha, beta = generator.uniform(0.01, 0.1, steps), generator.uniform(0.0, 0.95, steps)
    gradients = generator.standard_normal((steps, 3))
    path = _path(name, gradients, alpha, beta, generator.standard_normal(3))
    velocity = np.diff(path, axis=0, prepend=path[:1])

    def residual(c: np.ndarray, step: np.ndarray) -> float:
        z = path + c[:, None] * velocity
        return float(np.abs(np.diff(z, axis=0) + step[:, None] * gradients).max())

    naive = np.append(beta, beta[-1])
    naive = naive / (1 - naive)
    tail = np.concatenate([beta, np.full(60, TAIL)])
    step = np.concatenate([alpha, np.full(60, 0.1)])
    at = [k for k in IMPULSES if k < steps]
    impulses = np.zeros((len(tail), len(at)))  # one coordinate for each impulse
    impulses[at, range(len(at))] = 1.0
    displaced = -_path(name, impulses, step, tail, np.zeros(len(at)))[-1]
    return {
        "residual": residual(z_weights(beta), effective_step(alpha, beta)),
        "residual_wrong": residual(naive, alpha * (1 + naive[1:])),
        "impulse": float(np.abs(displaced - effective_step(step, tail)[at]).max()),
        "impulse_wrong": float(np.abs(displaced - constant_momentum_step(step, tail)[at]).max()),
    }


@measure("z_transform")
def residuals(settings: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
    """One random schedule and gradient sequence per seed; columns residual, impulse, and both with the wrong c [n].

    `optimizer` is the rule that makes the path, the heavy ball unless it is given.
    """
    rows = [_residuals(settings.get("optimizer", "shb"), int(seed), settings["steps"]) for seed in seeds]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    seeds, steps = protocol["seeds"], protocol["steps"]
    settings = {"z": {"steps": steps}, "nesterov": {"steps": steps, "optimizer": "nesterov"}}
    return {name: Experiment("z_transform", own, seeds, seconds=0.02 * seeds) for name, own in settings.items()}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    path, other = results["z"], results["nesterov"]
    rows = []
    for name, title, what in (
        ("residual", "z_k moves by the effective step size times the gradient, without momentum.", "residual"),
        ("impulse", "A single gradient displaces the heavy ball by the effective step size.", "difference"),
    ):
        wrong = f"{what} up to {largest(path[f'{name}_wrong'])}"
        rows.append(
            Part(
                title,
                "section 1 (this project)",
                within(f"largest {what}", TOLERANCE),
                held(path[name], TOLERANCE),
                (Control("Nesterov's momentum instead of the heavy ball's", held(other[name], TOLERANCE)),),
                alternatives=(Alternative("c = beta / (1 - beta) although beta varies", wrong),),
                of=("z",),
                note=f"beta_k random in [0, 0.95]. Largest {what} {largest(path[name])}.",
            )
        )
    return rows


CLAIM = Claim(
    "CL2",
    "equivalences",
    "The heavy ball is SGD with an effective step size in the variable z.",
    "section 1 (this project)",
    experiments,
    parts,
)
