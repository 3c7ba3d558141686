"""Equivalent forms: the largest difference of two paths, converted and unconverted (CL1)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.equivalences.momentum_forms import FORMS, TOLERANCE
from bench.plotting.style import COLOURS, make_figure

LABELS = {
    "velocity": "velocity form",
    "torch": "torch.optim.SGD",
    "torch_back": "Polyak in torch.optim.SGD",
    "ema": "moving average",
    "nesterov": "Nesterov",
    "adam": "Adam",
    "constant": "torch.optim.SGD, constant lr",
}


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """None unless CL1 was run."""
    if "CL1" not in results:
        return None
    columns = results["CL1"]["forms"]
    drawn, (axis,) = make_figure(1, title="Forms of momentum against Polyak's")
    drawn.set_size_inches(7.0, 3.6)
    forms = [form for form, *_ in FORMS]
    for kind, colour, marker, label in (
        ("converted", COLOURS["clarke"], "o", "with the conversion"),
        ("unconverted", COLOURS["artificial"], "s", "control: without it"),
    ):
        for row, form in enumerate(forms):
            values = columns[f"{form}_{kind}"]
            axis.plot(values, [row] * len(values), marker, color=colour, label=label if row == 0 else None, alpha=0.6)
    axis.axvline(TOLERANCE, color=COLOURS["theory"], linestyle="--", label=f"predicted: below {TOLERANCE:g}")
    axis.set_xscale("log")
    axis.set_yticks(range(len(forms)), [LABELS[form] for form in forms])
    axis.invert_yaxis()
    axis.set_xlabel("largest difference of two paths (units of w)")
    axis.legend(fontsize=8, loc="center", bbox_to_anchor=(0.6, 0.45))
    return drawn
