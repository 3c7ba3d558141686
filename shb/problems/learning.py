"""Learning problem: model x data set x loss, F(w) = mean over the training part of loss(model(w, x), y).

    cross_entropy   -log softmax(model(w, x))_y                      (classification)
    squared         |model(w, x) - y|^2 / 2, y one-hot for classes   (regression or classification)

Samples are indices into the training part: `iid` draws every index independently and uniformly, as the theory
assumes (theory.md A2); `reshuffle` walks through a fresh permutation per epoch, without dropping samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shb.datasets import Dataset
from shb.errors import ConfigurationError, choose
from shb.models import check_initialization, draw_parameters
from shb.problems.problem import EvaluationBatch, Params, PerSeed
from shb.streams import BLOCK, blocked, stream

LOSSES = ("cross_entropy", "squared")
SAMPLINGS = ("iid", "reshuffle")


def check_loss(loss: str, task: str) -> str:
    """Return `loss` if it is known and fits the `task` of the data, else raise."""
    choose("loss", loss, LOSSES)
    if loss == "cross_entropy" and task == "regression":
        raise ConfigurationError("loss", loss, "squared for regression data")
    return loss


@functools.lru_cache(maxsize=4)
def _on_device(dataset: Dataset, dtype: torch.dtype, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and targets (classes one-hot) of each part: on the device once, shared by all problems on the data."""

    def targets(y: Tensor) -> Tensor:
        return F.one_hot(y, dataset.outputs) if dataset.task == "classification" else y

    parts = {"train_": dataset.train, "val_": dataset.validation, "test_": dataset.test}
    return {name: (split.x.to(device, dtype), targets(split.y).to(device, dtype)) for name, split in parts.items()}


class LearningProblem(PerSeed):
    """A network trained on a data set.

    Args:
        model: `(feature_shape, outputs) -> torch.nn.Module`, e.g. `functools.partial(mlp, hidden=[64])`.
        dataset: a `Dataset`; its tensors go to `device` once.
        loss: "cross_entropy" or "squared".
        batch_size: samples per mini-batch, 1 .. size of the training part.
        sampling: "iid" or "reshuffle".
        init, std, value: see `shb.models.initialization`.
        dtype, device: of parameters and data.
    """

    def __init__(
        self,
        model: Callable[..., nn.Module],
        dataset: Dataset,
        *,
        loss: str = "cross_entropy",
        batch_size: int = 32,
        sampling: str = "iid",
        init: str = "torch_default",
        std: float = 1.0,
        value: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        size = len(dataset.train.x)
        if not 1 <= batch_size <= size:
            raise ConfigurationError("batch_size", batch_size, f"1..{size}, the training part of {dataset.name}")
        check_initialization(init, std)
        self.name = dataset.name
        self.loss_name = check_loss(loss, dataset.task)
        self.sampling = choose("sampling", sampling, SAMPLINGS)
        self.classification = dataset.task == "classification"
        self.batch_size, self.train_size = batch_size, size
        self.dtype, self.device = dtype, torch.device(device)
        with torch.device("meta"):  # shapes only: the initial values are drawn per seed
            self.module = model(dataset.feature_shape, dataset.outputs)
        self._shapes = {name: tuple(p.shape) for name, p in self.module.named_parameters()}
        self._draw = {"init": init, "std": std, "value": value}
        self._parts = _on_device(dataset, self.dtype, self.device)

    def initial_parameters(self, seed: int) -> Params:
        return draw_parameters(self._shapes, generator=stream(seed, "init"), dtype=self.dtype, **self._draw)

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        """Training indices [stop - start, batch_size]."""
        size, batch_size = self.train_size, self.batch_size
        if self.sampling == "iid":
            draw = blocked(seed, "sampling", start, stop, lambda g: g.integers(0, size, (BLOCK, batch_size)))
            return torch.from_numpy(draw)
        first, last = start * batch_size // size, max(stop * batch_size - 1, 0) // size
        order = np.concatenate([stream(seed, "reshuffle", e).permutation(size) for e in range(first, last + 1)])
        begin = start * batch_size - first * size
        return torch.from_numpy(order[begin : begin + (stop - start) * batch_size]).view(-1, batch_size)

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        x, y = self._parts["train_"]
        index = samples.to(self.device).flatten()
        return tuple(part.index_select(0, index).unflatten(0, samples.shape) for part in (x, y))

    def _sample_losses(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        output = torch.func.functional_call(self.module, params, (x,))
        if self.loss_name == "cross_entropy":
            return -(torch.log_softmax(output, -1) * y).sum(-1), output
        residual = output - y
        return (residual * residual).sum(-1) / 2, output

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        return self._sample_losses(params, x, y)[0].mean()

    def metrics(self, params: Params, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        losses, output = self._sample_losses(params, x, y)
        sums = {"loss": losses.double().sum()}
        if self.classification:
            sums["accuracy"] = (output.argmax(-1) == y.argmax(-1)).double().sum()
        return sums

    def evaluation(self, *, full: bool) -> list[EvaluationBatch]:
        """Validation part during a run; training, validation and test parts if `full`.

        A batch holds twice as many samples as a mini-batch (at least 64): a forward pass over it needs no
        more memory than a training step.
        """
        rows = max(64, 2 * self.batch_size)
        batches = []
        for part in self._parts if full else ("val_",):
            x, y = self._parts[part]
            for i in range(math.ceil(len(x) / rows)):
                chunk = x[i * rows : (i + 1) * rows], y[i * rows : (i + 1) * rows]
                batches.append(EvaluationBatch(part, chunk, len(chunk[0])))
        return batches
