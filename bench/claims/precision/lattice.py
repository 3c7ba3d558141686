"""How often a trajectory in finite precision lands exactly on a kink: the lattice law behind L8.

Let q_k be the density of w_{k+1} at 0 in real numbers. An update w_{k+1} = w_k - alpha v that ends near 0 subtracts two
numbers of nearly equal size: it is exact, and w_{k+1} is a multiple of ulp(w_k). Hence, to leading order in eps,

    P(w_{k+1} = 0) = q_k(0) E[ulp(w_k) | w_{k+1} near 0],     ulp(w) = eps 2^floor(log2 |w|)

(derived). The sum over k of q_k(0) E[2^floor(log2 |w_k|)] is measured in float64, where nothing lands: share of near
hits |w_{k+1}| < width, each counted with 2^floor(log2 |w_k|) / (2 width). Times eps: the share in any format.
At E1 it is the law L8 of theory.md with its constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.problems import Params
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep


@observer("near_hits")
class NearHits:
    """Column lattice [n]: sum over k of 1{|w_{k+1}| < width} 2^floor(log2 |w_k|) / (2 width); one variable."""

    def __init__(self, problem: ClosedForm, plan: Plan, width: float) -> None:
        self.width = width

    def start(self, params: Params) -> None:
        self._sum = torch.zeros(len(params["w"]), dtype=torch.float64)

    def __call__(self, step: StackStep) -> None:
        before, after = (p["w"][:, 0].double().cpu() for p in (step.params, step.new_params))
        binade = torch.exp2(torch.floor(torch.log2(before.abs())))
        self._sum += torch.where(after.abs() < self.width, binade / (2 * self.width), 0.0)

    def columns(self) -> dict[str, Tensor]:
        return {"lattice": self._sum}
