"""What a stack needs to know of an objective F(w) = E_s f(w, s), written for one trajectory.

Data on its way: `sample` draws the s_k of one seed on the CPU; a stack puts many seeds' samples together and
calls `batch` once per step to bring them to the device; `loss` then sees one trajectory's parameters and one
trajectory's mini-batch, and its gradient by backpropagation is the oracle v(w, s).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
import torch
from torch import Tensor

Params = dict[str, Tensor]


class EvaluationBatch(NamedTuple):
    """Part of an evaluation: `metrics(params, *tensors)` are sums that count for `weight` samples of `part`.

    Attributes:
        part: prefix of the names of the metrics: "train_", "val_", "test_", or "" for exact ones.
        tensors: of the samples, e.g. x [weight, *feature_shape] and y [weight, outputs].
        weight: number of samples.
    """

    part: str  # prefix of the metric names: "train_", "val_", "test_" or "" for exact metrics
    tensors: tuple[Tensor, ...]
    weight: int


class Problem(Protocol):
    """An objective with its initialiser, its sampler and its evaluation.

    Attributes:
        name: for results and errors.
        dtype, device: of parameters, and of what `batch` returns.

    A closed form also has `in_trap(params) -> bool [members]`: where the iterate is exactly in the trapping set.
    A stack then counts who touched it and who is trapped in it.

    With `draws`, the last tensor of a batch is a word for each member, and the draws of a step are functions of it
    (shb.training.drawing). What is traced of a problem is kept for it: it must be hashable, by identity or otherwise.
    """

    name: str
    dtype: torch.dtype
    device: torch.device

    def initial_parameters(self, seed: int) -> Params:
        """w_0 of a `seed` on the CPU: name -> tensor, without member axis."""

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        """Samples of the steps `start` .. `stop` - 1 of a `seed` on the CPU: [stop - start, *sample_shape]."""

    def initial_parameters_of(self, seeds: np.ndarray) -> Params:
        """w_0 of many seeds on the CPU: name -> [n, ...]; row i has the bits of `initial_parameters(seeds[i])`."""

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        """Samples of the steps `start` .. `stop` - 1 of many `seeds` [n] on the CPU: [stop - start, n, *sample_shape].

        Column i has the bits of `sample(seeds[i], start, stop)`.
        """

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        """What `loss` takes for samples of one step [members, *sample_shape]: tensors [members, ...]."""

    def loss(self, params: Params, *batch: Any, **named: Any) -> Tensor:
        """f(w, s) of one trajectory: a scalar whose backpropagated gradient is the oracle.

        Args:
            params: name -> tensor, without member axis.
            batch, named: what the method `batch` returns, without member axis; an implementation gives each a name.
        """

    def metrics(self, params: Params, *tensors: Any, **named: Any) -> dict[str, Tensor]:
        """Sums over one evaluation batch for one trajectory: name -> scalar.

        Args:
            params: name -> tensor, without member axis.
            tensors, named: those of an `EvaluationBatch`; an implementation gives each a name.
        """

    def evaluation(self, *, full: bool) -> list[EvaluationBatch]:
        """Batches whose metrics are evaluated: the cheap ones during a run, all of them if `full`."""

    def __hash__(self) -> int:
        return object.__hash__(self)


class BufferedProblem(Problem, Protocol):
    """A problem with buffers: tensors that belong to a member but are not trained.

    `metrics` gets parameters and buffers in one dictionary.
    """

    def initial_buffers(self, seed: int) -> Params:
        """Buffers of a seed on the CPU: name -> tensor, without member axis."""

    def loss_and_buffers(self, params: Params, buffers: Params, *batch: Any) -> tuple[Tensor, Params]:
        """In place of `loss`, for one trajectory.

        Args:
            params: name -> tensor, without member axis.
            buffers: likewise, as they are before the step.
            batch: what the method `batch` returns, without member axis.

        Returns:
            f(w, s), a scalar, and the buffers after the step, of the names and shapes of `buffers`.
        """


def may_have_buffers(problem: Problem) -> TypeGuard[BufferedProblem]:
    """Whether a problem has the methods of a `BufferedProblem`; its buffers may be none."""
    return hasattr(problem, "initial_buffers")


class PerSeed:
    """For problems that draw seed by seed: many seeds as a loop."""

    def initial_parameters_of(self: Problem, seeds: np.ndarray) -> Params:
        """w_0 of each seed after the other, stacked: name -> [n, ...]."""
        drawn = [self.initial_parameters(int(seed)) for seed in seeds]
        return {name: torch.stack([params[name] for params in drawn]) for name in drawn[0]}

    def samples_of(self: Problem, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        """Samples of each seed after the other, stacked: [stop - start, n, *sample_shape]."""
        return torch.stack([self.sample(int(seed), start, stop) for seed in seeds], 1)
