"""Closed-form examples of theory.md section 4: objective, Clarke point and artificial point are known.

With G(w) = w + w^2/2 (Clarke point -1, G(-1) = -1/2; gradient at 0 is 1) and t = ReLU'(0):

    E1  s = +-1 with probability 1/2, f(w, +1) = 2 relu(w) + w^2/2, f(w, -1) = -2 relu(-w) + w^2/2;  F = G
        v(0, s) = 2t: the point 0 is artificial iff t = 0 (each v is a Clarke subgradient: type S)
    E2  f(w, s) = s (relu(w) - relu(-w)) + w^2/2 with s = 1, or s ~ U[1/2, 3/2];  F = G
        v(0, s) = 2 t s: the artefact of one backpropagation (type B)
    E3  E1 in w_1 plus (w_2 - b)^2/2: the artificial point (0, b) has a trapping line {w_1 = 0}
    E6  one ReLU neuron, f(w, (x, y)) = (relu(w.x) - y)^2/2 on antisymmetric data {(x, y), (-x, -y)}:
        F(w) = E(w.x - y)^2/4 + E y^2/4, Clarke point = least squares, artificial point 0
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.models import FAN_FREE, draw_parameters
from shb.nonsmooth import relu
from shb.nonsmooth.relu import check_at_zero
from shb.problems.problem import EvaluationBatch, Params
from shb.streams import BLOCK, blocked, stream


class ClosedForm:
    """Shared by the examples: initialiser, evaluation, the two points. Parameters: {"w": [size]}.

    Args:
        init, std, value: initialisation of w_0 (`scaled_normal`, `zeros` or `constant`; std and value in units of w).
        relu_at_zero: t = ReLU'(0) in [0, 1].
        dtype, device: of the trajectories.
    """

    name: str
    clarke_point: Tensor  # [size], the only Clarke critical point
    artificial_point: Tensor  # [size], 0 in D_F but not in the Clarke subdifferential if t = 0

    def __init__(
        self,
        *,
        init: str = "scaled_normal",
        std: float = 2.0,
        value: float = 0.0,
        relu_at_zero: float = 0.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if init not in FAN_FREE:
            raise ConfigurationError("init", init, f"one of {', '.join(FAN_FREE)} for problem={self.name}")
        self._draw = {"init": init, "std": std, "value": value}
        self.relu_at_zero = check_at_zero(relu_at_zero)
        self.dtype, self.device = dtype, torch.device(device)
        self.clarke_point, self.artificial_point = self.points()

    def points(self) -> tuple[Tensor, Tensor]:
        """Clarke point and artificial point, float64 [size]."""
        return torch.tensor([-1.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)

    def objective(self, w: Tensor) -> Tensor:
        """F(w) exactly: w [size] -> scalar."""
        return w.sum() + (w * w).sum() / 2

    def initial_parameters(self, seed: int) -> Params:
        shapes = {"w": tuple(self.clarke_point.shape)}
        return draw_parameters(shapes, generator=stream(seed, "init"), dtype=self.dtype, **self._draw)

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        return (samples.to(self.device),)

    def metrics(self, params: Params) -> dict[str, Tensor]:
        w = params["w"]
        to = {"dtype": w.dtype, "device": w.device}
        return {
            "train_loss": self.objective(w),
            "distance_to_clarke": (w - self.clarke_point.to(**to)).norm(),
            "at_artificial": (w == self.artificial_point.to(**to)).all().to(w.dtype),
        }

    def evaluation(self, *, full: bool) -> list[EvaluationBatch]:
        return [EvaluationBatch("", (), 1)]

    def _signs(self, seed: int, start: int, stop: int) -> Tensor:
        signs = blocked(seed, "sampling", start, stop, lambda g: 2.0 * g.integers(0, 2, BLOCK) - 1.0)
        return torch.from_numpy(signs).to(self.dtype)


class E1(ClosedForm):
    """Two samples whose subgradients cancel at 0 (type S)."""

    name = "e1"

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        return self._signs(seed, start, stop)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return _two_samples(params["w"], s, self.relu_at_zero).sum()


def _two_samples(w: Tensor, s: Tensor, at_zero: float) -> Tensor:
    """f(w, s) of E1, elementwise."""
    return torch.where(s > 0, 2 * relu(w, at_zero), -2 * relu(-w, at_zero)) + w * w / 2


class E2(ClosedForm):
    """Identity gadget relu(w) - relu(-w), whose backpropagated derivative at 0 is 2t (type B).

    `noise` is "none" (deterministic) or "uniform" (s ~ U[1/2, 3/2], a semialgebraic density).
    """

    name = "e2"

    def __init__(self, *, noise: str = "none", **options: object) -> None:
        self.noise = choose("problem.noise", noise, ("none", "uniform"))
        super().__init__(**options)

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        if self.noise == "none":
            return torch.ones(stop - start, dtype=self.dtype)
        drawn = blocked(seed, "sampling", start, stop, lambda g: g.uniform(0.5, 1.5, BLOCK))
        return torch.from_numpy(drawn).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w, t = params["w"], self.relu_at_zero
        return (s * (relu(w, t) - relu(-w, t)) + w * w / 2).sum()


class E3(ClosedForm):
    """E1 in w_1 plus a quadratic in w_2: started in {w_1 = 0}, SHB converges to the artificial point (0, b)."""

    name = "e3"

    def __init__(self, *, b: float = 1.0, **options: object) -> None:
        self.b = b
        super().__init__(**options)

    def points(self) -> tuple[Tensor, Tensor]:
        return torch.tensor([-1.0, self.b], dtype=torch.float64), torch.tensor([0.0, self.b], dtype=torch.float64)

    def objective(self, w: Tensor) -> Tensor:
        return w[0] + w[0] * w[0] / 2 + (w[1] - self.b) ** 2 / 2

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        return self._signs(seed, start, stop)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w = params["w"]
        return _two_samples(w[0], s, self.relu_at_zero) + (w[1] - self.b) ** 2 / 2


class E6(ClosedForm):
    """One ReLU neuron on antisymmetric data (type S).

    Args:
        x, y: half of the data, [n, features] and [n]; (-x, -y) is added. Default: the pair (1, 1), (-1, -1).

    A sample is the index of one of the 2n points. `distance_to_clarke` is to the least-squares solution.
    """

    name = "e6"

    def __init__(self, x: Tensor | None = None, y: Tensor | None = None, **options: object) -> None:
        x = torch.ones(1, 1) if x is None else x
        y = torch.ones(len(x)) if y is None else y
        self._x = torch.cat([x, -x]).double()
        self._y = torch.cat([y, -y]).double()
        super().__init__(**options)
        self.x, self.y = (data.to(self.device, self.dtype) for data in (self._x, self._y))

    def points(self) -> tuple[Tensor, Tensor]:
        solution = np.linalg.lstsq(self._x.numpy(), self._y.numpy(), rcond=None)[0]
        return torch.from_numpy(solution), torch.zeros(self._x.shape[1], dtype=torch.float64)

    def objective(self, w: Tensor) -> Tensor:
        residual = (self.x * w).sum(1) - self.y
        return (residual * residual).mean() / 4 + (self.y * self.y).mean() / 4

    def sample(self, seed: int, start: int, stop: int) -> Tensor:
        return torch.from_numpy(blocked(seed, "sampling", start, stop, lambda g: g.integers(0, len(self._y), BLOCK)))

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        index = samples.to(self.device)
        return self.x.index_select(0, index), self.y.index_select(0, index)

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        residual = relu((params["w"] * x).sum(), self.relu_at_zero) - y
        return residual * residual / 2
