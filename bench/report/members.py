"""The table of members as the page carries it: who each is, what it gave, and what reproduces it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import polars as pl

from bench.report.columns import column, rounded
from bench.store.identity import canonical
from bench.store.schema import METRICS

MOST = 60_000  # members that a page lists
ENVIRONMENT = ("code_commit", "code_dirty", "python", "torch", "platform", "cpu", "device_name", "threads")
STACK = ("stack_members", "stack_seconds", "compile_seconds", "member_steps_per_second", "created")
PLAIN = ("problem", "optimizer", "phase", "seed", "status", "diverged_step", "error")
HYPERPARAMETERS, SEED = "@hyperparameters", "@seed"  # where a spec's own values stand in its template
_KEPT_FIRST = {"evaluation": 0, "tuning": 1, "other": 2}


def listed(members: pl.DataFrame, most: int = MOST) -> pl.DataFrame:
    """At most `most` rows in the order problem, optimizer, phase, setting, seed.

    Where there are more, failed and diverged members and those of the evaluation stay; then tuning, then other.
    """
    if len(members) > most:
        first = pl.when(pl.col("status") == "done").then(pl.col("phase").replace_strict(_KEPT_FIRST)).otherwise(-1)
        members = members.sort(first, "member_id").head(most)
    return members.sort("problem", "optimizer", "phase", "hyperparameters", "seed", "member_id")


def reproduce_command(member_id: str, folder: Path) -> str:
    """The command that computes a member again and compares."""
    return f"python -m bench.reproduce {member_id} results_dir={shlex.quote(str(folder))}"


def split_spec(text: str) -> tuple[str, str]:
    """A spec as (template, hyperparameters): `fill` with the seed gives back the text.

    A text that cannot be so split is its own template, with "" for the hyperparameters.
    """
    spec = json.loads(text)
    if {"hyperparameters", "seed"} <= set(spec):
        own = canonical(spec["hyperparameters"])
        template = canonical({**spec, "hyperparameters": HYPERPARAMETERS, "seed": SEED})
        if fill(template, own, spec["seed"]) == text:
            return template, own
    return text, ""


def fill(template: str, hyperparameters: str, seed: int) -> str:
    """The spec that `split_spec` took apart."""
    if not hyperparameters:
        return template
    return template.replace(f'"{HYPERPARAMETERS}"', hyperparameters, 1).replace(f'"{SEED}"', str(seed), 1)


def member_payload(members: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Columns of `members` (with `phase`), as `bench.report.columns.column` has them; read by static/members.js.

    `environment` and `stack` are JSON lists of the columns ENVIRONMENT, STACK.
    """
    specs = [split_spec(text) for text in members["spec"]]
    metrics = [name for name in METRICS if members[name].is_not_null().any()]
    return {
        "columns": {
            "member_id": column(members["member_id"].to_list()),
            **{name: column(members[name].to_list()) for name in PLAIN},
            "hyperparameters": column([own for _, own in specs]),
            **{name: column(rounded(members[name].to_list())) for name in metrics},
            "template": column([template for template, _ in specs]),
            "environment": column(_records(members, ENVIRONMENT)),
            "stack": column(_records(members, STACK)),
        },
        "metrics": metrics,
        "environment": ENVIRONMENT,
        "stack": STACK,
        "command": reproduce_command("@id", folder),
        "hyperparameters": HYPERPARAMETERS,
        "seed": SEED,
    }


def _records(members: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    rows = members.select(names).iter_rows()
    return [json.dumps([f"{v:.6g}" if isinstance(v, float) else v for v in row]) for row in rows]
