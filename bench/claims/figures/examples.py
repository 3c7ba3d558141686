"""One picture per worked example for docs/theory.md: `python -m bench.claims.figures.examples [FOLDER]`.

Left: the sample functions f(., s) (thin) and F (thick). Right: the sample derivatives v(., s) that backpropagation
returns (thin; dots at the kinks), and the Clarke subdifferential of F (thick). Two variables: level lines of F. Circles
are Clarke critical, crosses artificial points; on the right the cross is the mean of v over the samples.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plotting.style import COLOURS, RC, make_figure
from shb.files import replacing
from shb.problems import CLOSED_FORMS
from shb.problems.closed_forms import ClosedForm

FRAME = {"fontsize": 9, "frameon": True, "framealpha": 0.9, "edgecolor": "none"}  # readable over lines


@dataclass(frozen=True)
class Example:
    """A closed form, some of its samples (arguments of `loss`), and where to draw it.

    Attributes:
        clarke, artificial: points to mark; `kinks`: further kinks of the samples in one variable.
        low, high: range of the axes.
        names: of the axes.
        log: level lines of log F.
        points: of the grid of the level lines, in each direction.
    """

    problem: str
    title: str
    samples: Sequence[tuple[float, ...]]
    clarke: Sequence[Sequence[float]] = ()
    artificial: Sequence[Sequence[float]] = ()
    kinks: Sequence[float] = ()
    options: dict[str, Any] = field(default_factory=dict)
    low: float = -2.5
    high: float = 2.0
    names: tuple[str, ...] = ("w",)
    log: bool = False
    points: int = 441

    def make(self) -> ClosedForm:
        """The closed form."""
        return CLOSED_FORMS[self.problem](**self.options)


PAIR = [(-1.0,), (1.0,)]
SADDLE = 0.5**0.5  # |y| of the minima of E16
EXAMPLES = {
    "e1": Example("e1", "E1: two samples cancel at 0", PAIR, [[-1.0]], [[0.0]]),
    "e2": Example("e2", "E2: relu(w) - relu(-w) + w²/2", [(1.0,)], [[-1.0]], [[0.0]]),
    "e3": Example("e3", "E3: a line of traps (b = 1)", [], [[-1.0, 1.0]], [[0.0, 1.0]], names=("w₁", "w₂"), high=3.0),
    "e4": Example("e4", "E4: s|w|, F = 0, every point critical", PAIR, kinks=[0.0]),
    "e5": Example("e5", "E5: a linear model through two ReLUs", [(1.0, 1.0)], [[1.0]], [[0.0]], low=-1.0),
    "e6": Example("e6", "E6: one ReLU neuron", [(1.0, 1.0), (-1.0, -1.0)], [[1.0]], [[0.0]], low=-1.0),
    "e7": Example("e7", "E7: |w - s|, critical on [-1, 1]", PAIR, [[-1.0], [1.0]], kinks=[-1.0, 1.0],
                  options={"noise": "signs"}),
    "e8": Example("e8", "E8: scalar lasso, b in {-1, 2, 4.5}", [(-1.0,), (2.0,), (4.5,)],
                  [[1.625], [2.0], [2.25], [4.5], [5.0]], kinks=[1.0, 2.0, 4.5], options={"law": "discrete"},
                  low=-0.5, high=5.5, names=("l",)),
    "e9": Example("e9", "E9: E2 by max-pooling of [0, w]", [(1.0,)], [[-1.0]], [[0.0]]),
    "e10": Example("e10", "E10: a bias that starts at 0", [], [[1.0, 1.0]], names=("v", "b"), high=3.0),
    "e11": Example("e11", "E11: detached target, g = 0.9", [(0.0,)], [[0.0]]),
    "e12": Example("e12", "E12: Cauchy features x = 0.3, 1, 3", [(0.3,), (1.0,), (3.0,)]),
    "e13": Example("e13", "E13: Pareto noise s = -5, -1, 1, 5", [(-5.0,), (-1.0,), (1.0,), (5.0,)], [[0.0]], low=-2.0),
    "e14": Example("e14", "E14: a valley around a disc, log F (k = 4)", [], options={"winding": 4.0},
                   names=("w₁", "w₂"), low=-4.0, high=4.0, log=True, points=221),
    "e15": Example("e15", "E15: a splitting set along spirals", [], [[0.0, 0.0]], names=("w₁", "w₂"),
                   low=-1.0, high=1.0, points=181),
    "e16": Example("e16", "E16: a sharp saddle", [], [[0.0, 0.0], [0.0, SADDLE], [0.0, -SADDLE]], names=("x", "y"),
                   low=-1.2, high=1.2, points=221),
}  # fmt: skip


PATHS = {  # problem -> start, step size and number of steps of a run to draw
    "e14": ((2.5, 2.5), 0.9, 6000),
    "e15": ((0.7, 0.0), 0.01, 500),
    "e16": ((0.8, 0.02), 0.02, 200),
}


def draw(example: Example) -> Figure:
    """The picture of one example."""
    problem = example.make()
    figure, axes = make_figure(1 if problem.size == 2 else 2)
    if problem.size == 2:
        _levels(axes[0], problem, example)
    else:
        _functions(axes[0], problem, example)
        _derivatives(axes[1], problem, example)
    axes[0].set_title(example.title, fontsize=11)
    return figure


def _points(example: Example) -> list[tuple[np.ndarray, str, str, str]]:
    return [(np.array(p), "o", COLOURS["clarke"], "Clarke critical") for p in example.clarke] + [
        (np.array(p), "X", COLOURS["artificial"], "artificial") for p in example.artificial
    ]


def _sample_losses(problem: ClosedForm, w: torch.Tensor, sample: Sequence[float]) -> torch.Tensor:
    s = [torch.tensor(x, dtype=torch.float64) for x in sample]
    if _takes_rows(problem):
        s[0] = s[0][None]
    return torch.func.vmap(lambda x: problem.loss({"w": x[None]}, *s))(w)


def _takes_rows(problem: ClosedForm) -> bool:
    """True for regression problems, whose first argument of `loss` is a row of features."""
    return hasattr(problem, "x")


def _legend(axes: Axes) -> None:
    """Each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
    axes.legend(handles.values(), handles.keys(), **FRAME)


def _functions(axes: Axes, problem: ClosedForm, example: Example) -> None:
    w = torch.linspace(example.low, example.high, 801, dtype=torch.float64)
    name = example.names[0]
    thick = "median of f(w, x); F = ∞" if example.problem == "e12" else f"F({name})"
    axes.plot(w, problem.objective(w[:, None]), color=COLOURS["theory"], linewidth=2.5, label=thick)
    for sample in example.samples:
        losses = _sample_losses(problem, w, sample)
        axes.plot(w, losses, color=COLOURS["neutral"], linewidth=1, label=f"samples f({name}, s)")
    for point, marker, colour, label in _points(example):
        height = problem.objective(torch.from_numpy(point)).item()
        axes.plot(point, height, marker, color=colour, markersize=10, markeredgecolor="black", label=label)
    axes.set(xlabel=name, ylabel="value")
    _legend(axes)


def _derivatives(axes: Axes, problem: ClosedForm, example: Example) -> None:
    w = torch.linspace(example.low, example.high, 801, dtype=torch.float64)
    name = example.names[0]
    artificial = torch.tensor([p[0] for p in example.artificial], dtype=torch.float64)
    kinks = torch.cat([artificial, torch.tensor(example.kinks, dtype=torch.float64)])
    _clarke(axes, problem, w, f"∂F({name})")
    at_artificial = []
    for sample in example.samples:
        slope = torch.func.vmap(torch.func.grad(lambda x, s=sample: _sample_losses(problem, x[None], s)[0]))
        v = slope(w)
        jump = (v[1:] - v[:-1]).abs() > 0.3
        v[1:][jump] = torch.nan  # no line across a jump
        axes.plot(w, v, color=COLOURS["neutral"], linewidth=1, label=f"v({name}, s)")
        if len(kinks):
            axes.plot(kinks, slope(kinks), "o", color=COLOURS["neutral"], markersize=5, label="v at a kink")
        at_artificial.append(slope(artificial))
    if len(artificial):
        mean = torch.stack(at_artificial).mean(0)
        style = {"color": COLOURS["artificial"], "markersize": 10, "markeredgecolor": "black"}
        axes.plot(artificial, mean, "X", label="mean of v, t = 0", **style)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlabel=name, ylabel="derivative")
    _legend(axes)


def _clarke(axes: Axes, problem: ClosedForm, w: torch.Tensor, label: str) -> None:
    try:
        clarke = problem.field()
    except (AttributeError, NotImplementedError):  # E12: there is no F
        return
    low, high = clarke.interval(w.numpy())
    axes.plot(w, np.where(high - low > 0.3, np.nan, low), color=COLOURS["theory"], linewidth=2.5, label=label)
    for kink in np.atleast_1d(clarke.kinks):
        ends = clarke.interval(np.array([float(kink)]))
        axes.plot([kink, kink], [ends[0][0], ends[1][0]], color=COLOURS["theory"], linewidth=2.5)


def _levels(axes: Axes, problem: ClosedForm, example: Example) -> None:
    grid = torch.linspace(example.low, example.high, example.points, dtype=torch.float64)
    w = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    values = problem.objective(w)
    if example.log:
        values = values.clamp(min=1e-6).log()
    axes.contour(grid, grid, values, 18, cmap="Greys_r", linewidths=0.9)
    if example.problem == "e3":
        axes.axvline(0, color=COLOURS["artificial"], linewidth=2, label="leads to the artificial point")
    if example.problem == "e10":
        critical = problem.clarke_distance(w) < 0.03
        axes.contourf(grid, grid, critical.double(), [0.5, 1.5], colors=[COLOURS["clarke"]], alpha=0.5)
        axes.axhline(0, color=COLOURS["artificial"], linewidth=2, label="kink b = 0 of the empty patch")
    if example.problem in PATHS:
        _paths(axes, problem, example)
    for point, marker, colour, label in _points(example):
        axes.plot(*point, marker, color=colour, markersize=10, markeredgecolor="black", label=label)
    axes.set(xlabel=example.names[0], ylabel=example.names[1])
    axes.legend(loc="lower left", **FRAME)


def _paths(axes: Axes, problem: ClosedForm, example: Example) -> None:
    """Iterates of SGD with the oracle of the problem, and the critical disc of E14."""
    start, step, count = PATHS[example.problem]
    w = torch.tensor(start, dtype=torch.float64)
    oracle = torch.func.grad(lambda w: problem.loss({"w": w}, torch.zeros_like(w)))
    path = [w]
    for _ in range(count):
        path.append(path[-1] - step * oracle(path[-1]))
    x, y = torch.stack(path)[:: max(1, count // 500)].T
    axes.plot(x, y, color=COLOURS["sgd"], linewidth=1.8, label="SGD")
    axes.plot(x[0], y[0], "o", color=COLOURS["sgd"], markersize=5)
    if example.problem == "e14":
        angle = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
        axes.fill(angle.cos(), angle.sin(), color=COLOURS["clarke"], alpha=0.5, label="critical: F = 0")
    axes.set_aspect("equal")


def main(arguments: Sequence[str]) -> None:
    """Write NAME.svg for every example."""
    folder = Path(arguments[0] if arguments else "docs/examples")
    for name, example in EXAMPLES.items():
        with matplotlib.rc_context({**RC, "svg.hashsalt": name}), replacing(folder / f"{name}.svg") as temporary:
            draw(example).savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
