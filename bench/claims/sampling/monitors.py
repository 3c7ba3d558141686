"""Observers of networks along a run: stationarity, exact zeros before a ReLU, updates that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.claims.observers import observer
from shb.nonsmooth import ReLU, goldstein_members
from shb.problems import LearningProblem, Params, Problem
from shb.training import Plan, StackStep

PIECE = 250  # samples of a gradient at a time: the patches of 2,000 images of 28x28 pixels fill gigabytes


class _AtSteps:
    """Something measured at the iterates w_k, k in `at`: every member [n] -> columns [n, len(at)]."""

    def __init__(self, at: Sequence[int]) -> None:
        self.at = set(at)
        self.rows: dict[str, list[Tensor]] = {}

    def start(self, params: Params) -> None:
        if 0 in self.at:
            self._record(params, 0)

    def __call__(self, step: StackStep) -> None:
        if step.k + 1 in self.at:
            self._record(step.new_params, step.k + 1)

    def _record(self, params: Params, k: int) -> None:
        for name, values in self.measured(params, k).items():
            self.rows.setdefault(name, []).append(values)

    def measured(self, params: Params, k: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def columns(self) -> dict[str, Tensor]:
        return {name: torch.stack(rows, 1) for name, rows in self.rows.items()}


def training_data(problem: LearningProblem, rows: int) -> tuple[Tensor, Tensor]:
    """The first `rows` training samples."""
    batches = [b.tensors for b in problem.evaluation(full=True) if b.part == "train_"]
    x, y = (torch.cat(parts)[:rows] for parts in zip(*batches))
    return x, y


def members(params: Params) -> list[Params]:
    """The parameters of each member of a stack."""
    return [{name: p[i] for name, p in params.items()} for i in range(len(next(iter(params.values()))))]


def mean_gradient(oracle: Callable[..., Params], pieces: Sequence[tuple[Tensor, Tensor]], params: Params) -> Params:
    """The gradient of the mean loss over the samples of all pieces (x, y)."""
    samples = sum(len(x) for x, _ in pieces)
    total = dict.fromkeys(params, 0.0)
    for x, y in pieces:
        total = {name: total[name] + len(x) / samples * g for name, g in oracle(params, x, y).items()}
    return total


@observer("network_stationarity")
class NetworkStationarity(_AtSteps):
    """m_eps of the mean loss over the first `rows` training samples: column stationarity [n, len(at)], float64.

    `radius` is eps, over all parameters together, and `samples` the sampled gradients (shb.nonsmooth.stationarity).
    The directions depend on k only.
    """

    def __init__(
        self, problem: LearningProblem, plan: Plan, at: Sequence[int], radius: float, samples: int, rows: int
    ) -> None:
        super().__init__(at)
        self.radius, self.samples = radius, samples
        x, y = (part.double() for part in training_data(problem, rows))
        oracle = torch.func.grad(problem.loss)
        pieces = list(zip(x.split(PIECE), y.split(PIECE)))
        self.gradient = lambda params: mean_gradient(oracle, pieces, params)

    def measured(self, params: Params, k: int) -> dict[str, Tensor]:
        double = members({name: p.double() for name, p in params.items()})
        found = [goldstein_members(self.gradient, one, self.radius, self.samples, k) for one in double]
        return {"stationarity": torch.tensor(found, dtype=torch.float64)}


@observer("gradient_norms")
class GradientNorms(_AtSteps):
    """|grad F|, F the mean loss over all training samples, and the median over them of the norm of their own gradients:
    columns gradient_norm and sample_gradient_norm [n, len(at)], float64.
    """

    def __init__(self, problem: LearningProblem, plan: Plan, at: Sequence[int]) -> None:
        super().__init__(at)
        self.x, self.y = (part.double() for part in training_data(problem, problem.train_size))
        gradient = torch.func.grad(lambda params, x, y: problem.loss(params, x[None], y[None]))
        self.gradients = torch.func.vmap(gradient, in_dims=(None, 0, 0))

    def measured(self, params: Params, k: int) -> dict[str, Tensor]:
        double = members({name: p.double() for name, p in params.items()})
        each = [torch.cat([g.flatten(1) for g in self.gradients(one, self.x, self.y).values()], 1) for one in double]
        return {
            "gradient_norm": torch.stack([g.mean(0).norm() for g in each]),
            "sample_gradient_norm": torch.stack([g.norm(dim=1).median() for g in each]),
        }


@observer("full_gradient")
class FullGradient(_AtSteps):
    """|grad F|, F the mean loss over all training samples, and how many inputs of a ReLU are exactly 0 on them: columns
    full_gradient and kinks [n, len(at)], float64.

    Without kinks a network of ReLUs is smooth around w: dF(w) = {grad F(w)}, and |grad F(w)| is dist(0, dF(w)).
    """

    def __init__(self, problem: LearningProblem, plan: Plan, at: Sequence[int]) -> None:
        super().__init__(at)
        x, y = (part.double() for part in training_data(problem, problem.train_size))
        self.module, self.oracle = problem.module, torch.func.grad(problem.loss)
        self.pieces = list(zip(x.split(PIECE), y.split(PIECE)))

    def measured(self, params: Params, k: int) -> dict[str, Tensor]:
        double = members({name: p.double() for name, p in params.items()})
        norms = [
            torch.cat([g.flatten() for g in mean_gradient(self.oracle, self.pieces, one).values()]).norm()
            for one in double
        ]
        kinks = [sum(zeros_before_relu(self.module, one, x)[0] for x, _ in self.pieces) for one in double]
        return {"full_gradient": torch.stack(norms).cpu(), "kinks": torch.tensor(kinks, dtype=torch.float64)}


def zeros_before_relu(module: torch.nn.Module, params: Params, x: Tensor) -> tuple[int, int]:
    """How many inputs of its ReLUs are exactly 0 on the samples `x`, of how many."""
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in module.modules()
        if isinstance(layer, ReLU)
    ]
    try:
        torch.func.functional_call(module, params, (x,))
    finally:
        for handle in handles:
            handle.remove()
    return sum(int((one == 0).sum()) for one in seen), sum(one.numel() for one in seen)


@observer("exact_zeros")
class ExactZeros(_AtSteps):
    """Inputs of a ReLU that are exactly 0, over the first `rows` training samples: columns zeros and inputs
    [n, len(at)] (counts).
    """

    def __init__(self, problem: LearningProblem, plan: Plan, at: Sequence[int], rows: int) -> None:
        super().__init__(at)
        self.module, self.x = problem.module, training_data(problem, rows)[0]

    def measured(self, params: Params, k: int) -> dict[str, Tensor]:
        counts = [zeros_before_relu(self.module, one, self.x) for one in members(params)]
        zeros, inputs = torch.tensor(counts, dtype=torch.float64).T
        return {"zeros": zeros, "inputs": inputs}


@observer("stall")
class Stall:
    """Columns longest_stall: most consecutive updates with |w_{k+1} - w_k| <= `least`; moved: share of the
    parameters that differ from their initial value at the end. [n] each.
    """

    def __init__(self, problem: Problem, plan: Plan, least: float = 1e-12) -> None:
        self.least = least

    def start(self, params: Params) -> None:
        self.initial = self.last = params
        self.current = self.longest = torch.zeros(len(next(iter(params.values()))), dtype=torch.int64)

    def __call__(self, step: StackStep) -> None:
        square = sum(((step.new_params[n] - p).double() ** 2).flatten(1).sum(1) for n, p in step.params.items())
        still = (square.sqrt() <= self.least).cpu()
        self.current = torch.where(still, self.current + 1, 0)
        self.longest = torch.maximum(self.longest, self.current)
        self.last = step.new_params

    def columns(self) -> dict[str, Tensor]:
        moved = torch.cat([(self.last[n] != p).flatten(1) for n, p in self.initial.items()], 1)
        return {"longest_stall": self.longest, "moved": moved.double().mean(1)}
