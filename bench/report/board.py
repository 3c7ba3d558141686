"""The leaderboard as the page and the summary show it: order, ranks, tie groups, cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.leaderboard import cell_text, number, problem_title
from bench.report.data import Report
from bench.report.strip import scale_of, strip
from bench.tables import header


def rank_text(row: Mapping[str, Any]) -> str:
    """The rank, "1-2" where nothing separates it; a dash where ranks were not computed."""
    low, high = row.get("rank_low"), row.get("rank_high")
    if low is None or high is None:
        return "-"
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of one problem and metric, best first.

    By tie group, within which the order of `rows` (the suite's) stays and ranks nothing; rows without a group last.
    Where ranks were not computed, by median; what has none is last.
    """
    if any(row.get("tie_group") is not None for row in rows):
        return sorted(rows, key=lambda row: math.inf if row.get("tie_group") is None else row["tie_group"])
    sign = -1 if rows and "accuracy" in rows[0]["metric"] else 1
    return sorted(rows, key=lambda row: math.inf if row["median"] is None else sign * row["median"])


def tie_letters(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Optimizer -> letter of its tie group among the `ordered` rows of one metric; {} without tie groups."""
    letters: dict[Any, str] = {}
    result = {}
    for row in rows:
        group = row.get("tie_group")
        if group is not None:
            result[row["optimizer"]] = letters.setdefault(group, chr(ord("A") + min(len(letters), 25)))
    return result


def boards(report: Report) -> list[dict[str, Any]]:
    """One board per problem, for templates/leaderboard.html.j2."""
    index = {(s.problem, s.optimizer, s.metric): i for i, s in enumerate(report.seeds)}
    result = []
    for problem in report.suite.problems:
        rows = report.rows(problem)
        metrics = list(dict.fromkeys(row["metric"] for row in rows))
        if not metrics:
            continue
        order = {metric: ordered(report.rows(problem, metric)) for metric in metrics}
        letters = {metric: tie_letters(order[metric]) for metric in metrics}
        scales = {}
        for metric in metrics:
            own = [s for s in report.seeds if (s.problem, s.metric) == (problem, metric)]
            scales[metric] = scale_of(order[metric], own)
        lines = []
        for place, first in enumerate(order[metrics[0]]):
            optimizer = first["optimizer"]
            by_metric = {row["metric"]: row for row in rows if row["optimizer"] == optimizer}
            cells = []
            for metric in metrics:
                row, at = by_metric[metric], index.get((problem, optimizer, metric))
                text, _, interval = cell_text(row).partition(" [")
                cells.append(
                    {
                        "label": header(metric),
                        "median": row["median"],
                        "text": text,
                        "interval": f"[{interval}" if interval else "",
                        "rank": rank_text(row),
                        "letter": letters[metric].get(optimizer),
                        "seeds": at,
                        "strip": strip(scales[metric], row, None if at is None else report.seeds[at]),
                    }
                )
            space = first.get("space") or {}
            tuned = {name: value for name, value in (first["hyperparameters"] or {}).items() if name in space}
            lines.append(
                {
                    "optimizer": optimizer,
                    "place": place,
                    "rank": rank_text(first),
                    "letter": letters[metrics[0]].get(optimizer),
                    "p": first.get("p_value_to_leader"),
                    "cells": cells,
                    "n_seeds": first["n_seeds"],
                    "n_diverged": first["n_diverged"],
                    "coverage": first["coverage"],
                    "tuned": " ".join(f"{name}={value:.6g}" for name, value in tuned.items()) or "-",
                }
            )
        result.append(
            {
                "problem": problem,
                "title": problem_title(problem, report.suite.targets.get(problem)),
                "metrics": [{"name": m, "label": header(m), "higher": "accuracy" in m} for m in metrics],
                "ranked": any(line["rank"] != "-" for line in lines),
                "covered": all(line["coverage"] == 1 for line in lines),
                "lines": lines,
                "needed": next((n for n in report.document.get("seeds_needed") or () if n["problem"] == problem), None),
            }
        )
    return result


def needed_text(needed: Mapping[str, Any]) -> str:
    """How many seeds would separate the closest pair, in words."""
    if needed["pair"] is None:
        return "no two optimizers have results that can be compared seed by seed"
    pair = " and ".join(needed["pair"])
    details = (
        f"{header(needed['metric'])}: difference {number(needed.get('difference'))}, "
        f"spread {number(needed.get('spread'))} of the differences"
    )
    if needed.get("seeds") is None:
        return f"no number of seeds that can be run would separate the closest pair, {pair} ({details})"
    power = needed.get("power") or 0.8
    return f"{needed['seeds']:g} seeds would separate the closest pair, {pair}, with power {power:g} ({details})"
