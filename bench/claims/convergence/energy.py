"""Energy along second-order trajectories, at equidistant times of the clock sum gamma_k (theory.md section 1, R2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.problems import Params
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep


@observer("energy")
class Energy:
    """F(w) - F* and |y|^2, y_{k+1} = (w_{k+1} - w_k) / gamma_k, gamma_k = sqrt(alpha_k).

    Recorded each time the clock sum gamma has advanced by `every`; the first row is the start, at rest. All members
    share their step sizes.

    Columns gap, speed2, gamma, index (steps done): [n, points].
    """

    def __init__(self, problem: ClosedForm, plan: Plan, every: float) -> None:
        self.problem, self.every = problem, every
        self.rows: list[tuple[Tensor, ...]] = []
        self.clock, self.due = 0.0, every

    def start(self, params: Params) -> None:
        w = params["w"].double()
        gap = self.problem.objective(w) - self.problem.minimum
        self.rows.append((gap, torch.zeros_like(gap), torch.full_like(gap, math.nan), torch.zeros_like(gap)))

    def __call__(self, step: StackStep) -> None:
        gamma = math.sqrt(float(step.hyperparameters["lr"][0]))
        self.clock += gamma
        if self.clock < self.due:
            return
        self.due += self.every
        w, new = step.params["w"].double(), step.new_params["w"].double()
        gap = self.problem.objective(new) - self.problem.minimum
        speed2 = ((new - w) ** 2).sum(1) / gamma**2
        self.rows.append((gap, speed2, torch.full_like(gap, gamma), torch.full_like(gap, step.k + 1.0)))

    def columns(self) -> dict[str, Tensor]:
        columns = (torch.stack(rows, 1) for rows in zip(*self.rows))
        return dict(zip(("gap", "speed2", "gamma", "index"), columns))
