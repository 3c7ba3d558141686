"""Step sizes: window maxima (CL15), stationary spread (CL16), the stopping point (CL14), too short a run (CL17), heavy
tails (CL55)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from bench.claims.claim import Protocol, Results
from bench.claims.step_sizes import constant_step, heavy_tails, logarithmic_steps, slow_horizon, summable_steps
from bench.claims.step_sizes.heavy_ball import power_steps, window_ends
from bench.claims.step_sizes.single_jump import log_scales
from bench.claims.verdict import alone
from bench.plotting.style import COLOURS, MARKERS, NAMES, make_figure

METHODS = {0.0: "sgd", 0.9: "shb"}  # beta -> name in style
DISTANCE = r"max $|w_k - w^*|$ over [K/2, K] (units of w)"
FEW = 16  # windows up to this K hold too few iterates to show


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """A panel for each of the claims that ran; None if none of them did."""
    panels = {"CL15": _window_maxima, "CL16": _spread, "CL14": _stopping, "CL17": _short_run, "CL55": _heavy_tails}
    shown = [claim for claim in panels if claim in results]
    if not shown:
        return None
    columns = min(2, len(shown))
    whole, axes = make_figure(columns, -(-len(shown) // columns), "Step sizes")
    for claim, panel in zip(shown, axes):
        panels[claim](panel, protocols[claim], results[claim])
    for panel in axes[len(shown) :]:
        panel.remove()
    return whole


def _medians(panel: Axes, values: np.ndarray, **style: object) -> None:
    ends = window_ends(2 ** values.shape[1])
    panel.loglog(ends[ends > FEW], np.median(values, 0)[ends > FEW], markersize=4, **style)


def _window_maxima(panel: Axes, protocol: Protocol, results: Results) -> None:
    lines = dict(zip(logarithmic_steps.QS, (":", "-.", "-")))
    for beta, method in METHODS.items():
        style = {"color": COLOURS[method], "marker": MARKERS[method]}
        for q, line in lines.items():
            _medians(panel, results[f"q{q} beta{beta}"]["distance_max"], linestyle=line, linewidth=1, **style)
        _medians(panel, results[f"log beta{beta}"]["distance_max"], linestyle="--", linewidth=2.2, **style)
    panel.axhline(logarithmic_steps.LIMIT, color=COLOURS["theory"], linewidth=1)
    panel.text(40, logarithmic_steps.LIMIT * 1.05, "limit $L$ of c / log k", fontsize=9)
    grey = {"color": COLOURS["neutral"]}
    steps = [Line2D([], [], linestyle="--", linewidth=2.2, label="c / log k", **grey)]
    steps += [Line2D([], [], linestyle=line, label=f"$a / k^{{{q}}}$", **grey) for q, line in lines.items()]
    methods = [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], label=rf"{NAMES[m]}, $\beta$ = {b:g}")
        for b, m in METHODS.items()
    ]
    panel.legend(handles=steps + methods, fontsize=8, ncols=2, loc="lower left")
    panel.set(xlabel="K (steps)", ylabel=DISTANCE, title="E1: how far the runs still go", ylim=(0.02, 1))


def _spread(panel: Axes, protocol: Protocol, results: Results) -> None:
    grid = np.geomspace(min(constant_step.ALPHAS), max(constant_step.ALPHAS))
    for beta, method in METHODS.items():
        measured = [float(np.sqrt(((results[f"{a} beta{beta}"]["w0"] + 1) ** 2).mean())) for a in constant_step.ALPHAS]
        label = rf"{NAMES[method]}, $\beta$ = {beta:g}"
        panel.loglog(
            constant_step.ALPHAS, measured, MARKERS[method], color=COLOURS[method], label=label, linestyle="none"
        )
        panel.loglog(
            grid, np.sqrt([constant_step.variance(a, beta) for a in grid]), color=COLOURS["theory"], linewidth=1
        )
    panel.plot([], [], color=COLOURS["theory"], linewidth=1, label="law L1")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(constant_step.ALPHAS, [f"{a:g}" for a in constant_step.ALPHAS])
    panel.set(xlabel=r"constant step $\alpha$", title="E1: spread at constant steps")
    panel.set(ylabel=r"root mean square of $w - w^*$ (units of w)")
    panel.legend(fontsize=9)


def _stopping(panel: Axes, protocol: Protocol, results: Results) -> None:
    steps = np.array([0, *(2**j for j in range(protocol["steps"].bit_length()))])
    steps = np.unique(np.append(steps, protocol["steps"]))
    for name, label, colour, marker in (
        ("summable", r"$\alpha_k = 1/(k+1)^2$", COLOURS["shb"], "s"),
        ("divergent_sum", r"$\alpha_k = 1/(k+1)$", COLOURS["adam"], "^"),
    ):
        path = results[name]["w0"][0]
        panel.plot(steps[1:], path[1:], color=colour, marker=marker, markersize=4, label=label)
    label = r"$10 - \pi^2/3$"
    panel.axhline(summable_steps.LIMIT, color=COLOURS["theory"], linewidth=1, linestyle="--", label=label)
    panel.set(xscale="log", xlabel="k (steps)", ylabel="$w_k$ (units of w)", title="|w|: a finite sum of steps stops")
    panel.legend(fontsize=9, loc="center right")


def _short_run(panel: Axes, protocol: Protocol, results: Results) -> None:
    for name, label, colour, marker in (
        ("constant", "constant step", COLOURS["artificial"], "D"),
        ("slow_shb", r"$\alpha_k/(1-\beta) = 0.2/(k+1)$", COLOURS["shb"], "s"),
        ("good", r"$\alpha_k/(1-\beta) = 1/k^{0.9}$", COLOURS["adam"], "^"),
    ):
        found = alone(slow_horizon.ARRIVES, slow_horizon.convergence(results[name], protocol["steps"]))
        style = {"color": colour, "marker": marker}
        _medians(panel, results[name]["distance_max"], label=f"{label}: {found.lower()}", **style)
    panel.axhline(slow_horizon.TOLERANCE, color=COLOURS["theory"], linewidth=1, linestyle="--", label="arrived below")
    panel.set(
        xlabel="K (steps)", ylabel=DISTANCE, title=r"E1, $\beta$ = 0.9: converges? Too short a run", ylim=(0.02, 20)
    )
    panel.legend(fontsize=8, loc="upper right")


def _heavy_tails(panel: Axes, protocol: Protocol, results: Results) -> None:
    """Medians over the runs, and those of the single-jump law, S^(1/p) (log 2)^(-1/p)."""
    ends = window_ends(protocol["steps"])
    late = ends >= protocol["first"]
    for (p, q), line in zip(heavy_tails.LAWS, ("--", "-", ":")):
        for beta, method in METHODS.items():
            far = results[heavy_tails.case(p, q, beta)]["distance_max"]
            scale = log_scales(power_steps(heavy_tails.step_size(beta), q, protocol["steps"]), beta, p)
            style = {"color": COLOURS[method], "linestyle": line, "marker": MARKERS[method], "linewidth": 1}
            _medians(panel, far, **style)
            law = np.exp(scale) * np.log(2) ** (-1 / p)
            panel.loglog(ends[late], law[late], color=COLOURS["theory"], linestyle=line, linewidth=2, alpha=0.6)
    grey = {"color": COLOURS["neutral"]}
    handles = [
        Line2D([], [], linestyle=line, label=f"p = {p:g}, q = {q:g}: slope {1 / p - q:.2f}", **grey)
        for (p, q), line in zip(heavy_tails.LAWS, ("--", "-", ":"))
    ]
    handles += [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], label=rf"{NAMES[m]}, $\beta$ = {b:g}")
        for b, m in METHODS.items()
    ]
    handles.append(Line2D([], [], color=COLOURS["theory"], linewidth=2, label="single-jump law"))
    panel.legend(handles=handles, fontsize=8, loc="lower left")
    panel.set_ylim(bottom=panel.get_ylim()[0] / 3)
    panel.set(xlabel="K (steps)", ylabel=DISTANCE, title="E13: tails of index p, steps $k^{-q}$")
