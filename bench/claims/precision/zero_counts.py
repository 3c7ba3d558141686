"""Exact zeros of the pre-activations of trained networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.cell.problem import DTYPES
from bench.claims.observers import observer
from bench.claims.precision.bifurcation import preactivations
from shb.problems import Params
from shb.problems.learning import LearningProblem
from shb.training import Plan, StackStep


@observer("zero_counts")
class ZeroCounts:
    """At the end of training of a multilayer perceptron, over training and validation images: zeros_FORMAT [n] for each
    storage format in `formats`, and calls [n], the number of ReLU calls.
    """

    def __init__(self, problem: LearningProblem, plan: Plan, formats: Sequence[str]) -> None:
        self.problem, self.formats = problem, list(formats)

    def start(self, params: Params) -> None:
        pass

    def __call__(self, step: StackStep) -> None:
        self._params = step.new_params

    def columns(self) -> dict[str, Tensor]:
        weights = [name for name in self._params if name.endswith("weight")][:-1]  # the last layer has no ReLU
        inputs = [b.tensors[0].flatten(1) for b in self.problem.evaluation(full=True) if b.part != "test_"]
        width = len(self._params[weights[0]])
        counts = {f"zeros_{name}": torch.zeros(width, dtype=torch.float64) for name in self.formats}
        units = sum(self._params[name].shape[1] for name in weights)
        for member in range(width):
            layers = {
                f"hidden.{i}.{kind}": self._params[name.replace("weight", kind)][member]
                for i, name in enumerate(weights)
                for kind in ("weight", "bias")
            }
            for name in self.formats:
                cast = {key: p.to(DTYPES[name]) for key, p in layers.items()}
                for x in inputs:
                    ys = preactivations(cast, x.to(DTYPES[name]), len(weights))
                    counts[f"zeros_{name}"][member] += sum(y.numel() - int(torch.count_nonzero(y)) for y in ys)
        calls = float(units * sum(len(x) for x in inputs))
        return counts | {"calls": torch.full((width,), calls, dtype=torch.float64)}
