"""E8: the weight l of a scalar lasso, learned through the implicit derivative of its solution.

    x(l; b) = argmin_x (x - b)^2 / 2 + l |x| = sign(b) (|b| - l)_+
    f(l, b) = (x(l; b) - a b)^2 / 2,    v(l, b) = (x - a b) (-sign(b) 1{|b| > l}),    0 < a < 1,  c = 1 - a

With u = |b|: f = (c u - l)^2 / 2 where u > l, a^2 u^2 / 2 where u <= l. At l = u the slope falls from a u to 0, and
the implicit derivative there is 0, an element of the Clarke subdifferential: a conservative selection. Kinks of samples
all bend the same way (concave), so D_F = dF and no point is artificial.

    normal    b ~ N(0, 1): F is C^1, F' = l Q - 2 c phi(l) for l >= 0 with Q = P(|b| > l); the only critical point
              solves l Q / (2 phi(l)) = c, and is the minimum; F' > 0 beyond, F' -> 0
    discrete  b uniform on a list: F' = (m l - c S) / n with m, S = number and sum of the |b_i| > l. Clarke critical are
              the zeros of F', the kinks where it falls through 0 (maxima), and [max |b_i|, inf[, where F is constant

For l < 0 there is no lasso; the formula for x goes on, F' = l - c E|b| < 0 pushes back and nothing is critical.
Source: theory.md section 4 (derived).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.special import erfcx
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth import PiecewiseField
from shb.problems.closed_forms.closed_form import ClosedForm
from shb.problems.closed_forms.fields import smooth_field
from shb.problems.problem import Params
from shb.streams import blocked_words, normal, uniform


class E8(ClosedForm):
    """Hyperparameter of a lasso through the implicit derivative. Facts are float64.

    Args:
        law: of b, "normal" or "discrete".
        values: the b_i of law=discrete, none 0.
        ratio: a in ]0, 1[.
        options: as in `ClosedForm`.

    Attributes:
        clarke_point: the minimiser of F, float64 [1].

    Raises:
        ConfigurationError: an unknown law, a ratio or values out of range, or as `ClosedForm`.
    """

    name = "e8"

    def __init__(
        self,
        *,
        law: str = "normal",
        values: Sequence[float] = (-1.0, 2.0, 4.5),
        ratio: float = 0.5,
        **options: Any,
    ) -> None:
        self.law = choose("problem.law", law, ("normal", "discrete"))
        if not 0 < ratio < 1:
            raise ConfigurationError("problem.ratio", ratio, "a number in ]0, 1[")
        self.ratio = ratio
        try:
            self.values = np.asarray(values, np.float64).reshape(-1)
        except (TypeError, ValueError):
            self.values = np.empty(0)
        if not (len(self.values) and np.all(np.isfinite(self.values) & (self.values != 0))):
            raise ConfigurationError("problem.values", values, "a list of finite numbers other than 0")
        super().__init__(**options)
        self._critical = self._critical_points()
        losses = self.objective(torch.from_numpy(self._critical)[:, None])
        self.minimum = losses.min().item()
        self.clarke_point = torch.from_numpy(self._critical[[int(losses.argmin())]])

    # -- F' on the pieces between 0 <= kinks; the normal law has one piece ------------------------------------

    @property
    def _kinks(self) -> np.ndarray:
        return np.unique(np.abs(self.values)) if self.law == "discrete" else np.empty(0)

    def _slopes(self, points: np.ndarray, kink: float) -> np.ndarray:
        """F' of law=discrete, continued from the piece to the right of `kink`."""
        above = np.abs(self.values)[np.abs(self.values) > kink]
        return (len(above) * points - (1 - self.ratio) * above.sum()) / len(self.values)

    def _derivative(self, points: np.ndarray) -> np.ndarray:
        """F' of law=normal."""
        inside = np.maximum(points, 0.0)
        density = np.exp(-inside * inside / 2) / math.sqrt(2 * math.pi)
        return 2 * density * self._scaled_derivative(inside) + np.minimum(points, 0.0)

    def _scaled_derivative(self, weight: np.ndarray | float) -> np.ndarray | float:
        """F' / (2 phi) of law=normal for l >= 0, without underflow."""
        return weight * math.sqrt(math.pi / 2) * erfcx(weight / math.sqrt(2)) - (1 - self.ratio)

    def _critical_points(self) -> np.ndarray:
        """The isolated critical points, and the start of the constant part."""
        if self.law == "normal":
            from scipy.optimize import brentq  # slow to import, and no other closed form needs it

            upper = 1 / math.sqrt(self.ratio)  # l Q / (2 phi) increases and is at least l^2 / (1 + l^2)
            return np.array([brentq(self._scaled_derivative, 0.0, upper, xtol=1e-14, rtol=1e-14)])
        kinks = self._kinks
        starts, points = np.concatenate([[-np.inf], kinks[:-1]]), [kinks[-1]]
        for start, stop in zip(starts, kinks):
            above = np.abs(self.values)[np.abs(self.values) > start]
            zero = (1 - self.ratio) * above.mean()
            if start <= zero <= stop:
                points.append(zero)
            if self._slopes(stop, stop) <= 0 <= self._slopes(stop, start):
                points.append(stop)
        return np.unique(points)

    # -- facts ----------------------------------------------------------------------------------------------

    def objective(self, w: Tensor) -> Tensor:
        weight, a, c = w[..., 0].double(), self.ratio, 1 - self.ratio
        if self.law == "discrete":
            u = torch.from_numpy(np.abs(self.values)).to(weight.device)
            return torch.where(u > weight[..., None], (c * u - weight[..., None]) ** 2, a * a * u * u).mean(-1) / 2
        inside, below = weight.clamp(min=0), weight.clamp(max=0)
        density = torch.exp(-inside * inside / 2) / math.sqrt(2 * math.pi)
        tail = torch.erfc(inside / math.sqrt(2))
        second = tail + 2 * inside * density  # E b^2 1{|b| > l}
        f = (c * c * second - 4 * inside * c * density + inside * inside * tail + a * a * (1 - second)) / 2
        return f + below * below / 2 - below * c * math.sqrt(2 / math.pi)

    def clarke_distance(self, w: Tensor) -> Tensor:
        weight = w[..., 0].double()
        distance = (weight[..., None] - torch.from_numpy(self._critical).to(weight.device)).abs().amin(-1)
        return torch.where(weight > self._kinks[-1], 0.0, distance) if self.law == "discrete" else distance

    def stationarity(self, w: Tensor, radius: float) -> Tensor:
        weight = w[..., 0].double().cpu().numpy()
        low, high = weight - radius, weight + radius
        if self.law == "normal":  # F' increases to a maximum beyond its zero, then decreases to 0
            ends = self._derivative(low), self._derivative(high)
            distance = np.where(ends[1] < 0, -ends[1], np.where(ends[0] > 0, np.minimum(*ends), 0.0))
        else:
            kinks = np.concatenate([[-np.inf], self._kinks, [np.inf]])
            smallest, largest = np.full(weight.shape, np.inf), np.full(weight.shape, -np.inf)
            for start, stop in pairwise(kinks):
                first, last = np.maximum(low, start), np.minimum(high, stop)
                met = first <= last  # F' does not decrease on a piece
                smallest = np.where(met, np.minimum(smallest, self._slopes(first, start)), smallest)
                largest = np.where(met, np.maximum(largest, self._slopes(last, start)), largest)
            distance = np.abs(np.clip(0.0, smallest, largest))
        return torch.from_numpy(np.asarray(distance)).to(w.device)

    def noise_covariance(self) -> Tensor:
        """Var v at `clarke_point`, where E v = 0: float64 [1, 1]."""
        weight, a, c = self.clarke_point.item(), self.ratio, 1 - self.ratio
        if self.law == "discrete":
            u = np.abs(self.values)
            return torch.tensor([[np.where(u > weight, (c * u - weight) ** 2, 0.0).mean()]], dtype=torch.float64)
        density = math.exp(-weight * weight / 2) / math.sqrt(2 * math.pi)
        inside = a * a * (1 - math.erfc(weight / math.sqrt(2)) - 2 * weight * density)  # E (a b)^2 1{|b| <= l}
        return torch.tensor([[2 * self.minimum - inside]], dtype=torch.float64)

    def field(self, *, conservative: bool = False) -> PiecewiseField:
        """dF = D_F, with nothing added by `conservative`."""
        if self.law == "normal":
            return smooth_field(self._derivative)
        u, c = np.abs(self.values), 1 - self.ratio
        return PiecewiseField(
            self._kinks,
            lambda weight: np.where(u >= weight[..., None], weight[..., None] - c * u, 0.0).mean(-1),
            lambda weight: np.where(u > weight[..., None], weight[..., None] - c * u, 0.0).mean(-1),
        )

    # -- what a stack needs -----------------------------------------------------------------------------------

    def samples_of(self, seeds: np.ndarray, start: int, stop: int) -> Tensor:
        drawn = blocked_words(seeds, "sampling", start, stop)[:, 0]
        if self.law == "normal":
            return torch.from_numpy(normal(drawn)).to(self.dtype)
        return torch.from_numpy(self.values[(uniform(drawn) * len(self.values)).astype(np.int64)]).to(self.dtype)

    def loss(self, params: Params, b: Tensor) -> Tensor:
        weight = params["w"][0]
        residual = _solution(weight, b) - self.ratio * b
        return residual * residual / 2


def _solution(weight: Tensor, b: Tensor) -> Tensor:
    """x(l; b) whose backpropagated derivative is the implicit one."""
    constant = weight.detach()
    active = b.abs() > constant
    x = torch.where(active, b.sign() * (b.abs() - constant), torch.zeros_like(b))
    return x + torch.where(active, -b.sign(), torch.zeros_like(b)) * (weight - constant)
