"""Which engine a cell runs under: `engine=auto` compiles where that saves more time than it takes.

Both are estimated from measurements: members stored in the results folder that had the same problem and optimizer, or
else the nearest row of `make speed` (results/reference/speed.json), scaled by the work of a step.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from bench.cost import step_cost
from bench.environment import ROOT
from bench.store import Store
from shb.training import ENGINES, why_not

if TYPE_CHECKING:
    from bench.cell import Cell

REFERENCE = ROOT / "results" / "reference" / "speed.json"


def settled_engine(requested: str, cell: Cell, results_dir: str) -> tuple[str, bool]:
    """The engine of `cell` as far as it is known before a run, and whether a run may still choose.

    Args:
        requested: "eager", "compiled" or "auto".
        cell: under the engine "eager".
        results_dir: the store. Under "auto" a cell keeps the engine of the members that are stored already, so that
            more seeds never mean that the first ones are computed again; without any, a run chooses.
    """
    if requested != "auto":
        return requested, False
    computed = _store(results_dir).computed()
    counts = {e: len(computed.intersection((cell if e == "eager" else cell.under(e)).ids)) for e in ENGINES}
    return max(counts, key=counts.__getitem__), not any(counts.values())


def predicted_engine(
    cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]] | None = None
) -> tuple[str, str]:
    """The engine that takes less time for `cell`, and why, in one line.

    Args:
        members: rows of a store; those of the same problem and optimizer count.
        reference: rows of a speed.json, for what `members` lack (default: the committed one).

    Where an engine was measured in neither, the cell runs eager.
    """
    reference = _reference() if reference is None else reference
    members = members.filter((pl.col("status") != "failed") & (pl.col("optimizer") == cell.optimizer.name))
    amount = len(cell.members) * cell.plan.steps
    rates = {engine: _rate(cell, engine, members, reference) for engine in ENGINES}
    compile_seconds = _compile_seconds(cell, members, reference)
    if not all(rates.values()) or compile_seconds is None:
        return "eager", "the other engine has not been measured"
    saving = amount / rates["eager"] - amount / rates["compiled"]
    words = f"compiling would save {saving:.1f} s and take {compile_seconds:.1f} s"
    if saving <= compile_seconds:
        return "eager", words
    reason = why_not()
    return (
        ("compiled", words.replace("would save", "saves").replace("take", "takes"))
        if reason is None
        else ("eager", f"{words}, but nothing can be compiled here ({reason})")
    )


@functools.lru_cache(maxsize=8)
def _store(folder: str) -> Store:
    return Store(folder)


@functools.cache
def _reference() -> Sequence[Mapping[str, Any]]:
    return json.loads(Path(REFERENCE).read_text())["rows"] if REFERENCE.exists() else ()


def kind(cell: Cell) -> str:
    """What decides how much compiling helps: "mlp", "cnn" or "closed form"."""
    if "model" not in cell.problem_spec:
        return "closed form"
    return "mlp" if cell.problem_spec["model"]["name"] == "mlp" else "cnn"


def _same(cell: Cell, members: pl.DataFrame, engine: str) -> pl.DataFrame:
    """Rows of `members` of the cell's problem under `engine`."""
    problem = json.dumps(cell.problem_spec, sort_keys=True)
    rows = members.filter(pl.col("engine") == engine)
    same = [json.dumps(json.loads(spec)["problem"], sort_keys=True) == problem for spec in rows["spec"]]
    return rows.filter(pl.Series(same, dtype=pl.Boolean))


def _nearest(cell: Cell, engine: str, reference: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    rows = [row for row in reference if row["engine"] == engine and row.get("kind") == kind(cell)]
    cost = step_cost(cell.problem())
    return min(rows, key=lambda row: abs(math.log(row["cost"] / cost)), default=None)


def _rate(cell: Cell, engine: str, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]]) -> float | None:
    """Member-steps per second, or None if nothing comparable was measured."""
    same = _same(cell, members, engine)["member_steps_per_second"].drop_nulls()
    if len(same):
        return float(same.median())
    row = _nearest(cell, engine, reference)
    return None if row is None else row["member_steps_per_second"] * row["cost"] / step_cost(cell.problem())


def _compile_seconds(cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds to compile one step: the longest that was seen, because the shorter ones came from the cache."""
    same = _same(cell, members, "compiled")["compile_seconds"].drop_nulls()
    if len(same):
        return float(same.max())
    row = _nearest(cell, "compiled", reference)
    return None if row is None else row["compile_seconds"]
