"""The leaderboard: a pure function of the stored members and the plan. `python -m bench.leaderboard` rebuilds it.

Per problem and optimizer, over the evaluation seeds of the tuned setting: median and interquartile mean of the test
metric, of the training objective and of the steps to the suite's target, with intervals, ranks and tie groups; across
problems: profiles, an aggregate score, sensitivity to the step size (docs/ranking.md). A diverged seed counts as the
worst value, a missed target as infinity. An incomplete row says its coverage and has no rank.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.leaderboard.entry import Entry, entries
from bench.leaderboard.ranking.aggregate import Scale, aggregate
from bench.leaderboard.ranking.groups import Standing, standings
from bench.leaderboard.ranking.pace import time_ratios
from bench.leaderboard.ranking.pairs import costs
from bench.leaderboard.ranking.power import closest_pair
from bench.leaderboard.ranking.profiles import profiles
from bench.leaderboard.ranking.sensitivity import sensitivity
from bench.leaderboard.text import markdown
from bench.plan.plan import SuitePlan
from bench.statistics.bootstrap import interquartile_interval, median_interval
from bench.statistics.medians import finite_or_none, median
from bench.store.store import Store
from shb.files import write_whole

SCHEMA_VERSION = 2
COLUMNS = (
    "problem",
    "optimizer",
    "metric",
    "median",
    "ci_low",
    "ci_high",
    "iqm",
    "iqm_low",
    "iqm_high",
    "rank_low",
    "rank_high",
    "tie_group",
    "p_value_to_leader",
    "steps_to_target",
    "n_seeds",
    "n_diverged",
    "coverage",
    "hyperparameters",
)


def leaderboard(plan: SuitePlan, store: Store) -> dict[str, Any]:
    """The document of leaderboard.json, explained in docs/results.md; infinite numbers are None."""
    table = entries(plan, store)
    rows = [row for problem, own in table.items() for row in _rows(plan, problem, own)]
    complete = {problem: own for problem, own in table.items() if all(entry.complete for entry in own)}
    steps = {
        problem: np.array([entry.values["steps_to_target"] for entry in own])
        for problem, own in complete.items()
        if problem in plan.targets
    }
    scales = {problem: _scale(own[0].score, own) for problem, own in complete.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": plan.suite,
        "suite_version": plan.version,
        "overrides": list(plan.changes),
        "complete": is_complete(rows),
        "computed_with": provenance(table),
        "rows": rows,
        "profiles": profiles(plan.optimizers, steps),
        "aggregate": aggregate(plan.optimizers, scales),
        "sensitivity": [
            {"problem": problem, "optimizer": entry.optimizer, **curve}
            for problem, own in table.items()
            for entry in own
            for curve in sensitivity(entry.tuning, list(plan.pair(problem, entry.optimizer).space))
        ],
        "seeds_needed": [_seeds_needed(problem, own) for problem, own in table.items()],
        "time_ratios": [
            {"problem": problem, "ratios": time_ratios({entry.optimizer: entry.members for entry in own})}
            for problem, own in table.items()
        ],
    }


def leaderboard_rows(plan: SuitePlan, store: Store) -> list[dict[str, Any]]:
    """The rows of `leaderboard`: one per problem, optimizer and metric, with COLUMNS and the protocol beside them."""
    return leaderboard(plan, store)["rows"]


def _rows(plan: SuitePlan, problem: str, own: Sequence[Entry]) -> list[dict[str, Any]]:
    standing = {metric: _standings(own, metric) for metric in own[0].values}
    rows = []
    for entry in own:
        shared = {
            "problem": problem,
            "optimizer": entry.optimizer,
            "n_seeds": len(entry.evaluation),
            "n_diverged": int((entry.evaluation["status"] == "diverged").sum()),
            "coverage": entry.coverage,
            "steps_to_target": finite_or_none(median(entry.values.get("steps_to_target", []))),
            "hyperparameters": entry.hyperparameters,
            "space": plan.pair(problem, entry.optimizer).space,
            "trials": plan.trials,
            "tuning_score": entry.score,
            "tuning_value": finite_or_none(entry.winner.score) if entry.winner else None,
        }
        for metric, values in entry.values.items():
            numbers = dict(zip(("median", "ci_low", "ci_high"), map(finite_or_none, median_interval(values))))
            numbers |= zip(("iqm", "iqm_low", "iqm_high"), map(finite_or_none, interquartile_interval(values)))
            row = {**shared, "metric": metric, **numbers, **standing[metric][entry.optimizer]}
            if metric == "steps_to_target":
                target = plan.targets[problem]
                row["target"] = f"{target.metric} {target.value:g}"
                row["n_reached"] = sum(map(math.isfinite, values))
            rows.append(row)
    return rows


def _standings(own: Sequence[Entry], metric: str) -> dict[str, dict[str, Any]]:
    """Optimizer -> the fields of its Standing in the table of `metric`; None for an incomplete entry."""
    complete = [entry for entry in own if entry.complete]
    found = {entry.optimizer: dict.fromkeys(Standing._fields) for entry in own}
    if complete:
        values = costs(metric, [entry.values[metric] for entry in complete])
        for entry, standing in zip(complete, standings(values, unranked=len(own) - len(complete))):
            found[entry.optimizer] = standing._asdict()
    return found


def _scale(score: str, own: Sequence[Entry]) -> Scale:
    """Costs of the first metric, and that of the untrained network."""
    metric = next(iter(own[0].values))
    untrained = median([value for entry in own for value in entry.untrained])
    return Scale(costs(metric, [entry.values[metric] for entry in own]), float(costs(score, untrained)))


def _seeds_needed(problem: str, own: Sequence[Entry]) -> dict[str, Any]:
    """Seeds that would separate the closest pair of complete entries in the first metric."""
    complete, metric = [entry for entry in own if entry.complete], next(iter(own[0].values))
    closest = closest_pair(costs(metric, [entry.values[metric] for entry in complete]))
    fields = dict.fromkeys(("pair", "difference", "spread", "seeds", "power")) if closest is None else closest._asdict()
    if closest:
        fields["pair"] = [complete[index].optimizer for index in closest.pair]
        fields["difference"] = float(costs(metric, closest.difference)) + 0.0  # back to the sign of the metric, no -0
    seeds = len(complete[0].evaluation) if complete else 0
    return {"problem": problem, "metric": metric, "n_seeds": seeds, **fields}


def is_complete(rows: Sequence[dict]) -> bool:
    """True if every planned member of every row is stored."""
    return all(row["coverage"] == 1 for row in rows)


def provenance(table: Mapping[str, Sequence[Entry]]) -> dict[str, list[str]]:
    """What the members behind the rows were computed with: the tuning and the winners' evaluation."""
    return computed_with(pl.concat([entry.members for own in table.values() for entry in own]))


def computed_with(members: pl.DataFrame) -> dict[str, list[str]]:
    """Code versions and environments of `members`: column -> its sorted values, as texts."""
    columns = ("code_commit", "code_dirty", "torch", "cpu", "device_name", "threads")
    return {name: sorted(map(str, members[name].drop_nulls().unique())) for name in columns}


def write_leaderboard(plan: SuitePlan, board: dict[str, Any], store: Store) -> list[Path]:
    """Write leaderboard.md, .csv and .json beside the store; returns the paths."""
    folder = store.folder
    paths = [folder / f"leaderboard.{suffix}" for suffix in ("md", "csv", "json")]
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, "hyperparameters": json.dumps(row["hyperparameters"])} for row in board["rows"])
    contents = (markdown(plan, board), lines.getvalue(), json.dumps(board, indent=1, allow_nan=False))
    for path, content in zip(paths, contents):
        write_whole(path, content)
    return paths
