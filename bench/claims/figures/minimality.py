"""Minimality: the angle swept on the spiral (CL59), the radius under three oracles (CL60), the time to leave (CL61)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.claims.claim import Protocol, Results
from bench.claims.minimality import METHODS, smooth_spiral, splitting_set, strict_saddle
from bench.plotting.style import COLOURS, MARKERS, make_figure

FEW = 10  # runs that are drawn


def figure(protocols: Mapping[str, Protocol], results: Mapping[str, Results]) -> Figure | None:
    """A panel for each of the claims that ran; None if none of them did."""
    panels = {"CL59": _spiral, "CL60": _radius, "CL61": _leaving}
    shown = [claim for claim in panels if claim in results]
    if not shown:
        return None
    columns = min(2, len(shown))
    whole, axes = make_figure(columns, -(-len(shown) // columns), "Why the conditions are needed")
    for claim, panel in zip(shown, axes):
        panels[claim](panel, protocols[claim], results[claim])
    for panel in axes[len(shown) :]:
        panel.remove()
    return whole


def _spiral(panel: Axes, protocol: Protocol, results: Results) -> None:
    """Turns since the first recorded step, with the sine and without."""
    for method in smooth_spiral.METHODS:
        colour = COLOURS[method.lower()]
        for suffix, line, steps, label in (
            ("", "-", protocol["steps"], "spiral"),
            (" straight", ":", protocol["control_steps"], "without the sine"),
        ):
            columns = results[method + suffix]
            angle = np.unwrap(np.arctan2(columns["w1"], columns["w0"]), axis=1)[:FEW]
            turns = (angle - angle[:, :1]).T / (2 * np.pi)
            panel.plot(smooth_spiral.recorded(steps), turns, line, color=colour, linewidth=1, alpha=0.6)
            panel.plot([], [], line, color=colour, label=f"{method}, {label}")
    last = protocol["steps"] * 2.0 ** -np.arange(2)[::-1]
    speed = smooth_spiral.WINDING * (1 - smooth_spiral.Q) / (2 * np.pi)
    end = turns_at_the_end(results)
    law = end + speed * np.log(last / last[-1])
    panel.plot(last, law, color=COLOURS["theory"], linewidth=2.5, label="slope of the limit")
    panel.set(xscale="log", xlabel="k (steps)", ylabel="turns around the disc", title="E14: the iterates keep circling")
    panel.legend(fontsize=8)


def turns_at_the_end(results: Results) -> float:
    """Mean turns of SGD over the recorded steps."""
    return float(smooth_spiral.sweep(results["SGD"], smooth_spiral.OCTAVES).mean() / (2 * np.pi))


def _radius(panel: Axes, protocol: Protocol, results: Results) -> None:
    """|w_k| / |w_0|: the median run under each oracle."""
    names = {"": "Clarke subgradient", " gradient": "gradient a.e.", " zigzag": "tame zigzag"}
    for method in METHODS:
        for (suffix, label), line in zip(names.items(), ("-", "--", ":")):
            columns = results[method + suffix]
            radius = np.hypot(columns["w0"], columns["w1"])
            middle = np.median(radius / radius[:, :1], 0)
            k = np.arange(len(middle)) * splitting_set.EVERY + 1
            panel.loglog(k, middle, line, color=COLOURS[method.lower()], label=f"{method}, {label}")
    panel.set(xlabel="k (steps)", ylabel=r"$|w_k| / |w_0|$", title="E15: the only critical point is 0")
    panel.legend(fontsize=8, loc="lower left")


def _leaving(panel: Axes, protocol: Protocol, results: Results) -> None:
    """Mean clock to leave the saddle against the step, beside the law."""
    steps = np.array(strict_saddle.STEPS)
    grid = np.geomspace(steps.min() / 1.5, steps.max() * 1.5)
    for method, beta in METHODS.items():
        measured = [float((a * results[f"{method} exit {a:g}"]["exit"]).mean()) for a in steps]
        key = method.lower()
        panel.plot(
            steps, measured, MARKERS[key], color=COLOURS[key], markersize=9, label=rf"{method}, $\beta$ = {beta:g}"
        )
        law = [strict_saddle.clock_to_leave(a, beta) for a in grid]
        panel.plot(grid, law, color=COLOURS["theory"], linewidth=1, linestyle="--" if beta else "-")
    panel.plot([], [], color=COLOURS["theory"], linewidth=1, label="law (dashed: SHB)")
    panel.set(
        xscale="log", xlabel="effective step a", ylabel="mean clock to |y| > 0.2", title="E16: leaving the saddle"
    )
    panel.set_xticks(steps, [f"{a:g}" for a in steps])
    panel.minorticks_off()
    panel.legend(fontsize=8)
