"""The leaderboard as text: printed tables and leaderboard.md, from the document of
`bench.leaderboard.document.leaderboard`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from bench.leaderboard.ranking.power import MOST_SEEDS, POWER
from bench.leaderboard.ranking.profiles import LARGEST_FACTOR
from bench.leaderboard.ranking.sensitivity import AXES, NEAR_BEST
from bench.plan.plan import SuitePlan, Target
from bench.statistics.metric import Metric
from bench.terminal.tables import print_table

Lines = list[list[str]]
_WITHIN = 2.0  # the factor at which the table across problems shows the profile, besides 1


def number(value: float | None, digits: int = 4) -> str:
    """A short number for tables; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}g}"


def rank_text(row: Mapping[str, Any]) -> str:
    """The ranks that the data leave open, "1-2", or "1" if that is one; a dash for an incomplete row."""
    low, high = row["rank_low"], row["rank_high"]
    return "-" if low is None else f"{low}" if low == high else f"{low}-{high}"


def value_text(row: Mapping[str, Any], names: tuple[str, str, str]) -> str:
    """Value and interval; accuracies in percent, a missed target in words."""
    value, low, high = (row[name] for name in names)
    if not row["n_seeds"]:
        return "-"
    if row["metric"] == "steps_to_target":
        if value is None:
            return f"missed by {row['n_seeds'] - row['n_reached']}/{row['n_seeds']}"
        return f"{value:.0f} [{number(low)}, {number(high) if high is not None else 'missed'}]"
    if value is None:
        return "diverged"
    return Metric(row["metric"]).interval_text(*(math.inf if end is None else end for end in (value, low, high)))


def tables(plan: SuitePlan, board: Mapping[str, Any]) -> list[tuple[str, list[str], Lines]]:
    """One table per problem: title, header, lines.

    Tie groups of the first metric in their order, within a group the order of the suite, which ranks nothing;
    incomplete rows last.
    """
    result = []
    for problem in plan.problems:
        own = [row for row in board["rows"] if row["problem"] == problem]
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        firsts = sorted(
            (row for row in own if row["metric"] == metrics[0]), key=lambda row: row["tie_group"] or math.inf
        )
        names = ["optimizer", "rank", "group", *(Metric(metric).header for metric in metrics)]
        names[4:4] = ["IQM" + Metric(metrics[0]).unit]
        names += ["seeds", "diverged", "coverage", _setting_name(plan)]
        lines = []
        for row in firsts:
            others = [other for other in own if other["optimizer"] == row["optimizer"]]
            shown = [value_text(other, ("median", "ci_low", "ci_high")) for other in others]
            shown[1:1] = [value_text(row, ("iqm", "iqm_low", "iqm_high"))]
            lines.append(
                [
                    row["optimizer"],
                    rank_text(row),
                    number(row["tie_group"]),
                    *shown,
                    str(row["n_seeds"]),
                    str(row["n_diverged"]),
                    f"{100 * row['coverage']:.0f} %",
                    setting_text(row),
                ]
            )
        result.append((table_title(problem, plan.targets.get(problem)), names, lines))
    return result


def table_title(problem: str, target: Target | None) -> str:
    if target is None:
        return problem
    return f"{problem} (target: {target.metric.replace('_', ' ')} {Metric(target.metric).relation} {target.value:g})"


def notes(board: Mapping[str, Any], problem: str) -> list[str]:
    """What stands below the table of a problem: the seeds that its closest pair needs, and the times."""
    (needed,) = (entry for entry in board["seeds_needed"] if entry["problem"] == problem)
    (times,) = (entry["ratios"] for entry in board["time_ratios"] if entry["problem"] == problem)
    lines = [_seeds_line(needed)]
    if times:
        ratios = ", ".join(f"{optimizer} {ratio:.2f}" for optimizer, ratio in times.items())
        lines.append(f"Time per step over that of the fastest (one machine, measured once): {ratios}.")
    return lines


def _seeds_line(needed: Mapping[str, Any]) -> str:
    if needed["pair"] is None:
        return "Closest pair: unknown, no two optimizers have complete and finite results."
    metric = Metric(needed["metric"])
    difference, spread = (f"{metric.scale * needed[name]:.2g}" for name in ("difference", "spread"))
    seeds = f"more than {MOST_SEEDS:,}" if needed["seeds"] is None else f"about {needed['seeds']:,}"
    pair = " - ".join(needed["pair"])
    return (
        f"Closest pair: {pair} = {difference}{metric.unit_of_differences} "
        f"(spread {spread}, {needed['n_seeds']} seeds); {seeds} seeds separate them with power {POWER:g}."
    )


def across(board: Mapping[str, Any]) -> tuple[str, list[str], Lines]:
    """Title, header and lines of the table across problems; no lines if no problem is complete."""
    scores = {entry["optimizer"]: entry for entry in board["aggregate"]}
    curves = {entry["optimizer"]: entry for entry in board["profiles"]}
    names = ["optimizer", "normalised score", "area of profile", "fastest %", f"within {_WITHIN:g}x %"]
    lines = []
    for optimizer in dict.fromkeys([*scores, *curves]):
        line = [optimizer, "-", "-", "-", "-"]
        if score := scores.get(optimizer):
            line[1] = _span(1, *(score[name] for name in ("score", "low", "high")))
        if curve := curves.get(optimizer):
            line[2] = _span(1, *(curve[name] for name in ("area", "area_low", "area_high")))
            for column, tau in ((3, 1.0), (4, _WITHIN)):
                index = curve["tau"].index(tau)
                line[column] = _span(100, *(curve[name][index] for name in ("share", "share_low", "share_high")))
        lines.append(line)
    counted = max((len(entry[name]) for entry, name in _counted(board)), default=0)
    return f"all problems ({counted} of {len(board['seeds_needed'])} complete)", names, lines


def _counted(board: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    return [*((e, "by_problem") for e in board["aggregate"]), *((e, "problems") for e in board["profiles"])]


def _span(scale: float, value: float, low: float, high: float) -> str:
    digits = 0 if scale == 100 else 3
    return f"{scale * value:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def sensitivity_table(board: Mapping[str, Any]) -> tuple[list[str], Lines]:
    """Header and lines: how wide the range of good step sizes is, per problem and optimizer."""
    names = ["problem", "optimizer", "best lr", "width lr", "width momentum", "width effective step", "diverged %"]
    table: dict[tuple[str, str], dict[str, dict]] = {}
    for entry in board["sensitivity"]:
        table.setdefault((entry["problem"], entry["optimizer"]), {})[entry["against"]] = entry
    lines = []
    for (problem, optimizer), axes in table.items():
        first = next(iter(axes.values()))
        widths = [number(axes[axis]["width_decades"], 2) if axis in axes else "-" for axis in AXES]
        best = number(axes["lr"]["best_x"]) if "lr" in axes else "-"
        share = "-" if first["share_diverged"] is None else f"{100 * first['share_diverged']:.0f}"
        lines.append([problem, optimizer, best, *widths, share])
    return names, lines


def caption(plan: SuitePlan, board: Mapping[str, Any]) -> str:
    """What the numbers are, and whether the table is complete."""
    state = (
        "complete" if board["complete"] else "INCOMPLETE: see coverage; incomplete rows have no rank; not to be cited"
    )
    return (
        f"Suite {plan.title}, {state}. Median over seeds [95 % bootstrap interval]. Each optimizer: "
        f"{plan.protocol}. Rank: the ranks in the first metric that paired tests on "
        "the same seeds leave open (95 % for all ranks of a table at once); 1-2 is a tie. Group: a leader and all that "
        "are not separated from it, in no order."
    )


ACROSS = (
    "In the order of the suite, not ranked. Normalised score: 0 = untrained, 1 = best optimizer's median. Profile: "
    "share of runs that reach the target within a factor of the fastest optimizer's steps on the same seed; its area "
    f"goes to a factor of {LARGEST_FACTOR:g}."
)
SENSITIVITY = (
    "Width, in decades, of the range in which the final training objective of the trials is within "
    f"{100 * NEAR_BEST:.0f} % of the best (momentum: decades of 1 - momentum); share of tuning runs that diverged."
)


def setting_text(row: Mapping[str, Any]) -> str:
    """The hyperparameters of a row that were searched, or all of a given setting; a dash where none is known."""
    values = (row["hyperparameters"] or {}).items()
    return " ".join(f"{name}={value:.6g}" for name, value in values if name in row["space"] or not row["space"]) or "-"


def _setting_name(plan: SuitePlan) -> str:
    return "tuned" if plan.tunes else "setting"


def space_lines(plan: SuitePlan, board: Mapping[str, Any]) -> list[str]:
    """The search spaces, one line per optimizer (and problem, where a problem has its own)."""
    lines: dict[str, list[str]] = {}
    for row in (row for row in board["rows"] if row["space"]):
        axes = (f"{n} {a['low']:g} .. {a['high']:g} ({a['scale']})" for n, a in row["space"].items())
        lines.setdefault(f"{row['optimizer']}: {', '.join(axes)}", []).append(row["problem"])
    everywhere = len(plan.problems)
    return [t if len(set(p)) == everywhere else f"{t} on {', '.join(dict.fromkeys(p))}" for t, p in lines.items()]


def print_leaderboard(plan: SuitePlan, board: Mapping[str, Any], console: Console) -> None:
    """Print one table per problem, and the one across problems."""
    for problem, (title, names, lines) in zip(plan.problems, tables(plan, board)):
        whole = all(line[names.index("coverage")] == "100 %" for line in lines)
        left_out = {names[-1], *(n for n in names if n.startswith("IQM")), *(["coverage"] if whole else [])}
        shown = [i for i, name in enumerate(names) if name not in left_out]
        print_table(console, title, [names[i] for i in shown], [[line[i] for i in shown] for line in lines], text=1)
        for line in [*(f"{names[-1]} {line[0]}: {line[-1]}" for line in lines), *notes(board, problem)]:
            console.print(line, style="dim", highlight=False)
        console.print()
    title, names, lines = across(board)
    if lines:
        print_table(console, title, names, lines, text=1)
        console.print(ACROSS, style="dim", highlight=False)
        console.print()
    for line in space_lines(plan, board):
        console.print(f"search space of {line}", style="dim", highlight=False)
    console.print(caption(plan, board), highlight=False)


def markdown(plan: SuitePlan, board: Mapping[str, Any]) -> str:
    """The text of leaderboard.md."""
    text = [f"# Leaderboard, suite {plan.suite}", "", caption(plan, board), ""]
    for problem, (title, names, lines) in zip(plan.problems, tables(plan, board)):
        text += [f"## {title}", "", *_table(names, lines), ""]
        text += [line for note in notes(board, problem) for line in (note, "")]
    title, names, lines = across(board)
    text += [f"## {title[0].upper()}{title[1:]}", "", *_table(names, lines), "", ACROSS, ""]
    if board["sensitivity"]:
        text += ["## Sensitivity to the step size", "", *_table(*sensitivity_table(board)), "", SENSITIVITY, ""]
    if spaces := space_lines(plan, board):
        text += ["## Search spaces", "", *(f"- {line}" for line in spaces), ""]
    return "\n".join(text)


def _table(names: Sequence[str], lines: Lines) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names), *(f"| {' | '.join(line)} |" for line in lines)]
