"""The observers "gradient_norm" and "end_stationarity": how far from critical a member ends."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.problems import Params
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep


@observer("gradient_norm")
class GradientNorm:
    """Column gradient_norm [n], closed forms only: dist(0, dF(w_K)) where F is C^1, else an upper bound of m_eps."""

    def __init__(self, problem: ClosedForm, plan: Plan) -> None:
        self._gradient = torch.func.vmap(torch.func.grad(problem.objective))

    def start(self, params: Params) -> None:
        pass

    def __call__(self, step: StackStep) -> None:
        self._last = step.new_params["w"]

    def columns(self) -> dict[str, Tensor]:
        with torch.enable_grad():
            return {"gradient_norm": self._gradient(self._last.double()).norm(dim=1)}


@observer("end_stationarity")
class EndStationarity:
    """Column end_stationarity [n]: m_radius(w_K) = dist(0, d_radius F(w_K)), exact, of problems that know it."""

    def __init__(self, problem: ClosedForm, plan: Plan, radius: float) -> None:
        self.problem, self.radius = problem, radius

    def start(self, params: Params) -> None:
        pass

    def __call__(self, step: StackStep) -> None:
        self._last = step.new_params["w"]

    def columns(self) -> dict[str, Tensor]:
        return {"end_stationarity": self.problem.stationarity(self._last.double(), self.radius)}
