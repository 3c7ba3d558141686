"""Figure of the family "practice": success over initialisation scale and step size, variance shares, time to pass,

critical effective steps against the batch size, loss against the effective step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.practice import critical_step, first_pass, momentum_gain, rules, step_control
from bench.claims.practice.grid import FACTORS
from bench.plotting.style import COLOURS, MARKERS, NAMES, make_figure
from bench.statistics.estimates import Mean, PairedMean

TICKS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of effective steps
SERIES = (("#0072B2", "o-"), ("#D55E00", "s--"), ("#009E73", "^-."), ("#CC79A7", "D:"))


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    panels = []
    if "CL43" in results:
        pair = protocols["CL43"], results["CL43"]
        panels += [(_heat, *pair, name) for name in pair[0]["problems"]]
        panels.append((_shares, *pair, ""))
    if "CL46" in results:
        panels.append((_passing, protocols["CL46"], results["CL46"], ""))
    if "CL52" in results and any(name.endswith(" cosine") for name in results["CL52"]):
        pair = protocols["CL52"], results["CL52"]
        panels += [(_starts, *pair, ""), (_schedules, *pair, "")]
    if results.get("CL48"):
        pair = protocols["CL48"], results["CL48"]
        panels += [(_critical, *pair, name) for name in pair[0]["networks"] if f"{name} full sgd" in pair[1]]
    if results.get("CL49"):
        pair = protocols["CL49"], results["CL49"]
        for name in pair[0]["networks"]:
            sizes = pair[0]["parts"][name]
            for batch in (sizes["small"], sizes["large"]):
                panels += [(_losses, *pair, f"{name} {batch}")] if f"{name} {batch} scan sgd" in pair[1] else []
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
        axis.text(
            column,
            row,
            f"{value:.2f}".lstrip("0") or "0",
            ha="center",
            va="center",
            fontsize=7,
            color="wk"[int(value > 0.4)],
        )
    axis.set_xticks(range(share.shape[1]), [f"{lr:g}" for lr in one["levels"]["lr"]], fontsize=7)
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


def _starts(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Test accuracy without a density of the start, minus that of torch's default, in points."""
    for network, (colour, style) in zip(protocol["networks"], SERIES):
        for row, arm in enumerate(("zero bias", "identity")):
            one, other = (results[f"{network} {key}"]["test_accuracy"] for key in (arm, "random"))
            estimate = PairedMean(one, other)
            ends = 100 * np.array(estimate.interval())
            axis.plot(ends, [row, row], color=colour)
            axis.plot(100 * estimate.value, row, style[0], color=colour, label=network if row == 0 else None)
    axis.axvspan(-100 * rules.MARGIN, 100 * rules.MARGIN, color=COLOURS["theory"], alpha=0.15, label="no difference")
    axis.set_yticks((0, 1), ("zero biases", "identity,\nnothing random"))
    axis.set(ylim=(-0.6, 1.8), xlabel="test accuracy minus that of torch's default [points]")
    axis.set_title("Does the start have to be random? (CL52)", fontsize=11)
    axis.legend(fontsize=8)


def _schedules(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Training loss of every tuned schedule over that of the best power."""
    arms = ("cosine", "linear", "constant", *(f"power {q}" for q in rules.POWERS))
    for network, (colour, style) in zip(protocol["schedule_networks"], SERIES):
        best = rules.log_loss(results[f"{network} power {rules.best_power(network, results)}"])
        for row, arm in enumerate(arms):
            difference = rules.log_loss(results[f"{network} {arm}"]) - best
            if not difference.any():
                axis.plot(1.0, row, style[0], color=colour)
                continue
            estimate = Mean(difference)
            axis.plot(np.exp(estimate.interval()), [row, row], color=colour)
            axis.plot(np.exp(estimate.value), row, style[0], color=colour, label=network if row == 0 else None)
    axis.axvline(1.0, color=COLOURS["theory"], linestyle=":", linewidth=1)
    axis.set_yticks(range(len(arms)), [arm.replace("power ", "power, q = ") for arm in arms])
    axis.set(xlabel="final training loss / that of the best power", title="Which schedule, each tuned? (CL52)")
    axis.legend(fontsize=8)


def _critical(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """a* of SGD and SHB against the batch size, with the ratio between them (CL48)."""
    batches = list(protocol["batches"][name])
    place = range(len(batches))
    middle = {}
    for how in ("sgd", "shb"):
        logs = [np.log(results[critical_step.key(name, batch, how)]["critical"]) for batch in batches]
        middle[how] = np.exp([one.mean() for one in logs])
        spread = np.exp([one.std(ddof=1) for one in logs])
        errors = [middle[how] - middle[how] / spread, middle[how] * spread - middle[how]]
        axis.errorbar(place, middle[how], errors, color=COLOURS[how], marker=MARKERS[how], capsize=3, label=NAMES[how])
    for x, low, high in zip(place, middle["sgd"], middle["shb"]):
        axis.annotate(f"× {high / low:.2g}", (x, high), (0, 12), textcoords="offset points", ha="center", fontsize=10)
    axis.set(yscale="log", xlabel="batch size", ylabel="critical effective step")
    axis.set_xticks(place, batches)
    axis.margins(x=0.15, y=0.2)
    axis.set_title(
        f"Where training stops working (CL48,\n{name.replace('_', ' ')}, β = {critical_step.BETA:g})", fontsize=11
    )
    axis.legend(fontsize=9, loc="upper left")


def _losses(axis: Axes, protocol: Protocol, results: Results, name: str) -> None:
    """Loss at the end against the effective step, geometric means over the seeds of the scan (CL49)."""
    network, batch = name.rsplit(" ", 1)
    for how in ("sgd", "shb"):
        steps = momentum_gain.effective_steps(protocol, network, batch, "scan", how)
        columns = results[f"{name} scan {how}"]
        logs = np.log(momentum_gain.losses(columns))
        axis.plot(steps, np.exp(logs.mean(0)), color=COLOURS[how], marker=MARKERS[how], label=NAMES[how])
        axis.fill_between(steps, np.exp(logs.min(0)), np.exp(logs.max(0)), color=COLOURS[how], alpha=0.2, linewidth=0)
    axis.axhline(columns["reference"][0], color=COLOURS["theory"], linestyle=":", label="constant predictor")
    axis.set(xscale="log", yscale="log", xlabel="effective step lr / (1 − β)", ylabel="training loss at the end")
    low, high = axis.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_title(f"Batch size {batch} (CL49, {network.replace('_', ' ')})", fontsize=11)
    axis.legend(fontsize=9)
