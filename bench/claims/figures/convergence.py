"""Convergence: oscillation of F against K, mean gap against step size, law of the gap, sharp and smooth minima."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.claims.claim import Protocol, Results
from bench.claims.convergence import mean_gap, noise_floor, oscillation, rotational_equilibrium, sharpness
from bench.claims.convergence.gap import effective_steps, problem_of, recorded_steps, stationary_moment
from bench.claims.convergence.weighted_chi2 import weighted_chi2_cdf
from bench.plotting.style import COLOURS, MARKERS, NAMES, make_figure
from bench.statistics.estimates import Mean


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """One panel for each of CL4, CL6, CL7, CL8, CL51 and CL53 that was run; None without them."""
    panels = {"CL4": _oscillation, "CL6": _gap, "CL7": _law, "CL8": _minima, "CL51": _floor, "CL53": _rotation}
    shown = [claim for claim in panels if results.get(claim)]
    if not shown:
        return None
    columns = min(2, len(shown))
    drawn, axes = make_figure(columns, -(-len(shown) // columns), "Convergence of the objective")
    for claim, axis in zip(shown, axes):
        panels[claim](axis, protocols[claim], results[claim])
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    for axis in axes:
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_formatter(NullFormatter())
    return drawn


def _oscillation(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Median oscillation of F over dyadic windows: decaying steps of three optimizers, and two bad schedules."""
    lines = [
        (f"e1_{name}", f"{NAMES[name]}, $k^{{-0.75}}$", COLOURS[name], MARKERS[name]) for name in ("shb", "sgd", "adam")
    ]
    lines += [
        ("e1_shb inverse_log", "SHB, $1/\\log k$", COLOURS["artificial"], "v"),
        ("e1_shb constant", "SHB, constant", COLOURS["neutral"], "x"),
    ]
    for name, label, colour, marker in lines:
        osc = np.median(results[name]["osc"], axis=0)
        stops = 2 ** np.arange(1, len(osc) + 1)
        keep = stops >= 32
        axis.loglog(stops[keep], osc[keep], color=colour, marker=marker, markersize=4, label=label)
    stops = np.array([2.0**8, oscillation.steps_of("e1_shb", protocol)])
    level = np.median(results["e1_shb"]["osc"][:, -1]) * (stops / stops[-1]) ** -oscillation.Q
    axis.loglog(stops, level / 2, color=COLOURS["theory"], linestyle="--", label=f"slope {-oscillation.Q:g}")
    axis.set(xlabel="K (steps)", ylabel="oscillation of F over [K/2, K]", title="E1, median over seeds")
    axis.legend(fontsize=8)


def _gap(axis: Axes, protocol: Protocol, results: Results) -> None:
    planned = mean_gap.experiments(protocol)
    at = recorded_steps(protocol["steps"])
    ends = []
    for name, label, colour, marker in (
        ("e1_sgd", "E1, SGD", COLOURS["sgd"], MARKERS["sgd"]),
        ("e1", "E1, SHB", COLOURS["shb"], MARKERS["shb"]),
        ("e6", "ReLU neuron (diabetes), SHB", COLOURS["clarke"], "^"),
    ):
        problem = problem_of(planned[name])
        steps = effective_steps(problem.name, protocol["steps"], at)
        trace = float(problem.noise_covariance().trace())
        gaps = results[name]["objective_at"] - problem.minimum
        mean, (low, high) = gaps.mean(0), np.transpose([Mean(column).interval() for column in gaps.T])
        inside = "none" if name == "e1_sgd" else None
        axis.errorbar(
            steps * trace,
            mean,
            (high - low) / 2,
            color=colour,
            marker=marker,
            markersize=8 if name == "e1_sgd" else 5,
            markerfacecolor=inside,
            linestyle="none",
            label=label,
        )
        ends += [steps.min() * trace, steps.max() * trace]
    line = np.array([min(ends), max(ends)])
    axis.loglog(line, line / 4, color=COLOURS["theory"], linestyle="--", label="L3: a quarter of it")
    axis.set(xlabel="$\\alpha_k$ tr Cov(v) / (1 - $\\beta$)", ylabel="mean of F - F*", title="Mean gap, 95 % intervals")
    axis.legend(fontsize=8)


def _law(axis: Axes, protocol: Protocol, results: Results) -> None:
    gaps = results["e1"]["objective"] + 0.5
    a = effective_steps("e1", protocol["steps"], [protocol["steps"]])[0]
    scaled = np.sort(gaps) / a
    axis.plot(scaled, np.arange(1, len(scaled) + 1) / len(scaled), color=COLOURS["shb"], linewidth=3, label="E1, SHB")
    x = np.linspace(0, 3, 400)
    weight = stationary_moment(np.eye(1), np.eye(1))[0] / 2
    axis.plot(x, weighted_chi2_cdf(weight)(x), color=COLOURS["theory"], linestyle="--", label="$\\chi^2_1 / 4$")
    axis.set(
        xlim=(0, 2.5),
        xlabel="(F - F*) (1 - $\\beta$) / $\\alpha_K$",
        ylabel="share of seeds below",
        title=f"Law of the final gap, {len(scaled):,} seeds",
    )
    axis.legend(fontsize=8)


def _minima(axis: Axes, protocol: Protocol, results: Results) -> None:
    at = recorded_steps(protocol["steps"])[-sharpness.FITTED :]
    for name, problem, label, key in (
        ("sharp_sgd", "absolute", "sharp, SGD", "sgd"),
        ("sharp", "absolute", "sharp, SHB", "shb"),
        ("smooth_sgd", "e1", "smooth, SGD", "sgd"),
        ("smooth", "e1", "smooth, SHB", "shb"),
    ):
        steps = effective_steps(problem, protocol["steps"], at)
        mean = sharpness.distances(name, results, protocol).mean(0)
        face = COLOURS[key] if name.startswith("sharp") else "none"
        axis.loglog(
            steps, mean, color=COLOURS[key], marker=MARKERS[key], markerfacecolor=face, linestyle="none", label=label
        )
        if not name.endswith("sgd"):
            slope = 1.0 if name.startswith("sharp") else 0.5
            axis.loglog(
                steps, mean[-1] * (steps / steps[-1]) ** slope, color=COLOURS["theory"], linestyle="--", linewidth=1
            )
            axis.annotate(
                f"slope {slope:g}", (steps[1], mean[1]), xytext=(8, -14), textcoords="offset points", fontsize=9
            )
    axis.set(xlabel="$\\alpha_k$ / (1 - $\\beta$)", ylabel="mean distance to w*", title="Sharp and smooth minima")
    axis.legend(fontsize=8)


def _floor(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Loss of the last network after the cut, relative to that before, in units of the fall that L3 predicts."""
    name = list(protocol["networks"])[-1]
    if f"{name} sgd" not in results:  # its data are absent
        axis.set_axis_off()
        return
    at = noise_floor.after(protocol, name)
    for run, branch, label, colour, style in (
        (f"{name} sgd", "uncut", "step kept, SGD", "neutral", "--"),
        (f"{name} sgd full", "full", "step / 10, full batch", "artificial", "-."),
        (f"{name} sgd", "cut", "step / 10, SGD", "sgd", "-"),
        (f"{name} shb", "cut", "step / 10, SHB", "shb", "-"),
    ):
        columns = results[run]
        before = columns["full"][:, 0] if branch == "full" else columns["before"].mean(1)
        unit = noise_floor.floor(protocol, name, columns).mean()
        change = (columns[branch] - before[:, None]).mean(0) / unit
        marker = MARKERS.get(colour, "")
        axis.plot(at, change, style, marker=marker, color=COLOURS[colour], linewidth=2, label=label)
    axis.axhline(-1, color=COLOURS["theory"], linestyle=":", label="L3: 0.9 a tr C / 4 lower")
    axis.set(xlabel="updates since the cut", ylabel="change of the loss, in units of L3", ylim=(-1.3, 0.9))
    axis.set_title(f"Noise floor, {name.replace('_', ' ')} (CL51)")
    axis.legend(fontsize=8, loc="upper right", ncols=2)


def _rotation(axis: Axes, protocol: Protocol, results: Results) -> None:
    """The angle per step of every block in units of a step without momentum, against the momentum."""
    for name, key, marker in zip(protocol["networks"], ("shb", "adam", "nesterov"), ("s", "^", "D")):
        if name not in {experiment.split()[0] for experiment in results}:
            continue
        for block in rotational_equilibrium.blocks(tuple(protocol["networks"][name])):
            arms = rotational_equilibrium.momenta(protocol, name)
            last = block == rotational_equilibrium.LAST
            columns = [results[f"{name} {arm}"][f"{block}_turn"] for arm in arms]
            unit = [rotational_equilibrium.turn(protocol, float(arm)) * (1 + float(arm)) for arm in arms]
            values = [Mean(np.sqrt(turn / one)) for turn, one in zip(columns, unit)]
            axis.errorbar(
                [float(arm) for arm in arms],
                [one.value for one in values],
                np.transpose([(one.value - one.interval()[0], one.interval()[1] - one.value) for one in values]),
                color=COLOURS["neutral" if last else key],
                marker=marker,
                markerfacecolor="none",
                linestyle="none",
                label=f"{name.replace('_', ' ')}, {block}",
            )
    momenta = np.linspace(0, 1, 101)
    label = "$1/\\sqrt{1+\\beta}$"
    axis.plot(momenta, (1 + momenta) ** -0.5, color=COLOURS["theory"], linestyle="--", label=label)
    axis.set(
        xlabel="momentum $\\beta$",
        ylabel="angle per step / $\\sqrt{2\\eta\\lambda}$",
        ylim=(0, 1.15),
        title="Weight decay: blocks turn at a fixed rate",
    )
    axis.legend(fontsize=8)
