"""Figure of the family "sampling": gap ratios of SHB and SGD, training loss and stationarity of networks, traps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.sampling import biased_limits, full_batch, matched_steps, networks_converge, reshuffling
from bench.plotting.style import COLOURS, MARKERS, NAMES, make_figure

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
STYLES = ("-", "--", "-.", ":")


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    panels = [(claim, draw) for claims, draw in PANELS.items() for claim in [claims.split()[0]] if claim in results]
    if not panels:
        return None
    drawn, axes = make_figure(min(2, len(panels)), -(-len(panels) // 2), "Subgradient sampling and optimizers")
    for axis, (claim, draw) in zip(axes, panels):
        draw(axis, protocols[claim], results[claim])
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return drawn


def _ratios(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Ratio of the mean gaps of SHB and SGD along a run (CL39)."""
    at = matched_steps.checkpoints(protocol)
    minimum = {"E1": -0.5, "E6": matched_steps.e6_minimum()}
    for problem, style in zip(matched_steps.PROBLEM, STYLES):
        gaps = {how: results[f"{problem} {how}"]["objective_at"].mean(0) - minimum[problem] for how in ("sgd", "shb")}
        label = f"{problem}, measured"
        axis.plot(at, gaps["shb"] / gaps["sgd"], style, marker=MARKERS["shb"], color=COLOURS["shb"], label=label)
    exact = [
        matched_steps.expected_gap(protocol, matched_steps.BETA, k) / matched_steps.expected_gap(protocol, 0.0, k)
        for k in at
    ]
    axis.plot(at, exact, "x", color=COLOURS["theory"], markersize=9, label="E1, exact")
    axis.axhspan(0.9, 1.1, color=COLOURS["neutral"], alpha=0.25, label="predicted at the end")
    axis.set(xscale="log", xlabel="updates k", ylabel="mean gap of SHB / of SGD", title="Matched steps, β = 0.9 (CL39)")
    axis.legend(fontsize=9)


def _oscillation(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Median Osc_K of each network against K (CL41)."""
    ends = [high for _, high in networks_converge.windows(protocol)]
    for name, colour in zip(protocol["networks"], SERIES):
        osc = networks_converge.oscillations(results[f"{name} random"], protocol)
        axis.plot(ends, np.median(osc, 0), "o-", color=colour, label=name.replace("_", " "))
    for name in protocol["noisy"]:
        for kind, style in (("decaying", "s-"), ("constant", "s--")):
            osc = networks_converge.oscillations(results[f"{name} {kind}"], protocol)
            label = f"noisy, {kind} step" if name == next(iter(protocol["noisy"])) else None
            axis.plot(ends, np.median(osc, 0), style, color=COLOURS["neutral"], label=label)
    axis.set(xscale="log", yscale="log", xlabel="updates K", ylabel="max − min of F over [K/2, K]")
    axis.set_xticks(ends, ends)
    axis.minorticks_off()
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * 4)  # room for the legend
    axis.set_title("Training loss of networks (CL41)")
    axis.legend(fontsize=8, ncols=2, loc="upper center")


def _stationarity(axis: Axes, protocol: Protocol, results: Results) -> None:
    """m_eps early and at the end, every seed (CL41)."""
    marks = [f"k = {protocol['first_window']}", f"k = {protocol['steps']}"]
    runs = [(f"{name} random", name.replace("_", " ")) for name in protocol["networks"]]
    runs += [(f"{name} zero", f"{name.replace('_', ' ')}, zero start") for name in protocol["from_zero"]]
    for row, (key, _) in enumerate(runs):
        m = results[key]["stationarity"]
        for column, (colour, marker) in enumerate((("#E69F00", "o"), ("#0072B2", "s"))):
            label = marks[column] if row == 0 else None
            axis.plot(m[:, column], np.full(len(m), row), marker, color=colour, alpha=0.6, label=label)
    axis.axvline(results["E6 artificial"]["stationarity"][0], color=COLOURS["artificial"], linestyle="--")
    axis.axvline(networks_converge.ARTIFICIAL, color=COLOURS["theory"], linestyle=":")
    axis.set(xscale="log", xlabel="m_eps (dashed: E6 at 0; dotted: 0.1)")
    axis.set_yticks(range(len(runs)), [label for _, label in runs], fontsize=8)
    axis.invert_yaxis()
    axis.set_title("Distance to Clarke critical (CL41)", fontsize=11)
    axis.set_xlim(3e-4, 1.5)
    axis.legend(fontsize=8, loc="upper left")


def _full_batch(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Final gap from a random start, in units of L3 (CL38)."""
    gap = protocol["step"]["E1"] * full_batch.decay(protocol, protocol["steps"] - 1) / 4
    for how, colour, style in (("sampled", "shb", "-"), ("constant", "artificial", "--")):
        values = np.sort((results[f"random {how}"]["objective"] + 0.5) / gap)
        label = {"sampled": "mini-batch, decaying step", "constant": "mini-batch, constant step"}[how]
        axis.plot(values, (np.arange(len(values)) + 0.5) / len(values), style, color=COLOURS[colour], label=label)
    worst = abs(results["random full"]["objective"] + 0.5).max() / gap
    axis.plot([], [], " ", label=f"full batch: at most {worst:.1g}")
    trap = 0.5 / gap
    axis.axvline(trap, color=COLOURS["theory"], linestyle=":", label="artificial point")
    axis.set(xscale="log", xlim=(1e-3, 2 * trap), ylim=(-0.02, 1.5), xlabel="F(w_K) − F*, units of α_K / (4 (1 − β))")
    axis.set(ylabel="share of runs below", title=f"{NAMES['shb']} at E1 from a random start (CL38)")
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.legend(fontsize=8, loc="upper left")


def _limits(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Where SHB with clipped gradients and Adam end on w^2/2: medians, and 90 % of the seeds (CL54)."""
    rows = [
        ("SHB, clipped at 4", results["skewed at 4"]["w0"], "shb"),
        ("SHB, clipped at 1", results["skewed value"]["w0"], "artificial"),
        ("the same, symmetric noise", results["gaussian value"]["w0"], "shb"),
        ("Adam, β₂ = 0.999", biased_limits.accumulated(results["adam slow"]), "adam"),
        ("Adam, β₂ = 0.9", biased_limits.accumulated(results["adam fast"]), "artificial"),
    ]
    for row, (_, values, colour) in enumerate(rows):
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        axis.plot((low, high), (row, row), color=COLOURS[colour], linewidth=4, alpha=0.5)
        axis.plot(middle, row, "o", color=COLOURS[colour])
    axis.axvline(0, color=COLOURS["theory"], linestyle=":", label="the only critical point")
    axis.axvline(biased_limits.LIMIT, color=COLOURS["neutral"], linestyle="--", label="2/3, predicted")
    axis.axvline(results["field fast"]["zero"].mean(), color=COLOURS["neutral"], label="zero of Adam's mean field")
    axis.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=9)
    axis.set(ylim=(len(rows) + 1.2, -0.7), xlabel="w at the end (Adam: averaged)")
    axis.set_title("Biased limits on w²/2 (CL54)")
    axis.legend(fontsize=8, loc="lower right")


def _reshuffling(axis: Axes, protocol: Protocol, results: Results) -> None:
    """Mean gap by the place in the epoch, in units of L3 (CL50)."""
    n, x = protocol["samples"], reshuffling.CYCLE
    floor = x / n / 4  # sigma = 1
    places = np.arange(1, n + 1) / n

    def shown(values: np.ndarray) -> np.ndarray:
        return np.roll(values, -1) / floor  # the end of the epoch last

    for name, label, colour, style in (
        (f"sgd {x:g} iid", "i.i.d., SGD", "neutral", "-"),
        (f"sgd {x:g} reshuffle", "reshuffled, SGD", "sgd", "-"),
        (f"shb {x:g} reshuffle", "reshuffled, SHB", "shb", "-"),
    ):
        axis.plot(places, shown(results[name]["gap"].mean(0)), style, color=COLOURS[colour], linewidth=2.5, label=label)
    for optimizer, label in (("sgd", "L9, exact"), ("shb", None)):
        law = reshuffling.law(protocol, x, optimizer) / 2
        axis.plot(places, shown(law), ":", color=COLOURS["theory"], linewidth=2, label=label)
    axis.axhline(1.0, color=COLOURS["theory"], linestyle="--", label="L3")
    axis.set(xlim=(0, 1), ylim=(0, 1.5), xlabel="place in the epoch (1: its end)", ylabel="F − F*, in units of L3")
    axis.set_title("Reshuffling within an epoch (CL50)", fontsize=11)
    axis.legend(fontsize=8, loc="upper center", ncols=2)


PANELS: dict[str, Callable[[Axes, Protocol, Results], None]] = {
    "CL38": _full_batch,
    "CL39": _ratios,
    "CL41 oscillation": _oscillation,
    "CL41 stationarity": _stationarity,
    "CL54": _limits,
    "CL50": _reshuffling,
}
