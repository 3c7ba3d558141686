"""Figure of the family "practice": success over initialisation scale and step size, variance shares, time to pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.practice import first_pass, step_control
from bench.claims.practice.grid import FACTORS
from bench.plotting.style import COLOURS, make_figure

SERIES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^-."), ("#CC79A7", "D:"))


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    panels = []
    if "CL43" in results:
        pair = protocols["CL43"], results["CL43"]
        panels += [(_heat, *pair, name) for name in pair[0]["problems"]]
        panels.append((_shares, *pair, ""))
    if "CL46" in results:
        panels.append((_passing, protocols["CL46"], results["CL46"], ""))
    if not panels:
        return None
    drawn, axes = make_figure(min(2, len(panels)), -(-len(panels) // 2), "Rules for practice")
    for axis, (draw, protocol, own, name) in zip(axes, panels):
        draw(axis, protocol, own, name)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return drawn


def _heat(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Share of success over initialisation scale x step size."""
    one = protocol["problems"][name]
    share = step_control.by_cell(step_control.success(protocol, results, name))
    image = axis.imshow(share, vmin=0, vmax=1, cmap="cividis", aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(share):
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color="wk"[int(value > 0.4)])
    axis.set_xticks(range(share.shape[1]), [f"{lr:g}" for lr in one["levels"]["lr"]], fontsize=9)
    axis.set_yticks(range(share.shape[0]), [f"{std:g}" for std in one["levels"]["init"]])
    axis.set(xlabel="step size a in α = a / (k + 11)^q", ylabel="sd of the initial parameters")
    axis.set_title(f"{one['title']} (CL43)", fontsize=11)
    axis.figure.colorbar(image, ax=axis, label=f"share with F(w_K) ≤ {one['target']:g}")


def _shares(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Variance share of each factor with its interval."""
    for offset, (problem, (colour, style)) in enumerate(zip(protocol["problems"], SERIES)):
        levels = protocol["problems"][problem]["levels"]
        outcome = step_control.same_effective_step(step_control.success(protocol, results, problem), levels)
        for row, factor in enumerate(FACTORS):
            estimate = step_control.share(outcome, factor)
            low, high = estimate.interval()
            place = row + 0.2 * (offset - 0.5)
            axis.plot([low, high], [place, place], color=colour)
            label = protocol["problems"][problem]["title"] if row == 0 else None
            axis.plot(estimate.value, place, style[0], color=colour, label=label)
    axis.axvline(step_control.LEAST, color=COLOURS["theory"], linestyle=":", label="counts as mattering")
    axis.set_yticks(range(len(FACTORS)), [step_control.NAMES[factor] for factor in FACTORS])
    axis.set(xlabel="share of the variance of success", xlim=(0, None), title="What decides success (CL43)")
    axis.legend(fontsize=8)


def _passing(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Share of runs that pass the criterion of CL5 against K."""
    at = first_pass.checkpoints(protocol)
    for problem, (colour, style) in zip(first_pass.TITLES, SERIES):
        hits = first_pass.passing(protocol, results, problem)
        axis.plot(at, hits.mean(0), style, color=colour, label=problem.upper().replace("_", " "))
    stuck = first_pass.passing(protocol, results, "e1", "artificial").mean(0)
    axis.plot(at, stuck, "x-", color=COLOURS["neutral"], label="E1 from 0")
    axis.axhline(first_pass.SHARE, color=COLOURS["theory"], linestyle=":", linewidth=1)
    axis.set(xscale="log", xlabel="updates K", ylabel="share passing the test of CL5", title="Time to pass (CL46)")
    axis.legend(fontsize=8)
