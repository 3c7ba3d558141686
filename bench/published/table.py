"""Published numbers beside measured ones, as tables, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plan.plan import SuitePlan
from bench.published.publication import Publication
from bench.statistics.inference import ALPHA
from bench.statistics.metric import Metric
from bench.store.store import Store
from shb.files import write_whole

SCHEMA_VERSION = 1


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """One paragraph: how many comparisons differ, and what could have been seen."""
    judged = [row for row in rows if row["p_holm"] is not None]
    differing = sum(row["p_holm"] < ALPHA for row in judged)
    outside = sum(row["p_value"] < ALPHA for row in judged)
    text = (
        f"{differing} of {len(judged)} comparisons differ (Holm over all of them, level {ALPHA}); {outside} of the "
        f"{len(judged)} intervals leave out 0, {ALPHA * len(judged):.1f} would by chance if nothing differed."
    )
    if len(judged) < len(rows):
        text += f" INCOMPLETE: {len(rows) - len(judged)} rows could not be compared."
    return text


def table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines; accuracies in percent, spreads are standard deviations over seeds."""
    names = ["metric", "optimizer", "published (sd), n", "measured (sd), n", "difference [95 %]", "p Holm", "verdict"]
    lines = []
    for row in rows:
        metric = Metric(row["metric"])

        def text(
            *numbers: float | None, scale: int = metric.scale, digits: int = 2 if metric.higher_is_better else 4
        ) -> list[str]:
            return ["-" if x is None else f"{scale * x:.{digits}f}" for x in numbers]

        published = text(row["published_mean"], row["published_sd"])
        measured = text(row["measured_mean"], row["measured_sd"])
        difference = text(row["difference"], row["ci_low"], row["ci_high"])
        lines.append(
            [
                row["label"] + metric.unit,
                row["optimizer"],
                f"{published[0]} ({published[1]}), {row['published_n']}",
                f"{measured[0]} ({measured[1]}), {row['measured_n']}",
                f"{difference[0]} [{difference[1]}, {difference[2]}]",
                "-" if row["p_holm"] is None else f"{row['p_holm']:.2g}",
                row["verdict"],
            ]
        )
    return names, lines


def markdown(publication: Publication, rows: Sequence[Mapping[str, Any]]) -> str:
    """The table with its source and conditions."""
    names, lines = table(rows)
    text = [f"# Published beside measured: {publication.title}", "", summary(rows), ""]
    text += [f"| {' | '.join(names)} |", "|" + "---|" * len(names), *(f"| {' | '.join(line)} |" for line in lines), ""]
    text += ["Difference: measured minus published, Welch's interval. The verdict gives its size in published standard"]
    text += ["deviations (sd) over seeds.", "", "## Source", ""]
    text += [f"- {key}: {value}" for key, value in publication.source.items()] + ["", "## Published conditions", ""]
    text += [f"- {key}: {value}" for key, value in publication.conditions.items()] + ["", "## Optimizers", ""]
    for name, entry in publication.optimizers.items():
        numbers = " ".join(f"{k}={v}" for k, v in entry.items() if k not in ("published", "rule"))
        text.append(f"- {name}: {entry['published']}, {entry['rule']}; {numbers}")
    return "\n".join([*text, ""])


def is_complete(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every planned seed is stored."""
    return all(row["measured_n"] == row["planned_n"] for row in rows)


def write_published(
    publication: Publication, rows: Sequence[Mapping[str, Any]], plan: SuitePlan, store: Store
) -> list[Path]:
    """Write published_NAME.md and .json into the store's folder; returns the paths."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "published": publication.name,
        "title": publication.title,
        "source": dict(publication.source),
        "suite": plan.suite,
        "suite_version": plan.version,
        "overrides": list(plan.changes),
        "complete": is_complete(rows),
        "rows": list(rows),
    }
    paths = [store.folder / f"published_{publication.name}.{suffix}" for suffix in ("md", "json")]
    write_whole(paths[0], markdown(publication, rows))
    write_whole(paths[1], json.dumps(document, indent=1, allow_nan=False))
    return paths
