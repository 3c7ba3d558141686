"""E10: kinks that no random weight avoids: inputs that are all zero meet a bias that starts at zero.

    h = relu(v x + b),  f = (h - y)^2 / 2,  (x, y) = (0, y_0) with probability p (an empty border patch), else (1, y_1)

The pre-activation of an empty patch is b. At b = 0 it is exactly 0 for every v and in every precision, and v_b depends
on t = ReLU'(0) there: dv_b/dt = p (0 - y_0) on average. Initialised with random v and b = 0 (as Keras does) every
run starts on that kink; with random b none does.

In (b, u) with u = v + b, F = p (relu(b) - y_0)^2 / 2 + (1 - p) (relu(u) - y_1)^2 / 2 separates, so dF = E df and no
point is artificial. Clarke critical: b in {y_0} or b <= 0, and u in {y_1} or u <= 0. F* = 0, without noise there.
Dead at the start, hence for ever if t = 0 (b = v + b = 0 included): probability 1/2 for random v and b = 0, and 3/8
for independent normal v and b of equal variance. With t > 0 the zero bias is not: b moves up by p t y_0 at once.
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth import relu
from shb.problems.closed_forms.closed_form import ClosedForm, distance_to
from shb.problems.problem import Params
from shb.streams import blocked_words, uniform

_LEFT, _DOWN = (-1.0, 0.0), (math.sqrt(0.5), -math.sqrt(0.5))  # directions in (v, b); u is constant along _DOWN


class E10(ClosedForm):
    """One neuron with a bias; parameters w = [v, b].

    Args:
        bias: "zero": b starts at 0 whatever `init` says of it (v is as `init` says); "random": as `init` says.
        zero_share: p in ]0, 1[.
        zero_target, target: y_0, y_1 > 0.
        options: as in `ClosedForm`.

    Raises:
        ConfigurationError: a value out of range, or as `ClosedForm`.
    """

    name, size, minimum = "e10", 2, 0.0

    def __init__(
        self,
        *,
        bias: str = "zero",
        zero_share: float = 0.5,
        zero_target: float = 1.0,
        target: float = 2.0,
        **options: Any,
    ) -> None:
        self.bias = choose("problem.bias", bias, ("zero", "random"))
        if not 0 < zero_share < 1:
            raise ConfigurationError("problem.zero_share", zero_share, "a number in ]0, 1[")
        for name, value in (("zero_target", zero_target), ("target", target)):
            if not 0 < value < math.inf:
                raise ConfigurationError(f"problem.{name}", value, "a finite number > 0")
        self.zero_share, self.zero_target, self.target = zero_share, zero_target, target
        super().__init__(**options)

    def objective(self, w: Tensor) -> Tensor:
        b, u = w[..., 1], w[..., 0] + w[..., 1]
        empty = (torch.relu(b) - self.zero_target) ** 2
        return (self.zero_share * empty + (1 - self.zero_share) * (torch.relu(u) - self.target) ** 2) / 2

    def clarke_distance(self, w: Tensor) -> Tensor:
        v, b = w[..., 0], w[..., 1]
        point = distance_to(w, [self.target - self.zero_target, self.zero_target])
        live_bias = _ray(v + self.zero_target, b - self.zero_target, _LEFT)  # b = y_0, u <= 0
        dead_bias = _ray(v - self.target, b, _DOWN)  # u = y_1, b <= 0
        dead = torch.where((b <= 0) & (v + b <= 0), 0.0, torch.minimum(_ray(v, b, _LEFT), _ray(v, b, _DOWN)))
        return torch.stack([point, live_bias, dead_bias, dead]).amin(0)

    def structural_kink(self, w: Tensor) -> Tensor:
        """Where the pre-activation of an empty patch is exactly 0: bool [...]."""
        return w[..., 1] == 0

    def noise_covariance(self) -> Tensor:
        """0 at the minimum, where both samples are fitted: float64 [2, 2]."""
        return torch.zeros(2, 2, dtype=torch.float64)

    def initial_parameters_of(self, seeds: np.ndarray) -> Params:
        w = super().initial_parameters_of(seeds)["w"]
        if self.bias == "zero":
            w[:, 1] = 0
        return {"w": w}

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        x = uniform(blocked_words(seeds, "sampling", start, stop)[:, 0]) >= self.zero_share
        return torch.from_numpy(x).to(self.dtype)

    def loss(self, params: Params, x: Tensor) -> Tensor:
        v, b = params["w"].unbind()
        y = torch.where(x == 0, self.zero_target, self.target)
        residual = relu(v * x + b, self.relu_derivative, self.relu_rule) - y
        return residual * residual / 2


def _ray(v: Tensor, b: Tensor, direction: tuple[float, float]) -> Tensor:
    """Distance of (v, b) to the ray from 0 along a unit vector."""
    along = (v * direction[0] + b * direction[1]).clamp(min=0)
    x, y = ((part - along * one).double() for part, one in zip((v, b), direction))  # squares of float32 are no 0
    return (x * x + y * y).sqrt().to(v.dtype)  # no hypot: its last bit depends on the place in a stack
