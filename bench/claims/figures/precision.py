"""Family precision: trap share, inits with a differing mini-batch, training and pooling arms, zeros, stalls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.precision.bifurcation import DEPTHS
from bench.claims.precision.literature import measured, published
from bench.claims.precision.stalls import GRID
from bench.claims.precision.trap_share import EPS, FORMATS
from bench.claims.precision.zero_law import counts, law
from bench.claims.share import share_of
from bench.plotting.style import COLOURS, MARKERS, NAMES, make_figure
from bench.statistics.estimates import Proportion, ratio_of_means


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """One panel for each of CL32, CL33, CL34, CL36, CL57 and CL58 that is present."""
    panels = {
        "CL32": _traps, "CL33": _splits, "CL34": _training, "CL36": _pooling, "CL57": _zeros, "CL58": _stalls,
    }  # fmt: skip
    present = [claim for claim in panels if results.get(claim)]
    if not present:
        return None
    columns = min(2, len(present))
    drawn, axes = make_figure(columns, -(-len(present) // columns))
    for claim, ax in zip(present, axes):
        panels[claim](ax, results[claim])
    for ax in axes[len(present) :]:
        ax.set_axis_off()
    return drawn


def _bar(ax: Axes, x: float, hits: Proportion, **style: object) -> None:
    """A share with its 95 % interval; 0 hits as an upper bound."""
    low, high = hits.interval()
    if hits.hits:
        ax.errorbar(x, hits.value, [[hits.value - low], [high - hits.value]], capsize=3, linestyle="none", **style)
    else:
        ax.errorbar(x, high, [[0.6 * high], [0]], uplims=True, linestyle="none", fillstyle="none", **style)


def _traps(ax: Axes, results: Results) -> None:
    """Share of runs trapped (SGD) or touching (SHB) against eps, with the lattice law."""
    eps = np.array([EPS[dtype] for dtype in FORMATS])
    for name, column, word in (("sgd", "trapped", "trapped"), ("shb", "touched", "touching")):
        constant = results[f"{name}_float64"]["lattice"].mean()
        ax.plot(eps, constant * eps, color=COLOURS[name], linestyle="--", linewidth=1)
        for dtype in FORMATS:
            _bar(
                ax, EPS[dtype], share_of(results[f"{name}_{dtype}"], column), color=COLOURS[name], marker=MARKERS[name]
            )
        ax.plot([], [], color=COLOURS[name], marker=MARKERS[name], linestyle="none", label=f"{NAMES[name]} {word}")
    ax.plot([], [], color="black", linestyle="--", linewidth=1, label="lattice law (L8)")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="rounding unit eps",
        ylabel="share of runs",
        title="E1 (arrows: 0 hits, 95 % bound)",
    )
    ax.set(xlim=(3e-18, 0.3), ylim=(1e-10, 0.3), xticks=[1e-16, 1e-12, 1e-8, 1e-4])
    for dtype in FORMATS:
        ax.annotate(dtype, (EPS[dtype], 2e-10), rotation=90, ha="center", va="bottom", fontsize=8, color="0.4")
    ax.legend(loc="upper left", fontsize=9)


def _splits(ax: Axes, results: Results) -> None:
    """Share of random initialisations with a differing mini-batch, by depth and format."""
    formats = {"float16": ("clarke", "s"), "float32": ("shb", "o"), "float64": ("theory", "^")}
    for dtype, (colour, marker) in formats.items():
        for rule, offset, fill in (("chain", -0.1, "full"), ("injected", 0.1, "none")):
            for depth in DEPTHS:
                here = measured(results, dtype, depth, rule)
                low, high = here.interval()
                error = [[here.value - low], [high - here.value]]
                style = {"color": COLOURS[colour], "marker": marker, "fillstyle": fill, "markersize": 5, "linewidth": 1}
                ax.errorbar(depth + offset, here.value, error, linestyle="none", **style)
        if dtype != "float64":  # not compared by the public code
            there = [published(dtype, depth).value for depth in DEPTHS]
            ax.plot(DEPTHS, there, color=COLOURS[colour], linestyle=":", marker="x", linewidth=1)
        ax.plot([], [], color=COLOURS[colour], marker=marker, linestyle="none", label=dtype)
    ax.plot([], [], color="0.4", linestyle=":", marker="x", label="published (injected rule)")
    ax.set(xlabel="hidden layers L", ylabel="share of initialisations", ylim=(-0.03, 1.42), xticks=DEPTHS)
    ax.set_title("A differing mini-batch, MNIST\n(filled: chain rule, open: injected)", fontsize=11)
    ax.legend(loc="upper center", fontsize=8, ncols=2)


def _training(ax: Axes, results: Results) -> None:
    """Test accuracy after training by rule and t where exact zeros are frequent."""
    arms = {"chain_0": "t = 0", "chain_half": "chain\nt = 1/2", "chain_1": "chain\nt = 1"}
    arms |= {"injected_half": "injected\nt = 1/2", "injected_1": "injected\nt = 1"}
    for x, arm in enumerate(arms):
        values = results[f"coarse_{arm}"]["test_accuracy"]
        colour = COLOURS["artificial"] if arm.startswith("injected") else COLOURS["sgd"]
        ax.plot(np.full(len(values), x), values, "o", color=colour, alpha=0.5, markersize=5)
        ax.plot([x - 0.25, x + 0.25], [values.mean()] * 2, color=colour, linewidth=2)
    ax.axhline(0.1, color=COLOURS["neutral"], linestyle=":", linewidth=1)
    ax.annotate("chance", (0, 0.11), fontsize=8, color=COLOURS["neutral"])
    ax.set(ylabel="test accuracy", ylim=(0, 1.02), xticks=range(len(arms)))
    ax.set_xticklabels(arms.values(), fontsize=8)
    ax.set_title("ReLU'(0) = t in training (digits, bfloat16)", fontsize=11)


def _pooling(ax: Axes, results: Results) -> None:
    """Test accuracy against the Jacobian parameter of max-pooling, by format and form."""
    colours = {"float32": "shb", "float16": "clarke", "bfloat16": "sgd"}
    styles = {"published": ("o", "-"), "difference": ("s", "--"), "ties": ("^", ":"), "rounding": ("v", "-.")}
    for dtype, colour in colours.items():
        base = results.get(f"{dtype}_0_published")
        for form, (marker, line) in styles.items():
            found = {}
            for name, columns in results.items():
                if name.startswith(f"{dtype}_") and name.endswith(f"_{form}"):
                    found[float(name.split("_")[1])] = columns["test_accuracy"].mean()
            if base is not None and found:
                found[0.0] = base["test_accuracy"].mean()
                betas = sorted(found)
                x = [max(beta, 0.3) for beta in betas]
                ax.plot(
                    x, [found[b] for b in betas], color=COLOURS[colour], marker=marker, linestyle=line, markersize=5
                )
        ax.plot([], [], color=COLOURS[colour], label=dtype)
    for form, (marker, line) in styles.items():
        ax.plot([], [], color="0.4", marker=marker, linestyle=line, label=form)
    ax.set(xscale="log", xlabel="Jacobian parameter b (leftmost: 0)", ylabel="test accuracy", ylim=(0, 1.45))
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set_title("Max-pooling, CNN on digits", fontsize=11)
    ax.legend(loc="upper right", fontsize=8, ncols=2)


def _zeros(ax: Axes, results: Results) -> None:
    """Exact zeros counted over those of the law for a bias added last, by what a kernel adds last."""
    network, first = (
        next(one for name, one in results.items() if name.endswith(key)) for key in (" network", " first")
    )
    rows = {
        "bias last": (network, "last", "last"),
        "sum in 2, bias last": (network, "split_2", "last"),
        "sum in 4, bias last": (network, "split_4", "last"),
        "even, odd columns, bias last": (network, "permuted", "last"),
        "the same, coarse biases": (network, "coarse", "last"),
        "bias inside the sum": (network, "exact", "last"),
        "bias in the middle (layer 1)": (first, "middle", "last"),
        "the same, by its own law": (first, "middle", "middle"),
    }
    for y, (columns, kernel, by) in enumerate(list(rows.values())[::-1]):
        ratio = ratio_of_means(counts(columns, kernel), law(columns, by))
        low, high = ratio.interval()
        colour = COLOURS["artificial" if kernel in ("coarse", "exact") or by != kernel == "middle" else "shb"]
        ax.errorbar(ratio.value, y, xerr=[[ratio.value - low], [high - ratio.value]], fmt="o", color=colour, capsize=3)
    ax.axvline(1, color=COLOURS["neutral"], ls=":", lw=1)
    ax.set_yticks(range(len(rows)), list(rows)[::-1], fontsize=8)
    ax.set(xlim=(-0.2, 1.1 * ax.get_xlim()[1]), xlabel="exact zeros counted / predicted")
    ax.set_title("Zeros hang on what is added last", fontsize=11)


def _stalls(ax: Axes, results: Results) -> None:
    """Share of the parameters that 50 updates move against the step, in units of the predicted threshold."""
    arms = {"sgd grid": ("SGD, bfloat16", "sgd", "o"), "shb grid": ("SHB, bfloat16", "shb", "s")}
    arms |= {"shb float32 grid": ("SHB, float32", "clarke", "^")}
    for key, (label, colour, marker) in arms.items():
        moved = next(one["moved"] for name, one in results.items() if name.split(" ", 1)[1] == key)
        low, middle, high = np.quantile(moved, [0.025, 0.5, 0.975], axis=0)
        ax.fill_between(GRID, low, high, color=COLOURS[colour], alpha=0.25, lw=0)
        ax.plot(GRID, middle, color=COLOURS[colour], marker=marker, label=label)
    ax.axhline(0.01, color=COLOURS["neutral"], ls=":", lw=1)
    ax.axvline(1, color=COLOURS["neutral"], ls=":", lw=1)
    ax.set(yscale="log", xlabel="step / predicted threshold", ylabel="share of parameters that move", ylim=(5e-3, 1.5))
    ax.legend(fontsize=8, loc="center right")
    ax.set_title("16-bit weights rest below a known step", fontsize=11)
