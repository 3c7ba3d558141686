"""What is recorded along the trajectories of an ensemble, beside their end: columns [n] or [n, width].

An observer is made with the stack's problem and plan, is called after every update with the StackStep (w_k, v_k,
w_{k+1}), and gives its columns at the end. It acts per member, so a member's row does not depend on its stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from shb.problems import Params, Problem
from shb.problems.closed_forms import ClosedForm
from shb.training import Plan, StackStep
from shb.training.gradient import metrics_program, shared


class Observer(Protocol):
    """See the module's docstring; `start` is called with w_0 before the first step.

    Attributes:
        engine: of the stack; set before `start`.
    """

    engine: str

    def start(self, params: Params) -> None: ...

    def __call__(self, step: StackStep) -> None: ...

    def columns(self) -> dict[str, Tensor]: ...


OBSERVERS: dict[str, Callable[..., Observer]] = {}


def observer(name: str) -> Callable[[type], type]:
    """Decorator that registers an observer class (problem, plan, **options) under `name`."""

    def register(kind: type) -> type:
        if name in OBSERVERS:
            raise KeyError(f"two observers called {name}")
        OBSERVERS[name] = kind
        return kind

    return register


def dyadic(steps: int) -> list[tuple[int, int]]:
    """Windows K/2 <= k <= K for K = 2, 4, 8, ... up to `steps` (theory.md CL4)."""
    return [(2**j // 2, 2**j) for j in range(1, steps.bit_length()) if 2**j <= steps]


@observer("windows")
class Windows:
    """Over the window [K/2, K] of each K = 2^j: oscillation of F (max - min), its maximum, and the largest distance
    to the Clarke points. Columns osc, f_max, distance_max: [n, J] with K = 2, 4, ..., closed forms only.
    """

    def __init__(self, problem: ClosedForm, plan: Plan) -> None:
        self.problem, self.windows = problem, dyadic(plan.steps)
        self.values: list[dict[str, Tensor]] = []

    def start(self, params: Params) -> None:
        self._high = self._low = self._far = None
        self._next = 0

    def _widen(self, w: Tensor) -> None:
        f, d = self.problem.objective(w.double()), self.problem.clarke_distance(w.double())
        self._high = f if self._high is None else torch.maximum(self._high, f)
        self._low = f if self._low is None else torch.minimum(self._low, f)
        self._far = d if self._far is None else torch.maximum(self._far, d)

    def __call__(self, step: StackStep) -> None:
        if self._next == len(self.windows):
            return
        w, k = step.new_params["w"], step.k + 1
        self._widen(w)
        if k == self.windows[self._next][1]:  # the end of one window is the start of the next
            self.values.append({"osc": self._high - self._low, "f_max": self._high, "distance_max": self._far})
            self._high = self._low = self._far = None
            self._next += 1
            self._widen(w)

    def columns(self) -> dict[str, Tensor]:
        return {name: torch.stack([v[name] for v in self.values], 1) for name in self.values[0]}


@observer("epochs")
class Epochs:
    """F(w_k) - F* by the place in an epoch of `updates` updates, mean over the epochs from `first` on, closed forms.

    Column gap: [n, updates], the end of an epoch first.
    """

    def __init__(self, problem: ClosedForm, plan: Plan, updates: int, first: int) -> None:
        self.problem, self.updates, self.first = problem, updates, first
        self.epochs = plan.steps // updates - first

    def start(self, params: Params) -> None:
        self.sums = torch.zeros(len(params["w"]), self.updates, dtype=torch.float64)

    def __call__(self, step: StackStep) -> None:
        epoch, place = divmod(step.k, self.updates)
        if self.first <= epoch < self.first + self.epochs:
            gap = self.problem.objective(step.new_params["w"].double()) - self.problem.minimum
            self.sums[:, (place + 1) % self.updates] += gap.cpu()

    def columns(self) -> dict[str, Tensor]:
        return {"gap": self.sums / self.epochs}


@observer("path")
class Path:
    """w_k at the steps `at` (or every `every` steps, 0 and the last included): columns w0, w1, ...: [n, points]."""

    def __init__(
        self, problem: ClosedForm, plan: Plan, at: Sequence[int] | None = None, every: int | None = None
    ) -> None:
        self.at = set(at) if at is not None else {*range(0, plan.steps, every), plan.steps}
        self.points: list[Tensor] = []

    def start(self, params: Params) -> None:
        if 0 in self.at:
            self.points.append(params["w"].double())

    def __call__(self, step: StackStep) -> None:
        if step.k + 1 in self.at:
            self.points.append(step.new_params["w"].double())

    def columns(self) -> dict[str, Tensor]:
        path = torch.stack(self.points, 1)  # [n, points, size]
        return {f"w{i}": path[:, :, i] for i in range(path.shape[2])}


@observer("occupation")
class Occupation:
    """Share of the effective step sizes spent where m_radius(w_k) > delta (theory.md CL9), for each K in `at`.

    Column occupation: [n, len(at)]; it estimates essential accumulation.
    """

    def __init__(self, problem: ClosedForm, plan: Plan, radius: float, delta: float, at: Sequence[int]) -> None:
        self.problem, self.radius, self.delta, self.at = problem, radius, delta, list(at)
        self.rows: list[Tensor] = []

    def start(self, params: Params) -> None:
        self._inside = self._all = torch.zeros(len(params["w"]), dtype=torch.float64)

    def __call__(self, step: StackStep) -> None:
        alpha = step.hyperparameters["lr"].double().cpu()
        m = self.problem.stationarity(step.params["w"].double(), self.radius).cpu()
        self._inside = self._inside + alpha * (m > self.delta)
        self._all = self._all + alpha
        if step.k + 1 in self.at:
            self.rows.append(self._inside / self._all)

    def columns(self) -> dict[str, Tensor]:
        return {"occupation": torch.stack(self.rows, 1)}


@observer("exit")
class Exit:
    """The first k with |w_k[coordinate]| > level, closed forms only: column exit [n], -1 where there is none."""

    def __init__(self, problem: ClosedForm, plan: Plan, coordinate: int, level: float) -> None:
        self.coordinate, self.level = coordinate, level

    def start(self, params: Params) -> None:
        self.first = torch.where(self._beyond(params), 0, -1)

    def _beyond(self, params: Params) -> Tensor:
        return params["w"][:, self.coordinate].abs() > self.level

    def __call__(self, step: StackStep) -> None:
        self.first = torch.where(self._beyond(step.new_params) & (self.first < 0), step.k + 1, self.first)

    def columns(self) -> dict[str, Tensor]:
        return {"exit": self.first}


@observer("objective")
class Objective:
    """F(w_k), exact, at the steps `at`: column objective_at [n, len(at)]; networks: the mean loss over all training
    data (and the training accuracy, accuracy_at).
    """

    def __init__(self, problem: Problem, plan: Plan, at: Sequence[int]) -> None:
        self.problem, self.at = problem, set(at)
        self.rows: dict[str, list[Tensor]] = {}

    def start(self, params: Params) -> None:
        if 0 in self.at:
            self._record(params)

    def __call__(self, step: StackStep) -> None:
        if step.k + 1 in self.at:
            self._record(step.new_params)

    def _record(self, params: Params) -> None:
        for name, value in objective(self.problem, params, self.engine).items():
            self.rows.setdefault(f"{name}_at", []).append(value)

    def columns(self) -> dict[str, Tensor]:
        return {name: torch.stack(rows, 1) for name, rows in self.rows.items()}


def objective(problem: Problem, params: Params, engine: str = "eager") -> dict[str, Tensor]:
    """F of every member, float64: {"objective": [n]}, for networks also {"accuracy": [n]} on the training part."""
    if isinstance(problem, ClosedForm):
        return {"objective": problem.objective(params["w"].double())}
    width = len(next(iter(params.values())))
    sums: dict[str, Tensor] = {}
    total = 0
    for part, tensors, weight in problem.evaluation(full=True):
        if part != "train_":
            continue
        program, names = metrics_program(problem, width, weight, engine)
        for name, value in zip(names, program(*params.values(), *shared(tensors, width))):
            sums[name] = sums.get(name, 0) + value.double()
        total += weight
    return {"objective" if name == "loss" else name: value / total for name, value in sums.items()}
