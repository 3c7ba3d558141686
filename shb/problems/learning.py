"""Learning problem: model x data set x loss, F(w) = mean over the training part of loss(model(w, x), y).

    cross_entropy   -log softmax(model(w, x))_y                      (classification)
    squared         |model(w, x) - y|^2 / 2, y one-hot for classes   (regression or classification)

Samples are indices into the training part, drawn as `shb.problems.sampling` says; an epoch drops no samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shb.datasets import Dataset
from shb.errors import ConfigurationError, choose
from shb.models import (
    MemberwiseBatchNorm,
    built,
    check_initialization,
    check_module,
    draw_parameters,
    evaluating,
    unknown_to_torch_default,
)
from shb.problems.problem import EvaluationBatch, Params, PerSeed
from shb.problems.sampling import SAMPLINGS, in_epochs
from shb.streams import BLOCK, blocked, stream


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """-log softmax(output)_y: output and `y` (one-hot) [..., outputs] -> [...]."""
    return -(torch.log_softmax(output, -1) * y).sum(-1)


def squared(output: Tensor, y: Tensor) -> Tensor:
    """|output - y|^2 / 2: [..., outputs] twice -> [...]."""
    residual = output - y
    return (residual * residual).sum(-1) / 2


# name -> function (output, y) -> loss of every sample, [..., outputs] -> [...]; y is one-hot for classes
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "squared": squared}
FOR_CLASSES = ("cross_entropy",)  # losses that regression data cannot have


def check_loss(loss: str, task: str) -> str:
    """Return `loss` if it is known and fits the `task` of the data.

    Args:
        loss: a name of `LOSSES`.
        task: "classification" or "regression".

    Raises:
        ConfigurationError: an unknown loss, or one for classes with regression data.
    """
    choose("loss", loss, LOSSES)
    if loss in FOR_CLASSES and task == "regression":
        others = " or ".join(name for name in LOSSES if name not in FOR_CLASSES)
        raise ConfigurationError("loss", loss, f"{others} for regression data")
    return loss


def settled_initialization(init: str, module: nn.Module) -> str:
    """`init`, or for auto what it is of this module.

    Raises:
        ConfigurationError: torch_default of a parameter that torch itself draws by another rule.
    """
    unknown = unknown_to_torch_default(module)
    if init == "auto":
        return "torch_default" if unknown is None else "module"
    if init == "torch_default" and unknown is not None:
        allowed = f"module: torch itself does not draw {unknown} by this rule, which is of Linear and Conv"
        raise ConfigurationError("init", init, allowed)
    return init


@functools.lru_cache(maxsize=4)
def _on_device(dataset: Dataset, dtype: torch.dtype, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and targets (classes one-hot) of each part: on the device once, shared by all problems on the data.

    Inputs that are whole numbers, which an embedding takes, stay so.
    """

    def inputs(x: Tensor) -> Tensor:
        return x.to(device, dtype) if x.is_floating_point() else x.to(device)

    def targets(y: Tensor) -> Tensor:
        return F.one_hot(y, dataset.outputs) if dataset.task == "classification" else y

    parts = {"train_": dataset.train, "val_": dataset.validation, "test_": dataset.test}
    return {name: (inputs(split.x), targets(split.y).to(device, dtype)) for name, split in parts.items()}


class LearningProblem(PerSeed):
    """A network trained on a data set.

    Args:
        model: `(feature_shape, outputs) -> torch.nn.Module`, e.g. `functools.partial(mlp, hidden=[64])`.
        dataset: a `Dataset`; its tensors go to `device` once.
        loss: a name of `LOSSES`.
        batch_size: samples per mini-batch, 1 .. size of the training part.
        sampling: "iid", "reshuffle" or "cyclic" (shb.problems.sampling).
        init, std, value: see `shb.models.initialization`. Of parameters that are trained: frozen ones
            (`requires_grad_(False)`) and buffers have the values that the module gives them, for every seed its own.
        dtype, device: of parameters and data.

    Attributes:
        draws: whether a training step draws random numbers (dropout); a sample then ends with a word of the seed's
            stream "dropout", from which the step's masks come (shb.training.drawing).

    Raises:
        ConfigurationError: a value that cannot be used, or a module that cannot be trained.

    Example:
        >>> from functools import partial
        >>> from shb.datasets import load_dataset
        >>> from shb.models import mlp
        >>> problem = LearningProblem(partial(mlp, hidden=[8]), load_dataset("digits"), batch_size=32)
        >>> params, samples = problem.initial_parameters(seed=0), problem.sample(seed=0, start=0, stop=100)
        >>> {name: tuple(p.shape) for name, p in params.items()}
        {'1.weight': (8, 64), '1.bias': (8,), '3.weight': (10, 8), '3.bias': (10,)}
        >>> x, y = problem.batch(samples[0])  # of one trajectory in step 0
        >>> tuple(samples.shape), tuple(x.shape), tuple(y.shape), round(problem.loss(params, x, y).item(), 2)
        ((100, 32), (32, 1, 8, 8), (32, 10), 2.38)
    """

    def __init__(
        self,
        model: Callable[..., nn.Module],
        dataset: Dataset,
        *,
        loss: str = "cross_entropy",
        batch_size: int = 32,
        sampling: str = "iid",
        init: str = "auto",
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
            self.module = check_module(model(dataset.feature_shape, dataset.outputs))
        self._make = functools.partial(model, dataset.feature_shape, dataset.outputs)
        all_names = self.module.named_parameters(remove_duplicate=False)  # a bias has the fans of a tied weight
        self._shapes = {name: tuple(p.shape) for name, p in all_names}
        self._tied = list(self._shapes.keys() - dict(self.module.named_parameters()).keys())
        self._fixed = [name for name, p in self.module.named_parameters() if not p.requires_grad]
        self._buffers = [name for name, _ in self.module.named_buffers()]
        self._draw: dict[str, Any] = {"init": settled_initialization(init, self.module), "std": std, "value": value}
        self._parts = _on_device(dataset, self.dtype, self.device)
        self.draws = self._draws(dataset)

    def initial_parameters(self, seed: int) -> Params:
        """w_0 of a seed, drawn by `init`: name -> tensor on the CPU, what is frozen or tied left out.

        Raises:
            ConfigurationError: an `init` that needs the fans of a layer, of a parameter that has none.
        """
        undrawn = [*self._fixed, *self._tied]
        if self._draw["init"] == "module":
            values = built(self._make, seed)
            return {name: values[name].to(self.dtype) for name in self._shapes if name not in undrawn}
        return draw_parameters(
            self._shapes, generator=stream(seed, "init"), dtype=self.dtype, fixed=undrawn, **self._draw
        )

    def initial_buffers(self, seed: int) -> Params:
        """Frozen parameters and buffers of a seed on the CPU, as the module makes them: name -> tensor."""
        names = [*self._fixed, *self._buffers]
        values = built(self._make, seed) if names else {}
        return {
            name: values[name].to(self.dtype) if values[name].is_floating_point() else values[name] for name in names
        }

    def _draws(self, dataset: Dataset) -> bool:
        """Whether a forward pass in training draws from torch's generator; what fails is found when it is traced."""
        values = {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in built(self._make, 0).items()}
        x = dataset.train.x[:2]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.get_rng_state()
            try:
                torch.func.functional_call(self.module, values, (x.to(self.dtype) if x.is_floating_point() else x,))
            except Exception:  # tracing says what it is
                return False
            return not torch.equal(before, torch.get_rng_state())

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        """Training indices of the steps `start` .. `stop` - 1 of a `seed`: int64 [stop - start, batch_size].

        Of a problem that draws, one column more: the word of each step.
        """
        indices = self._indices(seed, start, stop)
        if not self.draws:
            return indices
        low, high = -(2**63), 2**63
        keys = blocked(seed, "dropout", start, stop, lambda g: g.integers(low, high, (BLOCK, 1)))
        return torch.cat([indices, torch.from_numpy(keys)], 1)

    def _indices(self, seed: int, start: int, stop: int) -> Tensor:
        size, batch_size = self.train_size, self.batch_size
        if self.sampling == "iid":
            draw = blocked(seed, "sampling", start, stop, lambda g: g.integers(0, size, (BLOCK, batch_size)))
            return torch.from_numpy(draw)

        def order(epoch: int) -> np.ndarray:
            if self.sampling == "cyclic":
                return np.arange(size)
            return stream(seed, "reshuffle", epoch).permutation(size)

        indices = in_epochs(start * batch_size, stop * batch_size, size, order)
        return torch.from_numpy(indices).view(-1, batch_size)

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Inputs and targets of the training samples [members, batch], and the keys of a step that draws."""
        if self.draws:
            samples = samples.to(self.device)
            return *self.rows(samples[..., :-1]), samples[..., -1:]
        return self.rows(samples)

    def rows(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Inputs and targets of the training part (classes one-hot) at indices of any shape: [*samples.shape, ...]."""
        x, y = self._parts["train_"]
        index = samples.to(self.device).flatten()
        return tuple(part.index_select(0, index).unflatten(0, samples.shape) for part in (x, y))

    def _sample_losses(self, params: Params, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with MemberwiseBatchNorm():
            output = torch.func.functional_call(self.module, params, (x,))
        if not isinstance(output, Tensor) or output.shape != y.shape:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ConfigurationError(
                "model", f"output {given}", f"an output of shape {tuple(y.shape)} (samples, outputs)"
            )
        losses = LOSSES[self.loss_name](output, y)
        if losses.shape != y.shape[:-1]:
            allowed = f"one number for each sample, of shape {tuple(y.shape[:-1])}"
            raise ConfigurationError("loss", f"{self.loss_name} of shape {tuple(losses.shape)}", allowed)
        return losses, output

    def loss(self, params: Params, x: Tensor, y: Tensor, key: Tensor | None = None) -> Tensor:
        """The mean loss of a mini-batch, a scalar.

        Args:
            params: name -> tensor, without member axis (of a module with buffers, these too).
            x, y: [batch, *feature_shape], and [batch, outputs], one-hot for classes.
            key: [1], the member's word of a step that draws; whoever traces the step takes the draws from it.
        """
        return self._sample_losses(params, x, y)[0].mean()

    def loss_and_buffers(self, params: Params, buffers: Params, *batch: Tensor) -> tuple[Tensor, Params]:
        """The loss, a scalar, and the buffers as the forward pass left them.

        Args:
            params, buffers: name -> tensor, without member axis; `buffers` itself is not changed.
            batch: x, y and perhaps key, as in `loss`.
        """
        new = {
            name: b if name in self._fixed else b.clone() for name, b in buffers.items()
        }  # a module writes into them
        return self.loss({**params, **new}, *batch), new

    def metrics(self, params: Params, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Sums over samples in evaluation mode: "loss", for classes also "accuracy" (hits), float64 scalars.

        Args:
            params: name -> tensor, without member axis; parameters and buffers.
            x, y: [n, *feature_shape], and [n, outputs], one-hot for classes.
        """
        with evaluating(self.module):
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
