"""Figure of the family inclusion: tracking error, paths beside the inclusion's solutions, F along z, crossing times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.inclusion import crossing_time, lyapunov_decrease, tracking
from bench.plotting.style import COLOURS, make_figure
from shb.nonsmooth.inclusion import solve_first_order
from shb.problems import E1


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """One panel per claim at hand (two for CL19); None without any."""
    panels = []
    if "CL19" in results:
        panels += [(_errors, "CL19"), (_paths, "CL19")]
    panels += [(draw, claim) for draw, claim in ((_decrease, "CL20"), (_crossing, "CL21")) if claim in results]
    if not panels:
        return None
    drawn, axes = make_figure(min(2, len(panels)), math.ceil(len(panels) / 2))
    for (draw, claim), ax in zip(panels, axes):
        draw(ax, protocols[claim], results[claim])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return drawn


def _errors(ax: Axes, protocol: Protocol, results: Results) -> None:
    steps = np.array(sorted(protocol["effective_steps"]))
    looks = {
        ("e1", 0.0): ("E1, SGD", COLOURS["sgd"], "o"),
        ("e1", tracking.BETA): ("E1, SHB", COLOURS["shb"], "s"),
        ("max_affine", tracking.BETA): ("5 planes, SHB", COLOURS["nesterov"], "D"),
        ("smooth", 0.0): ("no noise", COLOURS["neutral"], "v"),
    }

    def means(problem: str, beta: float, column: str) -> np.ndarray:
        return np.array([results[tracking.name_of(problem, beta, s)][column].mean() for s in steps])

    for (problem, beta), (label, colour, marker) in looks.items():
        ax.loglog(steps, means(problem, beta, "error"), color=colour, marker=marker, label=label)
    wrong = means("e1", tracking.BETA, "wrong")
    ax.loglog(steps, wrong, color=COLOURS["shb"], marker="s", ls=":", mfc="white", label="SHB, wrong clock")
    law = tracking.expected_supremum(tracking.WINDOW) * np.sqrt(steps)
    ax.loglog(steps, law, color=COLOURS["theory"], ls="--", label="predicted, slope 1/2")
    ax.set(xlabel="effective step alpha / (1 - beta)", ylabel="tracking error (units of w)")
    ax.set_ylim(top=40.0)
    ax.legend(fontsize=8, loc="upper left", ncols=2)
    ax.set_title("Error shrinks like sqrt(step)", fontsize=11)


def _paths(ax: Axes, protocol: Protocol, results: Results) -> None:
    times = np.linspace(0, tracking.WINDOW, 401)
    for effective, shade in zip(tracking.DRAWN, (COLOURS["artificial"], COLOURS["shb"])):
        for i, path in enumerate(results[f"path_{effective}"]["w0"]):
            clock = effective * np.arange(len(path))
            ax.plot(clock, path, color=shade, lw=1, label=f"SHB, step {effective:g}" if i == 0 else None)
    field, start = E1().field(conservative=True), results[f"path_{tracking.DRAWN[0]}"]["w0"][0, 0]
    for rest, style in ((0.0, "-"), (0.5, "--"), (np.inf, ":")):
        label = {0.0: "Clarke flow", 0.5: "rests 0.5 at 0", np.inf: "rests for ever"}[rest]
        solution = solve_first_order(field, [start], times, rest_times=rest)[:, 0]
        ax.plot(times, solution, color=COLOURS["theory"], ls=style, lw=1.6, label=label)
    ax.set(xlabel="clock sum alpha / (1 - beta)", ylabel="w at E1")
    ax.legend(fontsize=8)
    ax.set_title("Iterates choose the Clarke solution", fontsize=11)


def _decrease(ax: Axes, protocol: Protocol, results: Results) -> None:
    columns = results["uphill"]
    for name, colour, label in (("w", COLOURS["shb"], "F(w)"), ("z", COLOURS["sgd"], "F(z)")):
        values = columns[f"objective_{name}"]
        k = np.arange(values.shape[1])
        low, high = np.quantile(values, [0.05, 0.95], axis=0)
        ax.fill_between(k, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(k, values.mean(0), color=colour, label=f"{label}, mean and 5-95 % of {len(values)} runs")
    start, velocity, _ = lyapunov_decrease.UPHILL
    ax.axhline(E1.minimum, color=COLOURS["theory"], lw=1, ls="--", label="minimum")
    ax.set(xlabel="updates k", ylabel="objective")
    ax.legend(fontsize=8)
    ax.set_title(f"From w = {start:g} with velocity {velocity:g} uphill (E1)", fontsize=11)


def _crossing(ax: Axes, protocol: Protocol, results: Results) -> None:
    d = crossing_time.HALF_WIDTH
    flow = math.log((1 + d) / (1 - d))
    for letter, name in (("a", "sgd"), ("b", "shb")):
        beta = crossing_time.MOMENTUM[letter]
        taken = (results[letter]["left"] - results[letter]["entered"]) / (1 - beta)
        label = f"{'SHB' if beta else 'SGD'}, beta = {beta:g}"
        ax.hist(taken, bins=40, histtype="step", lw=1.6, color=COLOURS[name], label=label)
    ax.axvline(flow, color=COLOURS["theory"], ls="--", label="Clarke flow")
    ax.set(xlabel=f"time from {d:g} to {-d:g}, clock sum alpha / (1 - beta)", ylabel="runs")
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])
    ax.legend(fontsize=8, loc="upper right")
    ax.set_title("No rest at the artificial point of E1", fontsize=11)
