"""The leaderboard as the page and the summary show it: order, ranks, tie groups, cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.leaderboard.text import notes, rank_text, setting_text, table_title, value_text
from bench.report.data import Report
from bench.report.strip import scale_of, strip
from bench.statistics.metric import Metric


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of one problem and metric, best first.

    By tie group, within which the order of `rows` (the suite's) stays and ranks nothing; incomplete rows last.
    """
    return sorted(rows, key=lambda row: math.inf if row["tie_group"] is None else row["tie_group"])


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
    for problem in report.plan.problems:
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
                text, _, interval = value_text(row, ("median", "ci_low", "ci_high")).partition(" [")
                cells.append(
                    {
                        "label": Metric(metric).header,
                        "median": row["median"],
                        "text": text,
                        "interval": f"[{interval}" if interval else "",
                        "rank": rank_text(row),
                        "letter": letters[metric].get(optimizer),
                        "seeds": at,
                        "strip": strip(scales[metric], row, None if at is None else report.seeds[at]),
                    }
                )
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
                    "tuned": setting_text(first),
                }
            )
        result.append(
            {
                "problem": problem,
                "title": table_title(problem, report.plan.targets.get(problem)),
                "metrics": [
                    {"name": m, "label": Metric(m).header, "higher": Metric(m).higher_is_better} for m in metrics
                ],
                "ranked": any(line["rank"] != "-" for line in lines),
                "covered": all(line["coverage"] == 1 for line in lines),
                "lines": lines,
                "notes": notes(report.document, problem),
            }
        )
    return result
