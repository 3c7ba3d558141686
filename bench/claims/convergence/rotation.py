"""The observer "rotation": how far blocks of parameters turn per update, and what that should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.problems import Params, Problem
from shb.training import Plan, StackStep


@observer("rotation")
class Rotation:
    """Of each block of parameters w, over the updates k >= `start_at`. Columns [n], float64:

    NAME_turn     mean of |w_{k+1}/|w_{k+1}| - w_k/|w_k||^2 = 2 (1 - cos angle)
    NAME_square   mean of |w_k|^2
    NAME_gradient mean of |g_k|^2, g the mini-batch gradient without weight decay
    NAME_memory   mean of g_k . (w_k - w_{k-1})
    NAME_before, NAME_after   |w|^2 at the first of these updates, and after the last

    Args:
        blocks: name -> parameters that together are one vector.
        start_at: first update that counts, >= 1.
    """

    def __init__(self, problem: Problem, plan: Plan, blocks: Mapping[str, Sequence[str]], start_at: int) -> None:
        self.blocks, self.start_at, self.count = blocks, start_at, plan.steps - start_at

    def start(self, params: Params) -> None:
        self.sums: dict[str, Tensor] = {}
        self.ends: dict[str, Tensor] = {}
        self.previous = {name: _vector(params, parts) for name, parts in self.blocks.items()}

    def __call__(self, step: StackStep) -> None:
        if step.k + 1 < self.start_at:
            return
        for name, parts in self.blocks.items():
            w, new, g = (_vector(p, parts) for p in (step.params, step.new_params, step.grads))
            square = (w * w).sum(1)
            if step.k >= self.start_at:
                turn = new / new.norm(dim=1, keepdim=True) - w / square.sqrt()[:, None]
                self._add(f"{name}_turn", (turn * turn).sum(1))
                self._add(f"{name}_square", square)
                self._add(f"{name}_gradient", (g * g).sum(1))
                self._add(f"{name}_memory", (g * (w - self.previous[name])).sum(1))
                self.ends.setdefault(f"{name}_before", square)
                self.ends[f"{name}_after"] = (new * new).sum(1)
            self.previous[name] = w

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def columns(self) -> dict[str, Tensor]:
        means = {name: value / self.count for name, value in self.sums.items()}
        return {name: value.cpu() for name, value in {**means, **self.ends}.items()}


def _vector(params: Params, names: Sequence[str]) -> Tensor:
    """The parameters `names` of every member as one row: float64 [n, numbers]."""
    return torch.cat([params[name].double().flatten(1) for name in names], 1)
