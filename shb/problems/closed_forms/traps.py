"""E1, E2, E3: a convex function whose formal derivative vanishes at a point that is not critical.

With G(w) = w + w^2/2 (Clarke point -1, G(-1) = -1/2; gradient at 0 is 1) and t = ReLU'(0):

    E1  s = +-1 with probability 1/2, f(w, +1) = 2 relu(w) + w^2/2, f(w, -1) = -2 relu(-w) + w^2/2;  F = G
        v(0, s) = 2t: the point 0 is artificial iff t = 0 (each v is a Clarke subgradient: type S)
    E2  f(w, s) = s (relu(w) - relu(-w)) + w^2/2 with s = 1, or s ~ U[1/2, 3/2];  F = G
        v(0, s) = 2 t s: the artefact of one backpropagation (type B)
    E3  E1 in w_1 plus (w_2 - b)^2/2: the artificial point (0, b) has a trapping line {w_1 = 0}
    E9  E2 whose ReLU is a max-pooling of [0, w] (the first index wins a tie)

`form` replaces the ReLU by an equal function with another formal derivative at 0 (shb.nonsmooth.gadgets): E1
written with (x + |x|)/2 is w + s|w| + w^2/2 with v(0, s) = 1. Noise of E1 and E3:
v(w, s) - F'(w) = s, variance 1. Source: theory.md section 4 (derived).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import choose
from shb.nonsmooth import PiecewiseField
from shb.nonsmooth.gadgets import SCALAR_RELUS, get_scalar_relu
from shb.nonsmooth.piecewise import Pieces
from shb.problems.closed_forms.closed_form import ClosedForm, Signs, distance_to
from shb.problems.closed_forms.fields import SmoothPieces, smooth_field
from shb.problems.problem import Params
from shb.streams import blocked_words, uniform


class _Gadget(ClosedForm):
    """F = G in the first coordinate.

    Args:
        form: the ReLU it is written with, a name of `shb.nonsmooth.SCALAR_RELUS`.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown form, a `relu_derivative` or `relu_rule` with a form that has its own, or as
            `ClosedForm`.
    """

    minimum = -0.5

    def __init__(self, *, form: str = "relu", **options: Any) -> None:
        self.form = choose("problem.form", form, SCALAR_RELUS)
        super().__init__(**options)
        self._relu = get_scalar_relu(form, self.relu_derivative, self.relu_rule)

    def objective(self, w: Tensor) -> Tensor:
        return w[..., 0] + w[..., 0] * w[..., 0] / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, [-1.0])

    def artificial_distance(self, w: Tensor) -> Tensor | None:
        return distance_to(w, [0.0])

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return ((1 + w[..., 0]).abs() - radius).clamp(min=0)  # F' = 1 + w on [w - radius, w + radius]

    def field(self, *, conservative: bool = False) -> PiecewiseField | Pieces:
        """dF; `conservative` adds D_F(0) = [0, 2], which holds the oracles of every `form` and every t."""
        return smooth_field(lambda w: 1 + w, {0.0: (0.0, 2.0)} if conservative else None)

    def noise_covariance(self) -> Tensor:
        """Cov v(w, s) off the kink, the same for all w: float64 [size, size]."""
        raise NotImplementedError

    def _two_samples(self, w: Tensor, s: Tensor) -> Tensor:
        """f(w, s) of E1, elementwise: one ReLU, because the injected rule would leak through a masked second one."""
        return 2 * s * self._relu(s * w) + w * w / 2


class E1(Signs, _Gadget):
    """Two samples whose subgradients cancel at 0 (type S).

    Args:
        form: the ReLU it is written with, a name of `shb.nonsmooth.SCALAR_RELUS`.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown form, a `relu_derivative` or `relu_rule` with a form that has its own, or as
            `ClosedForm`.
    """

    name = "e1"

    def noise_covariance(self) -> Tensor:
        """Var s = 1 off the kink: float64 [1, 1]."""
        return torch.ones(1, 1, dtype=torch.float64)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        return self._two_samples(params["w"], s).sum()


class E2(_Gadget):
    """Identity gadget relu(w) - relu(-w), whose backpropagated derivative at 0 is 2t (type B).

    Args:
        noise: "none" (deterministic) or "uniform" (s ~ U[1/2, 3/2], a semialgebraic density).
        options: `form`, and as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown noise, or as `E1`.
    """

    name = "e2"

    def __init__(self, *, noise: str = "none", **options: Any) -> None:
        self.noise = choose("problem.noise", noise, ("none", "uniform"))
        super().__init__(**options)

    def noise_covariance(self) -> Tensor:
        """Var s off the kink: float64 [1, 1]."""
        return torch.full((1, 1), 0.0 if self.noise == "none" else 1 / 12, dtype=torch.float64)

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        if self.noise == "none":
            return torch.ones(stop - start, len(seeds), dtype=self.dtype)
        drawn = 0.5 + uniform(blocked_words(seeds, "sampling", start, stop)[:, 0])
        return torch.from_numpy(drawn).to(self.dtype)

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w = params["w"]
        return (s * (self._relu(w) - self._relu(-w)) + w * w / 2).sum()


class E3(E1):
    """E1 in w_1 plus a quadratic in w_2: started in {w_1 = 0}, SHB converges to the artificial point (0, b).

    Args:
        b: minimiser in w_2.
        options: `form`, and as in `ClosedForm`.
    """

    name, size = "e3", 2

    def __init__(self, *, b: float = 1.0, **options: Any) -> None:
        self.b = b
        super().__init__(**options)

    def objective(self, w: Tensor) -> Tensor:
        return super().objective(w) + (w[..., 1] - self.b) ** 2 / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, [-1.0, self.b])

    def artificial_distance(self, w: Tensor) -> Tensor:
        return distance_to(w, [0.0, self.b])

    def in_trap(self, params: Params) -> Tensor:
        """The line {w_1 = 0}, bool [...]: from there w_2 goes to b and w_1 stays."""
        return params["w"][..., 0] == 0

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        return (distance_to(w, [-1.0, self.b]) - radius).clamp(min=0)  # grad F = w - (-1, b)

    def noise_covariance(self) -> Tensor:
        """diag(1, 0) off the kink: float64 [2, 2]."""
        return torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))

    def field(self, *, conservative: bool = False) -> Pieces:
        """dF; `conservative` adds D_F = [0, 2] x {w_2 - b} on the line {w_1 = 0}."""
        return _Plane(self.b) if conservative else SmoothPieces(lambda w: w - np.array([-1.0, self.b]))

    def loss(self, params: Params, s: Tensor) -> Tensor:
        w = params["w"]
        return self._two_samples(w[0], s) + (w[1] - self.b) ** 2 / 2


@dataclass(frozen=True)
class _Plane:
    """D_F of E3."""

    b: float

    def pieces(self, w: np.ndarray, radius: float) -> np.ndarray:
        first = [1 + w[0]] + ([0.0, 2.0] if abs(w[0]) <= radius else [])
        return np.array([(slope, w[1] - self.b) for slope in first])


class E9(E2):
    """E2 through max-pooling, max([0, w]) - max([0, -w]): torch gives a tie to the first index, derivative 0.

    Args:
        order: "zero_first" traps at 0; "zero_last" has derivative 2 there, "amax" 1 (ties share), and do not.
        options: `noise` of `E2`, and as in `ClosedForm`.

    Raises:
        ConfigurationError: an unknown order, or as `E2`.
    """

    name = "e9"

    def __init__(self, *, order: str = "zero_first", **options: Any) -> None:
        forms = {"zero_first": "max_pool_zero_first", "zero_last": "max_pool_zero_last", "amax": "amax"}
        self.order = choose("problem.order", order, forms)
        super().__init__(form=forms[order], **options)
