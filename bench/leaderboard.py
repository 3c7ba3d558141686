"""The leaderboard: a pure function of the stored members and the suite. `python -m bench.leaderboard` rebuilds it.

Per problem and optimizer, over the evaluation seeds of the tuned setting: median with a seeded 95 % bootstrap
interval of the test metric, of the training objective and of the steps to the suite's target. A diverged seed
counts as the worst value, a missed target as infinity. Rows over an incomplete suite say their coverage.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from bench.command import make_console, run_command, suite_and_store
from bench.statistics import median_interval, seed_values
from bench.store import Store
from bench.suite import Suite, Target
from bench.tables import header, interval_text, print_table

SCHEMA_VERSION = 1
COLUMNS = (
    "problem",
    "optimizer",
    "metric",
    "median",
    "ci_low",
    "ci_high",
    "n_seeds",
    "n_diverged",
    "coverage",
    "hyperparameters",
)


def leaderboard_rows(suite: Suite, store: Store) -> list[dict[str, Any]]:
    """One row per problem, optimizer and metric; the columns are COLUMNS and the protocol beside them.

    `median`, `ci_low`, `ci_high` are None where they are infinite (target missed, diverged) or nothing is
    stored; `n_seeds` counts stored evaluation seeds, `coverage` is the share of the planned members (tuning
    and evaluation) that are stored.
    """
    members = store.members().filter(pl.col("status") != "failed")
    rows = []
    for problem, optimizer in suite.pairs():
        rows += _rows_of(suite, store, members, problem, optimizer)
    return rows


def _rows_of(suite: Suite, store: Store, members: pl.DataFrame, problem: str, optimizer: str) -> list[dict]:
    tuning_ids = suite.tuning_cell(problem, optimizer).ids
    best = suite.best(problem, optimizer, members)
    hyperparameters = json.loads(best["hyperparameters"]) if best else None
    evaluation = members.clear()
    if best:
        ids = suite.evaluation_cell(problem, optimizer, hyperparameters).ids
        evaluation = members.filter(pl.col("member_id").is_in(list(ids)))
    stored = members["member_id"].is_in(list(tuning_ids)).sum() + len(evaluation)
    shared = {
        "problem": problem,
        "optimizer": optimizer,
        "n_seeds": len(evaluation),
        "n_diverged": (evaluation["status"] == "diverged").sum(),
        "coverage": stored / (len(tuning_ids) + suite.evaluation_seeds),
        "hyperparameters": hyperparameters,
        "space": suite.space(problem, optimizer),
        "trials": suite.trials,
        "tuning_score": suite.score(problem),
        "tuning_value": _finite(best["score"]) if best else None,
    }
    score, target = suite.score(problem), suite.targets.get(problem)
    test = score.replace("val_", "test_")
    metrics = [(test, seed_values(evaluation, test))] if test != "train_loss" else []
    metrics.append(("train_loss", seed_values(evaluation, "train_loss")))
    if target is not None:
        metrics.append(("steps_to_target", _steps_to_target(evaluation, store, target)))
    rows = []
    for metric, values in metrics:
        interval = median_interval(values)
        extra = {}
        if metric == "steps_to_target":
            extra = {
                "target": f"{target.metric} {target.value:g}",
                "n_reached": sum(map(math.isfinite, values)),
            }
        ends = dict(zip(("median", "ci_low", "ci_high"), map(_finite, interval)))
        rows.append({**shared, "metric": metric, **ends, **extra})
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _steps_to_target(members: pl.DataFrame, store: Store, target: Target) -> list[float]:
    """First evaluated step of each seed at which the target is reached; infinity if it never is."""
    curves = store.curves(members["member_id"].to_list())
    value = pl.col(target.metric)
    reached = curves.filter(value >= target.value if "accuracy" in target.metric else value <= target.value)
    first = dict(reached.group_by("member_id").agg(pl.col("step").min()).iter_rows())
    return [float(first.get(member_id, math.inf)) for member_id in members["member_id"]]


def is_complete(rows: Sequence[dict]) -> bool:
    """True if every planned member of every row is stored."""
    return all(row["coverage"] == 1 for row in rows)


def provenance(suite: Suite, rows: Sequence[dict], store: Store) -> dict[str, Any]:
    """What the stored members behind the rows were computed with: the tuning and the winners' evaluation."""
    ids: set[str] = set()
    for row in rows:
        ids.update(suite.tuning_cell(row["problem"], row["optimizer"]).ids)
        if row["hyperparameters"]:
            ids.update(suite.evaluation_cell(row["problem"], row["optimizer"], row["hyperparameters"]).ids)
    members = store.members().filter(pl.col("member_id").is_in(list(ids)))
    columns = ("code_commit", "code_dirty", "torch", "cpu", "device_name", "threads")
    return {name: sorted(map(str, members[name].drop_nulls().unique())) for name in columns}


def number(value: float | None, digits: int = 4) -> str:
    """A short number for tables; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}g}"


def _cell_text(row: dict) -> str:
    """Median and interval; accuracies in percent, a missed target in words."""
    if not row["n_seeds"]:
        return "-"
    if row["metric"] == "steps_to_target":
        if row["median"] is None:
            return f"missed by {row['n_seeds'] - row['n_reached']}/{row['n_seeds']}"
        high = number(row["ci_high"]) if row["ci_high"] is not None else "missed"
        return f"{row['median']:.0f} [{number(row['ci_low'])}, {high}]"
    if row["median"] is None:
        return "diverged"
    ends = (math.inf if row[name] is None else row[name] for name in ("median", "ci_low", "ci_high"))
    return interval_text(row["metric"], *ends)


def tables(suite: Suite, rows: Sequence[dict]) -> list[tuple[str, list[str], list[list[str]]]]:
    """One table per problem: title, header, lines; ordered by the median of the first metric."""
    result = []
    for problem in suite.problems:
        own = [row for row in rows if row["problem"] == problem]
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        higher = "accuracy" in metrics[0]

        def order(optimizer: str, own: list = own, first: str = metrics[0], higher: bool = higher) -> float:
            median = next(r["median"] for r in own if r["optimizer"] == optimizer and r["metric"] == first)
            return math.inf if median is None else -median if higher else median

        names = ["optimizer", *map(header, metrics)]
        names += ["seeds", "diverged", "coverage", "tuned"]
        lines = []
        for optimizer in sorted(suite.optimizers, key=order):
            by_metric = {row["metric"]: row for row in own if row["optimizer"] == optimizer}
            row = by_metric[metrics[0]]
            tuned = (row["hyperparameters"] or {}).items()
            lines.append(
                [
                    optimizer,
                    *(_cell_text(by_metric[m]) for m in metrics),
                    str(row["n_seeds"]),
                    str(row["n_diverged"]),
                    f"{100 * row['coverage']:.0f} %",
                    " ".join(f"{n}={v:.6g}" for n, v in tuned if n in row["space"]) or "-",
                ]
            )
        result.append((_title(problem, suite.targets.get(problem)), names, lines))
    return result


def _title(problem: str, target: Target | None) -> str:
    if target is None:
        return problem
    relation = ">=" if "accuracy" in target.metric else "<="
    return f"{problem} (target: {target.metric.replace('_', ' ')} {relation} {target.value:g})"


def caption(suite: Suite, rows: Sequence[dict]) -> str:
    """What the numbers are, and whether the table is complete."""
    state = "complete" if is_complete(rows) else "INCOMPLETE: see coverage; not to be cited"
    return (
        f"Suite {suite.title}, {state}. Median over seeds [95 % bootstrap interval]. Each optimizer: "
        f"{suite.trials} Sobol trials x {suite.tuning_seeds} tuning seeds scored on the validation part, then the best "
        f"setting on {suite.evaluation_seeds} fresh seeds. Order by median; intervals that overlap are not separated."
    )


def space_lines(suite: Suite, rows: Sequence[dict]) -> list[str]:
    """The search spaces, one line per optimizer (and problem, where a problem has its own)."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        axes = (f"{n} {a['low']:g} .. {a['high']:g} ({a['scale']})" for n, a in row["space"].items())
        lines.setdefault(f"{row['optimizer']}: {', '.join(axes)}", []).append(row["problem"])
    everywhere = len(suite.problems)
    return [t if len(set(p)) == everywhere else f"{t} on {', '.join(dict.fromkeys(p))}" for t, p in lines.items()]


def print_leaderboard(suite: Suite, rows: Sequence[dict], console: Console) -> None:
    """Print one table per problem."""
    for title, names, lines in tables(suite, rows):
        print_table(console, title, names[:-1], [line[:-1] for line in lines], text=1)
        for line in lines:
            console.print(f"tuned {line[0]}: {line[-1]}", style="dim", highlight=False)
        console.print()
    for line in space_lines(suite, rows):
        console.print(f"search space of {line}", style="dim", highlight=False)
    console.print(caption(suite, rows), highlight=False)


def write_leaderboard(suite: Suite, rows: Sequence[dict], store: Store) -> list[Path]:
    """Write leaderboard.md, .csv and .json beside the store; returns the paths."""
    folder = store.folder
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "schema_version": SCHEMA_VERSION,
        "suite": suite.name,
        "suite_version": suite.version,
        "overrides": suite.changes(),
        "complete": is_complete(rows),
        "computed_with": provenance(suite, rows, store),
        "rows": list(rows),
    }
    markdown = [f"# Leaderboard, suite {suite.name}", "", caption(suite, rows), ""]
    for title, names, lines in tables(suite, rows):
        markdown += [f"## {title}", "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        markdown += [f"| {' | '.join(line)} |" for line in lines] + [""]
    markdown += ["## Search spaces", "", *(f"- {line}" for line in space_lines(suite, rows)), ""]
    paths = [folder / f"leaderboard.{suffix}" for suffix in ("md", "csv", "json")]
    paths[0].write_text("\n".join(markdown))
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "hyperparameters": json.dumps(row["hyperparameters"])} for row in rows)
    paths[2].write_text(json.dumps(document, indent=1, allow_nan=False))
    return paths


def main(arguments: Sequence[str]) -> int:
    """Rebuild the leaderboard from the store; computes nothing."""
    console = make_console()
    suite, store = suite_and_store(arguments)
    rows = leaderboard_rows(suite, store)
    print_leaderboard(suite, rows, console)
    for path in store.damaged:
        console.print(f"damaged shard, ignored: {path}", markup=False, highlight=False)
    for path in write_leaderboard(suite, rows, store):
        console.print(f"wrote {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
