"""What a stack needs to know of an objective F(w) = E_s f(w, s), written for one trajectory.

Data on its way: `sample` draws the s_k of one seed on the CPU; a stack puts many seeds' samples together and
calls `batch` once per step to bring them to the device; `loss` then sees one trajectory's parameters and one
trajectory's mini-batch, and its gradient by backpropagation is the oracle v(w, s).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Params = dict[str, Tensor]


class EvaluationBatch(NamedTuple):
    """Part of an evaluation: `metrics(params, *tensors)` are sums that count for `weight` samples of `part`."""

    part: str  # prefix of the metric names: "train_", "val_", "test_" or "" for exact metrics
    tensors: tuple[Tensor, ...]
    weight: int


class Problem(Protocol):
    """An objective with its initialiser, its sampler and its evaluation."""

    name: str
    dtype: torch.dtype
    device: torch.device

    def initial_parameters(self, seed: int) -> Params:
        """w_0 of a seed on the CPU: name -> tensor, without member axis."""

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        """Samples s_start .. s_{stop-1} of a seed on the CPU: [stop - start, *sample_shape]."""

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        """What `loss` takes for samples of one step [members, *sample_shape]: tensors [members, ...]."""

    def loss(self, params: Params, *batch: Tensor) -> Tensor:
        """f(w, s) of one trajectory: a scalar whose backpropagated gradient is the oracle."""

    def metrics(self, params: Params, *tensors: Tensor) -> dict[str, Tensor]:
        """Sums over one evaluation batch for one trajectory: name -> scalar."""

    def evaluation(self, *, full: bool) -> list[EvaluationBatch]:
        """Batches whose metrics are evaluated: the cheap ones during a run, all of them if `full`."""
