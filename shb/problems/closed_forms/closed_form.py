"""What the closed-form examples of theory.md section 4 share: initialiser, evaluation, and the facts that make
every claim about them checkable (objective, Clarke points, artificial points, traps, stationarity).

Facts are written for w [..., size], any number of trajectories at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth.relu import check_derivative, check_rule
from shb.problems.problem import EvaluationBatch, Params
from shb.problems.sampling import SAMPLINGS
from shb.streams import BLOCK, normal, sign_bits, signs, uniform, words

INITIALIZATIONS = ("normal", "uniform", "point", "zeros")


class ClosedForm:
    """Base of the examples. Parameters: {"w": [size]}.

    A subclass sets `name`, `size` and `minimum`, and writes `objective`, `clarke_distance`, `samples_of`, `loss`
    and, where they differ from the defaults, the other facts.

    Args:
        init: law of w_0, absolutely continuous for `normal` (N(0, std^2) per coordinate) and `uniform`
            (U(low, high)); `point` is `value` (a number, or one per coordinate), `zeros` is 0.
        std, value, low, high: in units of w.
        sampling: "iid"; where the samples are a finite set also another of `shb.problems.sampling`.
        relu_derivative: t = ReLU'(0) in [0, 1].
        relu_rule: "chain" or "injected" (shb.nonsmooth.relu).
        dtype, device: of the trajectories.

    Raises:
        ConfigurationError: an unknown law or rule, a std <= 0, low >= high, a value of another shape, a derivative
            outside [0, 1], a sampling that the problem does not have.

    Example:
        >>> class Well(ClosedForm):
        ...     name, minimum = "well", 0.0
        ...     def objective(self, w):
        ...         return (w * w).sum(-1) / 2
        ...     def clarke_distance(self, w):
        ...         return distance_to(w, [0.0])
        ...     def samples_of(self, seeds, start, stop):
        ...         return torch.zeros(stop - start, len(seeds), dtype=self.dtype)
        ...     def loss(self, params, s):
        ...         return self.objective(params["w"]) + s
        >>> Well(init="uniform", low=1.0, high=2.0).initial_parameters_of(np.arange(5))["w"].shape
        torch.Size([5, 1])
    """

    name: str
    size: int = 1
    minimum: float  # F* = min F, or -inf
    finite: bool = False  # whether samples can be drawn without replacement

    def __init__(
        self,
        *,
        init: str = "normal",
        std: float = 2.0,
        value: float | Sequence[float] = 0.0,
        low: float = -1.0,
        high: float = 1.0,
        sampling: str = "iid",
        relu_derivative: float = 0.0,
        relu_rule: str = "chain",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if init not in INITIALIZATIONS:
            raise ConfigurationError("init", init, f"one of {', '.join(INITIALIZATIONS)} for problem={self.name}")
        if init == "normal" and not 0 < std < math.inf:
            raise ConfigurationError("init.std", std, "a number > 0 (init=zeros for 0)")
        if init == "uniform" and not -math.inf < low < high < math.inf:
            raise ConfigurationError("init.low", low, f"a number < init.high={high}")
        self._value = np.asarray(value, np.float64)
        if self._value.shape not in ((), (self.size,)):
            raise ConfigurationError(
                "init.value", value, f"a number or a list of {self.size}, one for each coordinate of {self.name}"
            )
        if choose("sampling", sampling, SAMPLINGS) != "iid" and not self.finite:
            raise ConfigurationError(
                "sampling", sampling, f"iid: problem={self.name} has no finite set of samples here"
            )
        self.init, self._std, self._low, self._high = init, std, low, high
        self.sampling = sampling
        self.relu_derivative, self.relu_rule = check_derivative(relu_derivative), check_rule(relu_rule)
        self.dtype, self.device = dtype, torch.device(device)

    # -- facts ----------------------------------------------------------------------------------------------

    def objective(self, w: Tensor) -> Tensor:
        """F(w) exactly: [..., size] -> [...]."""
        raise NotImplementedError

    def clarke_distance(self, w: Tensor) -> Tensor:
        """Distance to the Clarke critical points: [..., size] -> [...]."""
        raise NotImplementedError

    def artificial_distance(self, w: Tensor) -> Tensor | None:
        """Distance to the artificial points (0 in D_F but not in dF, for t = 0): [...]; None if there are none."""
        return None

    def in_trap(self, params: Params) -> Tensor | None:
        """Where w is exactly in the trapping set, which two iterates in a row never leave: bool [...], or None."""
        distance = self.artificial_distance(params["w"])
        return None if distance is None else distance == 0

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        """dist(0, d_radius F(w)), the exact Goldstein min-norm (theory.md 5.0).

        Args:
            w: [..., size].
            radius: > 0, in units of w.

        Returns:
            [...]

        Raises:
            NotImplementedError: of a problem without a closed form of it.
        """
        raise NotImplementedError(f"no closed form of the Goldstein subdifferential for problem={self.name}")

    # -- what a stack needs -----------------------------------------------------------------------------------

    def initial_parameters_of(self, seeds: np.ndarray) -> Params:
        """w_0 of every seed: {"w": [n, size]} on the CPU."""
        shape = (len(seeds), self.size)
        if self.init in ("point", "zeros"):
            w = np.broadcast_to(self._value if self.init == "point" else np.zeros(()), shape).copy()
        else:
            drawn = words(seeds, "init", 0, self.size).T
            w = self._std * normal(drawn) if self.init == "normal" else self._low + self._span() * uniform(drawn)
        return {"w": torch.from_numpy(w).to(self.dtype)}

    def _span(self) -> float:
        return self._high - self._low

    def initial_parameters(self, seed: int) -> Params:
        """w_0 of one seed: {"w": [size]} on the CPU."""
        return {"w": self.initial_parameters_of(np.array([seed]))["w"][0]}

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        """Samples of the steps `start` .. `stop` - 1 of many `seeds` [n]: [stop - start, n, ...] on the CPU.

        Signs are int8, for their size.
        """
        raise NotImplementedError

    def sign_bits_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor | None:
        """Signs of the steps `start` .. `stop` - 1 of many `seeds` [n], packed: int64 [n], as `shb.streams.sign_bits`.

        None if samples are no signs, or the steps are not of one block.
        """
        return None

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        """Samples of the steps `start` .. `stop` - 1 of one `seed`: [stop - start, ...] on the CPU."""
        return self.samples_of(np.array([seed]), start, stop)[:, 0]

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        """The samples of one step [members, ...] in the dtype and on the device of the problem."""
        samples = samples.to(self.device)
        return (samples.to(self.dtype) if samples.dtype == torch.int8 else samples,)

    def loss(self, params: Params, *batch: Any, **named: Any) -> Tensor:
        """f(w, s) of one trajectory, a scalar whose backpropagated gradient is the oracle v(w, s).

        Args:
            params: {"w": [size]}.
            batch, named: one sample, as `batch` returns it, without member axis; an implementation gives each a name.
        """
        raise NotImplementedError

    def metrics(self, params: Params) -> dict[str, Tensor]:
        """Objective and distances of w [size]: name -> scalar."""
        w = params["w"]
        values = {"train_loss": self.objective(w), "clarke_distance": self.clarke_distance(w)}
        artificial = self.artificial_distance(w)
        return values if artificial is None else {**values, "artificial_distance": artificial}

    def evaluation(self, *, full: bool) -> list[EvaluationBatch]:
        """One batch without data: the objective is known exactly."""
        return [EvaluationBatch("", (), 1)]


class Signs:
    """Samples +1 or -1 with probability 1/2, of the stream "sampling"; a base that stands before `ClosedForm`."""

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        """Signs of the steps `start` .. `stop` - 1 of many `seeds` [n]: int8 [stop - start, n]."""
        return torch.from_numpy(signs(seeds, "sampling", start, stop))

    def sign_bits_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor | None:
        """The same signs of `seeds`, `start`, `stop`, packed: int64 [n] (see `ClosedForm.sign_bits_of`).

        None where a subclass draws otherwise.
        """
        others = type(self).samples_of is not Signs.samples_of
        if others or start // BLOCK != (stop - 1) // BLOCK:
            return None
        return torch.from_numpy(sign_bits(seeds, "sampling", start, stop).view(np.int64))


def distance_to(w: Tensor, point: Sequence[float] | Tensor) -> Tensor:
    """Euclidean distance of `w` [..., size] to a `point` [size]: [...]."""
    difference = w - torch.as_tensor(point, dtype=w.dtype, device=w.device)
    return difference.abs()[..., 0] if w.shape[-1] == 1 else difference.norm(dim=-1)


def products(w: Tensor, rows: Tensor) -> Tensor:
    """w . row for every row: `w` [..., size] and `rows` [n, size] -> [..., n].

    Sums in order: those of `w @ rows.T` depend on the number of members.
    """
    first, *others = (w[..., j, None] * rows[:, j] for j in range(rows.shape[1]))
    return sum(others, first)
