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
        requested: "eager", "auto", or "compiled", which is eager where nothing can be compiled.
        cell: under the engine "eager".
        results_dir: the store. Under "auto" a cell keeps the engine of the members that are stored already, so that
            more seeds never mean that the first ones are computed again; without any, a run chooses.
    """
    if requested != "auto":
        return requested if requested == "eager" or why_not() is None else "eager", False
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
    amount = len(cell.members) * cell.plan.steps
    eager, compiled, compile_seconds = _measured(cell, members, reference)
    if not (eager and compiled and compile_seconds is not None):
        return "eager", "the engines have not been compared"
    saving = amount / eager - amount / compiled
    words = f"compiling would save {saving:.1f} s and take {compile_seconds:.1f} s"
    reason = why_not() if saving > compile_seconds else None
    if reason is not None:
        words += f", but nothing can be compiled here ({reason})"
    return "compiled" if saving > compile_seconds and reason is None else "eager", words


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


def _measured(
    cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None, float | None]:
    """Member-steps per second eager and compiled, and seconds to compile; None for what cannot be said.

    An engine that these members lack is as much faster or slower than the other as in the nearest work of the
    reference, which was measured in one run. Of several times to compile the longest counts: the others came from
    the cache.
    """
    own = _of_problem(cell, members)
    rate = {}
    for engine in ENGINES:
        values = own.filter(pl.col("engine") == engine)["member_steps_per_second"].drop_nulls()
        rate[engine] = float(values.median()) if len(values) else None
    seconds = own.filter(pl.col("engine") == "compiled")["compile_seconds"].drop_nulls()
    nearest = _nearest(cell, reference)
    if nearest:
        relative = nearest["compiled"]["member_steps_per_second"] / nearest["eager"]["member_steps_per_second"]
        scale = nearest["eager"]["cost"] / step_cost(cell.problem())
        rate["eager"] = (
            rate["eager"] or (rate["compiled"] or 0) / relative or (nearest["eager"]["member_steps_per_second"] * scale)
        )
        rate["compiled"] = rate["compiled"] or rate["eager"] * relative
    longest = float(seconds.max()) if len(seconds) else nearest and nearest["compiled"]["compile_seconds"]
    return rate["eager"], rate["compiled"], longest


def _of_problem(cell: Cell, members: pl.DataFrame) -> pl.DataFrame:
    """Rows of `members` with the problem and the optimizer of the cell."""
    likely = members.filter(
        (pl.col("status") != "failed")
        & (pl.col("optimizer") == cell.optimizer.name)
        & (pl.col("problem") == cell.label)
    )
    problem = json.loads(json.dumps(cell.problem_spec))
    return likely.filter(pl.Series([json.loads(s)["problem"] == problem for s in likely["spec"]], dtype=pl.Boolean))


def _nearest(cell: Cell, reference: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]] | None:
    """The rows of the work of the same kind whose steps cost most nearly the same: engine -> row."""
    works: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in reference:
        if row.get("kind") == kind(cell):
            works.setdefault(row["work"], {})[row["engine"]] = row
    cost = step_cost(cell.problem())
    compared = [rows for rows in works.values() if set(rows) == set(ENGINES)]
    return min(compared, key=lambda rows: abs(math.log(rows["eager"]["cost"] / cost)), default=None)
