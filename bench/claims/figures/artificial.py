"""Figure of the family artificial: paths at E1 and E3, trap shares, a network, chain-rule defects on kinks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.artificial import adapter, dyadic_start, random_start, strata
from bench.claims.artificial.comparable import frozen
from bench.claims.claim import Protocol, Results
from bench.claims.experiment import Columns
from bench.claims.sampling.networks import dataset_of
from bench.claims.share import of_runs
from bench.plotting.style import COLOURS, NAMES, make_figure

LEAST = 1e-7  # left end of the axis of shares
LEAST_DEFECT = 1e-17  # and of that of defects
Count = Callable[[Columns], np.ndarray]
LINES = {  # arm of CL47 -> label, colour, line
    "trap": ("with a branch at U = 0: never trained", "artificial", {"lw": 5, "alpha": 0.6}),
    "plain": ("without the branch: the same curve", "theory", {"lw": 1.2, "ls": "--"}),
    "tiny": ("branch started at U ~ 1e-12: trained", "shb", {"lw": 2}),
    "half": ("U = 0, but ReLU'(0) = 1/2: trained", "theory", {"lw": 1.2, "ls": ":"}),
}


def _trapped(columns: Columns) -> np.ndarray:
    return columns["trapped"] != 0


SHARES: tuple[tuple[str, str, str, str, Count], ...] = (  # claim, experiment, optimizer, label, what is counted
    ("CL22", "a_sgd", "sgd", "start at 0, SGD", frozen),
    ("CL22", "a_shb", "shb", "start at 0, SHB", frozen),
    ("CL22", "a_adam", "adam", "start at 0, Adam", frozen),
    ("CL25", "sgd", "sgd", "alpha_0 = 1, SGD", _trapped),
    ("CL25", "shb", "shb", "alpha_0 = 1, SHB", _trapped),
    ("CL26", "e1_sgd", "sgd", "dyadic w_0, SGD", _trapped),
    ("CL26", "e1_shb", "shb", "dyadic w_0, SHB", _trapped),
    ("CL24", "harmonic", "shb", "random velocity, SHB", _trapped),
    ("CL23", "sgd", "sgd", "random w_0, SGD", _trapped),
    ("CL23", "million", "shb", "random w_0, SHB", _trapped),
)


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """Paths if CL23 ran (on the trapping line of E3 if CL22 did), shares of the claims at hand, curves if CL47 ran,
    defects if CL56 did."""
    rows = [row for row in SHARES if row[0] in results]
    panels = [_time, _landscape, _plane] if "CL23" in results else []
    panels += [_shares] if rows else []
    panels += [functools.partial(_network, protocol=protocols["CL47"])] if results.get("CL47") else []
    panels += [_defects] if "CL56" in results else []
    if not panels:
        return None
    drawn, axes = make_figure(min(2, len(panels)), math.ceil(len(panels) / 2))
    for draw, ax in zip(panels, axes):
        draw(ax, results)
    for ax in axes[len(panels) :]:
        ax.remove()
    return drawn


def _critical(ax: Axes, clarke: tuple[float, float], artificial: tuple[float, float]) -> None:
    style = {"s": 110, "zorder": 5, "edgecolors": "black"}
    ax.scatter(*clarke, marker="*", color=COLOURS["clarke"], label="Clarke point", **style)
    ax.scatter(*artificial, marker="X", color=COLOURS["artificial"], label="artificial point", **style)


def _time(ax: Axes, results: Mapping[str, Results]) -> None:
    for name in random_start.PATHS:
        for i, path in enumerate(results["CL23"][f"e1_{name}"]["w0"]):
            ax.plot(path, color=COLOURS[name], lw=1, label=NAMES[name] if i == 0 else None)
    ax.axhline(-1, color=COLOURS["clarke"], lw=2, ls="--", label="Clarke point")
    ax.axhline(0, color=COLOURS["artificial"], lw=2, ls="--", label="artificial point")
    ax.set(xlabel="updates k", ylabel="w at E1", ylim=(-2.2, 3.6))
    ax.legend(fontsize=8, ncols=2, loc="upper right")
    ax.set_title("Random starts pass the artificial point", fontsize=11)


def _landscape(ax: Axes, results: Mapping[str, Results]) -> None:
    def height(w: np.ndarray) -> np.ndarray:
        return w + w * w / 2

    grid = np.linspace(-3.2, 2.2, 200)
    ax.plot(grid, height(grid), color=COLOURS["neutral"], lw=1.2)
    for i, name in enumerate(random_start.PATHS):
        paths = results["CL23"][f"e1_{name}"]["w0"]
        path = paths[np.argmax(paths[:, 0])][::5]
        lift = 0.5 * (i + 1)
        ax.plot(path, height(path) + lift, color=COLOURS[name], marker="o", ms=3, lw=0.6, label=NAMES[name])
    _critical(ax, (-1.0, -0.5), (0.0, 0.0))
    ax.set(xlim=(-3.2, 2.2), ylim=(-0.8, 4.5), xlabel="w at E1", ylabel="F(w) (paths lifted)")
    ax.legend(fontsize=8, loc="upper center")
    ax.set_title("0 is no critical point of F", fontsize=11)


def _plane(ax: Axes, results: Mapping[str, Results]) -> None:
    first, second = np.meshgrid(np.linspace(-2.2, 2.0, 80), np.linspace(-0.2, 3.4, 80))
    ax.contour(first, second, first + first**2 / 2 + (second - 1) ** 2 / 2, 14, colors="0.85", linewidths=0.8)
    for name in random_start.PATHS:
        columns = results["CL23"][f"e3_{name}"]
        ax.plot(columns["w0"][0], columns["w1"][0], color=COLOURS[name], lw=1, label=NAMES[name])
        line = results.get("CL22", {}).get(f"line_{name}")
        if line is not None:
            ax.plot(line["w0"][0], line["w1"][0], color=COLOURS[name], lw=2, ls=":")
    _critical(ax, (-1.0, 1.0), (0.0, 1.0))
    ax.set(xlabel="w1 at E3", ylabel="w2 at E3", xlim=(-2.2, 2.0), ylim=(-0.2, 3.4))
    ax.legend(fontsize=8, loc="upper left")
    ax.set_title("Only starts on the line w1 = 0 (dotted) are led astray", fontsize=11)


def _shares(ax: Axes, results: Mapping[str, Results]) -> None:
    rows = [row for row in SHARES if row[0] in results][::-1]
    for y, (claim, experiment, optimizer, _, counted) in enumerate(rows):
        hit = counted(results[claim][experiment])
        share = of_runs(hit)
        low, high = share.interval()
        colour = COLOURS[optimizer]
        ax.plot([max(low, LEAST), high], [y, y], color=colour, lw=3)
        if share.hits:
            ax.plot(share.value, y, marker="o", color=colour)
        else:
            ax.plot(high, y, marker="<", color=colour)
        text = f"{share.hits:,} of {share.n:,}"
        left = share.value > 1e-3 if share.hits else high > 1e-2
        ax.annotate(
            text, (low if left else high, y), (-8 if left else 8, 0), textcoords="offset points", va="center",
            ha="right" if left else "left", fontsize=8,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), [row[3] for row in rows], fontsize=8)
    ax.set(xscale="log", xlim=(LEAST, 2.0), xlabel="share of runs trapped, 95 % interval")
    ax.set_title(f"E1; dyadic w_0: even integers up to {max(dyadic_start.EVEN)}", fontsize=11)


def _network(ax: Axes, results: Mapping[str, Results], protocol: Protocol) -> None:
    ((name, overrides),) = protocol["networks"].items()
    for arm in adapter.CURVES:
        label, colour, line = LINES[arm]
        losses = results["CL47"][f"{name} curve {arm}"]["objective_at"]
        ax.plot(adapter.curve_steps(protocol), losses.mean(0), color=COLOURS[colour], label=label, **line)
    ax.set(
        yscale="log",
        xlabel="updates k",
        ylabel=f"training loss on {dataset_of(overrides)}, mean of {len(losses)} seeds",
    )
    ax.yaxis.label.set_size(9)
    ax.legend(fontsize=8)
    ax.set_title("A branch trapped inside a network (SHB)", fontsize=11)


def _defects(ax: Axes, results: Mapping[str, Results]) -> None:
    """Chain-rule defects of CL56: largest and smallest of the polygons, and their median."""
    found, rows = results["CL56"], []
    for kind, place in strata.PLACES.items():
        rules = [found[f"{kind} {rule} {t:g}"]["defect"] for t, rule in strata.CONVENTIONS]
        rows.append((f"{place}: backpropagation", "shb", np.concatenate(rules)))
        rows += [(f"{place}: {wrong}", "artificial", found[f"{kind} {wrong}"]["defect"]) for wrong in strata.WRONG]
    rows += [
        (f"across {strata.PLACES[kind]}: garbage", "clarke", found[f"{kind} across"]["defect"])
        for kind in strata.CLOSED
    ]
    for y, (_, colour, defects) in enumerate(rows[::-1]):
        values = np.maximum(defects, LEAST_DEFECT)
        ax.plot([values.min(), values.max()], [y, y], color=COLOURS[colour], lw=3)
        ax.plot(np.median(values), y, marker="o", color=COLOURS[colour])
    ax.axvline(strata.TOLERANCE, color=COLOURS["neutral"], ls=":", lw=1)
    ax.set_yticks(range(len(rows)), [label for label, _, _ in rows[::-1]], fontsize=7)
    ax.set(xscale="log", xlim=(LEAST_DEFECT / 2, 1e4), xlabel="defect of the chain rule (range, median)")
    ax.set_title("Oracles seen from inside kinks", fontsize=11)
