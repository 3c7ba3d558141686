"""E5 and E6: least squares through one or two ReLU neurons, on any regression data (x, y).

    E5  h = relu(w.x) - relu(-w.x) = w.x, f = (h - y)^2/2: convex F; w = 0 is artificial for t = 0 (type B)
    E6  h = relu(w.x), f = (h - y)^2/2 on antisymmetric data {(x, y), (-x, -y)} (type S):
        F(w) = E(w.x - y)^2/4 + E y^2/4, Clarke point = least squares, artificial point 0

Proof for E6: where w.x > 0 the pair contributes ((w.x - y)^2 + y^2)/4, and the same where w.x < 0.
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError
from shb.nonsmooth import PiecewiseField, relu
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm, distance_to, products
from shb.problems.closed_forms.fields import SmoothPieces, diagonal_stationarity, smooth_field
from shb.problems.problem import Params
from shb.streams import blocked_words, uniform


class _Neuron(ClosedForm):
    """Least squares on a finite sample; a sample is the index of one data point.

    Args:
        x, y: data, [n, features] and [n]. Default: the single pair (1, 1).
        options: as in `ClosedForm`.

    Attributes:
        clarke_point: the least squares solution, float64 [features].

    Raises:
        ConfigurationError: dependent features, or as `ClosedForm`.
    """

    def __init__(self, x: Tensor | None = None, y: Tensor | None = None, **options: Any) -> None:
        x = torch.ones(1, 1) if x is None else x
        y = torch.ones(len(x)) if y is None else y
        self._x, self._y = self._data(x.double(), y.double())
        self.size = self._x.shape[1]
        super().__init__(**options)
        self.x, self.y = (data.to(self.device, self.dtype) for data in (self._x, self._y))
        solution, _, rank, _ = np.linalg.lstsq(self._x.numpy(), self._y.numpy(), rcond=None)
        if rank < self.size:
            raise ConfigurationError("x", f"rank {rank}", f"{self.size} independent features: a unique least squares")
        self.clarke_point = torch.from_numpy(solution)
        self.minimum = self.objective(self.clarke_point).item()

    _relus: int  # that contribute t each to the derivative of h at 0

    def _data(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y

    def clarke_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, self.clarke_point)

    def artificial_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, torch.zeros(self.size))

    def in_trap(self, params: Params) -> Tensor:
        return (params["w"] == 0).all(-1)  # the norm of small numbers underflows to 0: at 1e-23 in float32

    def _mean_square(self, w: Tensor) -> Tensor:
        """E(w.x - y)^2: [..., size] -> [...]."""
        x, y = (data.to(w) for data in (self._x, self._y))
        residual = products(w, x) - y
        return (residual * residual).mean(-1)

    def hessian(self) -> Tensor:
        """The constant Hessian of F, float64 [size, size]."""
        raise NotImplementedError

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        curvature, axes = torch.linalg.eigh(self.hessian().to(w.device))
        offset = (w.double() - self.clarke_point.to(w.device)) @ axes  # a ball is a ball in every orthogonal basis
        return diagonal_stationarity(offset * curvature, curvature, radius)

    def noise_covariance(self) -> Tensor:
        """Cov v(w, s) at the Clarke point, over all data: float64 [size, size]."""
        oracle = torch.func.grad(lambda w, x, y: self.loss({"w": w}, x, y))
        v = torch.func.vmap(oracle, in_dims=(None, 0, 0))(self.clarke_point, self._x, self._y)
        return torch.cov(v.T, correction=0).reshape(self.size, self.size)

    def field(self, *, conservative: bool = False) -> PiecewiseField | Pieces:
        """grad F; `conservative` adds D_F(0), over all t, for one feature only."""
        hessian, solution = self.hessian().numpy(), self.clarke_point.numpy()
        if self.size > 1 and conservative:
            raise ConfigurationError("conservative", True, "False for more than one feature")
        if self.size > 1:
            return SmoothPieces(lambda w: hessian @ (w - solution))
        slopes = -self._relus * (self._x[:, 0] * self._y).numpy()  # of each sample: from 0 to its slope
        ends = float(np.minimum(slopes, 0).mean()), float(np.maximum(slopes, 0).mean())
        return smooth_field(lambda w: hessian[0, 0] * (w - solution[0]), {0.0: ends} if conservative else None)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        drawn = uniform(blocked_words(seeds, "sampling", start, stop)[:, 0])
        return torch.from_numpy((drawn * len(self._y)).astype(np.int64))

    def batch(self, samples: Tensor) -> tuple[Tensor, ...]:
        index = samples.to(self.device)
        return self.x.index_select(0, index), self.y.index_select(0, index)


class E5(_Neuron):
    """A linear model written with two ReLUs: zero initialisation is frozen although F is convex.

    Args:
        x, y: data, [n, features] and [n], tensors. Default: the single pair (1, 1).
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: dependent features, or as `ClosedForm`.
    """

    name = "e5"
    _relus = 2

    def objective(self, w: Tensor) -> Tensor:
        return self._mean_square(w) / 2

    def hessian(self) -> Tensor:
        return self._x.T @ self._x / len(self._x)

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        h = (params["w"] * x).sum()
        t, rule = self.relu_derivative, self.relu_rule
        residual = relu(h, t, rule) - relu(-h, t, rule) - y
        return residual * residual / 2


class E6(_Neuron):
    """One ReLU neuron on antisymmetric data.

    Args:
        x, y: half of the data, [n, features] and [n], tensors; (-x, -y) is added. Default: the single pair (1, 1).
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: dependent features, or as `ClosedForm`.
    """

    name = "e6"
    _relus = 1

    def _data(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([x, -x]), torch.cat([y, -y])

    def objective(self, w: Tensor) -> Tensor:
        return self._mean_square(w) / 4 + (self._y * self._y).mean().to(w) / 4

    def hessian(self) -> Tensor:
        return self._x.T @ self._x / len(self._x) / 2

    def loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        residual = relu((params["w"] * x).sum(), self.relu_derivative, self.relu_rule) - y
        return residual * residual / 2
