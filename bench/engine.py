"""How a cell runs: `engine=auto` takes the engine that is predicted to need the least time.

The compiled engine may also fuse the elementwise operations of a step: that takes seconds to compile and changes no
bit, so it is decided anew for every cell. Rates are measured: of members stored in the results folder that had the
same problem and optimizer, or else of the nearest row of `make speed` (results/reference/speed.json), scaled by the
work of a step.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
Mode = tuple[str, bool]  # engine, fused
MODES: tuple[Mode, ...] = (("eager", False), ("compiled", False), ("compiled", True))
MARGIN = 1.0  # seconds that something else than the first mode must save: less is not worth other last bits
TALK = 2.0  # seconds of predicted work from which a choice is worth a line


@dataclass(frozen=True)
class Choice:
    """How a cell runs, and why, in one line ("" if there is nothing to say)."""

    engine: str
    fused: bool = False
    why: str = ""


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


def fastest(cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]] | None = None) -> Choice:
    """How `cell` takes the least time: under its own engine, or under any if that is open.

    Args:
        members: rows of a store; those of the same problem and optimizer count.
        reference: rows of a speed.json, for what `members` lack (default: the committed one).

    Where not all ways were compared, the cell runs eager, or unfused under its engine.
    """
    modes = [mode for mode in MODES if cell.engine_open or mode[0] == cell.engine]
    if modes == [("eager", False)] or not _comparable(cell):
        return Choice(modes[0][0])
    reference = _reference() if reference is None else reference
    rate, compile_seconds = _measured(cell, members, reference)
    if not all(rate.values()) or compile_seconds is None:
        return Choice(modes[0][0], why="the engines have not been compared")
    amount = len(cell.members) * cell.plan.steps
    seconds = {mode: amount / rate[mode] for mode in MODES}
    total = {mode: seconds[mode] + MARGIN + (compile_seconds if mode[1] else 0.0) for mode in modes}
    total[modes[0]] -= MARGIN
    engine, fused = min(total, key=total.__getitem__)
    saving = min(seconds[mode] for mode in modes if not mode[1]) - seconds["compiled", True]
    words = ", ".join(f"{mode[0]} {seconds[mode]:.1f} s" for mode in modes if not mode[1])
    words += f"; fusing would save {saving:.1f} s and take {compile_seconds:.1f} s"
    if engine == "compiled" and (reason := why_not()) is not None:
        return Choice("eager", why=f"{words}, but nothing can be compiled here ({reason})")
    told = max(seconds.values()) > TALK and (len(modes) == len(MODES) or fused)  # not: as it was, nothing fused
    return Choice(engine, fused, words if told else "")


def _comparable(cell: Cell) -> bool:
    """What `make speed` measures: networks in float32, closed forms in float64."""
    return kind(cell) == "closed form" or cell.problem_spec["dtype"] == "float32"


@functools.lru_cache(maxsize=8)
def _store(folder: str) -> Store:
    return Store(folder)


@functools.cache
def _reference() -> Sequence[Mapping[str, Any]]:
    return json.loads(Path(REFERENCE).read_text())["rows"] if REFERENCE.exists() else ()


def kind(cell: Cell) -> str:
    """What decides how much an engine helps: "mlp", "cnn" or "closed form"."""
    if "model" not in cell.problem_spec:
        return "closed form"
    return "mlp" if cell.problem_spec["model"]["name"] == "mlp" else "cnn"


def _measured(
    cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]]
) -> tuple[dict[Mode, float | None], float | None]:
    """Member-steps per second of every mode, and seconds to compile; None for what cannot be said.

    A mode that these members lack is as much faster or slower than the others as in the nearest work of the
    reference, which was measured in one run. Of several times to compile the longest counts: the others came from
    the cache.
    """
    own = _of_problem(cell, members).with_columns(fused=pl.col("compile_seconds").fill_null(0.0) > 0)
    rate: dict[Mode, float | None] = {}
    for mode in MODES:
        chosen = own.filter((pl.col("engine") == mode[0]) & (pl.col("fused") == mode[1]))
        values = chosen["member_steps_per_second"].drop_nulls()
        rate[mode] = float(values.median()) if len(values) else None
    longest = own.filter(pl.col("fused"))["compile_seconds"].max()
    nearest = _nearest(cell, reference)
    if nearest:
        theirs = {mode: nearest[mode]["member_steps_per_second"] for mode in MODES}
        known = next((mode for mode in MODES if rate[mode]), None)
        scale = nearest["eager", False]["cost"] / step_cost(cell.problem())
        relative = rate[known] / theirs[known] if known else scale
        rate = {mode: rate[mode] or theirs[mode] * relative for mode in MODES}
        longest = longest or nearest["compiled", True]["compile_seconds"]
    return rate, longest


def _of_problem(cell: Cell, members: pl.DataFrame) -> pl.DataFrame:
    """Rows of `members` with the problem and the optimizer of the cell."""
    likely = members.filter(
        (pl.col("status") != "failed")
        & (pl.col("optimizer") == cell.optimizer.name)
        & (pl.col("problem") == cell.label)
    )
    problem = json.loads(json.dumps(cell.problem_spec))
    return likely.filter(pl.Series([json.loads(s)["problem"] == problem for s in likely["spec"]], dtype=pl.Boolean))


def _nearest(cell: Cell, reference: Sequence[Mapping[str, Any]]) -> Mapping[Mode, Mapping[str, Any]] | None:
    """The rows of the work of the same kind whose steps cost most nearly the same: mode -> row."""
    works: dict[str, dict[Mode, Mapping[str, Any]]] = {}
    for row in reference:
        if row.get("kind") == kind(cell):
            works.setdefault(row["work"], {})[row["engine"], row["fused"]] = row
    cost = step_cost(cell.problem())
    compared = [rows for rows in works.values() if set(rows) == set(MODES)]
    return min(compared, key=lambda rows: abs(math.log(rows["eager", False]["cost"] / cost)), default=None)
