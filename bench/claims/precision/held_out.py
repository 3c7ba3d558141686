"""Accuracy on the test part at the end of training."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.problems import Params
from shb.problems.learning import LearningProblem
from shb.training import Plan, StackStep
from shb.training.gradient import metrics_program, shared


@observer("held_out")
class HeldOut:
    """Column test_accuracy [n], in [0, 1]; of a diverged member that of its non-finite parameters (class 0)."""

    def __init__(self, problem: LearningProblem, plan: Plan) -> None:
        self.problem = problem

    def start(self, params: Params) -> None:
        pass

    def __call__(self, step: StackStep) -> None:
        self._params = step.new_params

    def columns(self) -> dict[str, Tensor]:
        width = len(next(iter(self._params.values())))
        hits, total = torch.zeros(width, dtype=torch.float64), 0
        for part, tensors, weight in self.problem.evaluation(full=True):
            if part == "test_":
                program, names = metrics_program(self.problem, width, weight)
                values = program(*self._params.values(), *shared(tensors, width))
                hits += values[names.index("accuracy")].double().cpu()
                total += weight
        return {"test_accuracy": hits / total}
