"""Figures for papers: SVG, PNG and PDF of a suite's leaderboard, curves, profiles and sensitivity.

python -m bench.report.figures suite=default results_dir=results/local
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.command import answer, make_console, plan_and_store, run_command
from bench.leaderboard.document import leaderboard
from bench.leaderboard.text import rank_text
from bench.plotting.palette import Look, looks
from bench.plotting.style import RC, make_figure
from bench.report.board import ordered
from bench.report.curves import QUANTILES
from bench.report.data import Report, gather
from bench.statistics.metric import Metric
from shb.files import replacing

_FORMATS = {  # without dates: equal results give equal files
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
    "png": {"dpi": 200},
}
_PREFERRED = ("val_accuracy", "val_loss", "batch_loss")
_AGAINST = {"lr": "step size", "momentum": "momentum", "effective_step": "effective step α / (1 - β)"}


def draw_figures(report: Report, folder: Path) -> list[Path]:
    """Write every figure in every format into `folder`; returns the paths. What the report lacks is not drawn."""
    written = []
    rc = {**RC, "svg.hashsalt": report.plan.suite, "pdf.fonttype": 42}
    with matplotlib.rc_context(rc):
        for name, figure in _figures(report):
            for suffix, options in _FORMATS.items():
                path = folder / f"{name}.{suffix}"
                with replacing(path) as temporary:
                    figure.savefig(temporary, format=suffix, **options)
                written.append(path)
    return written


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    look = looks(report.optimizers)
    if report.seeds:
        yield "leaderboard", _leaderboard(report, look)
    files = _file_names(report.plan.problems)
    for problem in report.plan.problems:
        if any(c.problem == problem for c in report.curves):
            yield f"curves_{files[problem]}", _curves(report, look, problem)
    if report.document.get("profiles"):
        yield "profiles", _profiles(report, look)
    for problem in report.plan.problems:
        if any(s["problem"] == problem for s in report.sensitivity):
            yield f"sensitivity_{files[problem]}", _sensitivity(report, look, problem)


def _file_names(problems: Iterable[str]) -> dict[str, str]:
    """Problem -> what its files are called: other characters than letters, digits, dots and hyphens are underscores."""
    names: dict[str, str] = {}
    for problem in problems:
        name = plain = re.sub(r"[^\w.-]+", "_", problem)
        count = 1
        while name.casefold() in (other.casefold() for other in names.values()):
            count += 1
            name = f"{plain}_{count}"
        names[problem] = name
    return names


def _plain(text: str) -> str:
    """`text` without formulas: matplotlib reads what lies between two dollars as TeX."""
    return text.replace("$", r"\$")


def _style(look: Look) -> dict[str, Any]:
    """Colour, dashes and name of a line; dashes are in units of its width there."""
    dashes = tuple(length / 2 for length in look.dash) or (None, None)
    return {"color": look.colour, "dashes": dashes, "label": _plain(look.label)}


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    figure, axes = make_figure(min(2, count), -(-count // 2), _plain(title))
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _leaderboard(report: Report, look: dict[str, Look]) -> Figure:
    """Per problem the first metric: seeds as dots, median and interval, rank beside the name."""
    problems = [p for p in report.plan.problems if any(s.problem == p for s in report.seeds)]
    figure, axes = _panels(len(problems), f"Suite {report.plan.title}")
    for axis, problem in zip(axes, problems):
        metric = next(s.metric for s in report.seeds if s.problem == problem)
        rows = ordered(report.rows(problem, metric))
        scale = Metric(metric).scale
        names = []
        for place, row in enumerate(rows):
            one, rank = look[row["optimizer"]], rank_text(row)
            names.append(_plain(one.label if rank == "-" else f"{rank}  {one.label}"))
            own = [s for s in report.seeds if (s.problem, s.metric, s.optimizer) == (problem, metric, row["optimizer"])]
            values = [scale * value for s in own for value in s.values if value is not None]
            axis.plot(values, [place] * len(values), one.marker, color=one.colour, alpha=0.5, markersize=5)
            if row["median"] is not None:
                ends = [math.nan if row[end] is None else scale * row[end] for end in ("ci_low", "ci_high")]
                axis.plot(ends, [place + 0.25] * 2, color=one.colour, linewidth=2)
                axis.plot([scale * row["median"]], [place + 0.25], "|", color="black", markersize=11)
        axis.set_yticks(range(len(rows)), names)
        axis.set(xlabel=Metric(metric).header, ylim=(len(rows) - 0.4, -0.6))
        axis.set_title(_plain(problem), fontsize=11)
    return figure


def _curves(report: Report, look: dict[str, Look], problem: str) -> Figure:
    """Median and the middle half of seeds of the validation metric and the mini-batch loss."""
    own = [c for c in report.curves if c.problem == problem]
    measured = list(dict.fromkeys(c.metric for c in own))
    metrics = [m for m in _PREFERRED if m in measured] or measured
    metrics = [m for m in metrics if m != "val_loss" or "val_accuracy" not in metrics][:2]
    figure, axes = _panels(len(metrics), problem)
    low, middle, high = (QUANTILES.index(share) for share in (0.25, 0.5, 0.75))
    for axis, metric in zip(axes, metrics):
        scale = Metric(metric).scale
        for curves in (c for c in own if c.metric == metric):
            one = look[curves.optimizer]
            lines = np.where(np.isfinite(curves.lines), scale * curves.lines, np.nan)
            axis.plot(curves.steps, lines[middle], **_style(one))
            axis.fill_between(curves.steps, lines[low], lines[high], color=one.colour, alpha=0.2, linewidth=0)
        if "loss" in metric:
            axis.set_yscale("log")
        axis.set(xlabel="step", ylabel=Metric(metric).header)
    axes[0].legend(fontsize=9)
    return figure


def _profiles(report: Report, look: dict[str, Look]) -> Figure:
    figure, (axis,) = make_figure(1)
    for profile in report.document["profiles"]:
        one = look[profile["optimizer"]]
        axis.plot(profile["tau"], profile["share"], drawstyle="steps-post", **_style(one))
        band = (profile["share_low"], profile["share_high"])
        axis.fill_between(profile["tau"], *band, step="post", color=one.colour, alpha=0.15, linewidth=0)
    axis.set(
        xscale="log", ylim=(-0.02, 1.02), xlabel="factor τ of the fastest's steps", ylabel="share of runs at the target"
    )
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.legend(fontsize=9)
    return figure


def _sensitivity(report: Report, look: dict[str, Look], problem: str) -> Figure:
    """One panel per hyperparameter; a cross at the upper edge: the median seed diverged."""
    own = [s for s in report.sensitivity if s["problem"] == problem]
    against = list(dict.fromkeys(s["against"] for s in own))
    figure, axes = _panels(len(against), problem)
    for axis, name in zip(axes, against):
        axis.set(xscale="linear" if name == "momentum" else "log", yscale="log")
        for entry in (s for s in own if s["against"] == name):
            one = look[entry["optimizer"]]
            x, median, low, high = (
                np.array([math.nan if p[key] is None else p[key] for p in entry["points"]], float)
                for key in ("x", "median", "low", "high")
            )
            axis.plot(x, median, one.marker, linestyle="-", markersize=4, **_style(one))
            axis.fill_between(x, low, high, color=one.colour, alpha=0.15, linewidth=0)
            lost = x[np.isnan(median)]
            if len(lost):
                axis.plot(lost, np.full(len(lost), 0.98), "x", color=one.colour, transform=axis.get_xaxis_transform())
        axis.set(xlabel=_AGAINST.get(name, name), ylabel="training objective")
    axes[0].legend(fontsize=9)
    return figure


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; exit code 1 if the suite is incomplete."""
    console = make_console()
    if {"-h", "--help"} & set(arguments):
        console.print(__doc__, markup=False, highlight=False)
        return 0
    plan, store = plan_and_store(arguments)
    report = gather(plan, store, leaderboard(plan, store))
    written = draw_figures(report, store.folder / "figures")
    for path in written:
        console.print(f"wrote {path}", markup=False, highlight=False)
    if not written:
        console.print("nothing to draw: no evaluation seed of this suite is stored", highlight=False)
    return answer(store, console, report.document["complete"])


if __name__ == "__main__":
    sys.exit(run_command(main))
