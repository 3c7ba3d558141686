"""How a cell runs: `engine=auto` takes the engine that is predicted to need the least time.

Rates are measured: of members stored in the results folder that had the same problem and optimizer, or else of the
nearest row of `make speed` (results/reference/speed.json), scaled by the work of a step. Compiling counts: on a CPU the
native operations are built once per machine, on a GPU every step is compiled. Where they are there, the least saving is
enough: the bits of native operations were the same on every processor tried, those of torch's are not.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from bench.cell.cost import step_cost
from bench.store.environment import ROOT
from bench.store.store import Store
from shb.kernels import built
from shb.training import ENGINES, why_not

if TYPE_CHECKING:
    from bench.cell.cell import Cell

REFERENCE = ROOT / "results" / "reference" / "speed.json"
MARGIN = 1.0  # seconds that must be saved beyond those to compile
MENTIONED_SECONDS = 2.0  # predicted for a cell, from which on its choice is worth a line


@dataclass(frozen=True)
class Choice:
    """How a cell runs, and why, in one line ("" if there is nothing to say)."""

    engine: str
    why: str = ""


def settle(cell: Cell, results_dir: str) -> Cell:
    """`cell`, if its engine is open, under that of its members that are stored; without any it stays open.

    So more seeds never mean that the first ones are computed again.

    Args:
        results_dir: the store; opened for a cell with an open engine only.
    """
    if not cell.engine_open:
        return cell
    computed = _store(results_dir).computed()
    counts = {e: len(computed.intersection((cell if e == cell.engine else cell.under(e)).ids)) for e in ENGINES}
    return cell.under(max(counts, key=counts.__getitem__)) if any(counts.values()) else cell


def fastest(cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]] | None = None) -> Choice:
    """The engine under which `cell` takes the least time: its own, or any if that is open.

    Args:
        members: rows of a store; those of the same problem and optimizer count.
        reference: rows of a speed.json, for what `members` lack (default: the committed one).

    Where the engines were not compared, the cell runs under its own.
    """
    if not cell.engine_open or not _comparable(cell):
        return Choice(cell.engine)
    predicted = _predicted(cell, members, reference)
    if predicted is None:
        return Choice(cell.engine, "the engines have not been compared")
    seconds, compile_seconds = predicted
    saving = seconds["eager"] - seconds["compiled"]
    engine = "compiled" if saving > (MARGIN + compile_seconds if compile_seconds else 0.0) else "eager"
    words = ", ".join(f"{name} {seconds[name]:.1f} s" for name in ENGINES)
    words += f", {compile_seconds:.1f} s to compile" if compile_seconds else ""
    if engine == "compiled" and (reason := why_not()) is not None:
        return Choice("eager", f"{words}, but nothing can be compiled here ({reason})")
    return Choice(engine, words if max(seconds.values()) > MENTIONED_SECONDS else "")


def build_for(cells: Iterable[Cell], members: pl.DataFrame, say: Callable[[str], None]) -> None:
    """Build the native operations, if these cells together are predicted to save more time than that takes.

    Each cell alone might not; and workers that start together would all build them.
    """
    cells = [cell for cell in cells if cell.problem_spec["device"] == "cpu"]
    if built() or not cells:
        return
    saved, build_seconds = 0.0, math.inf
    for cell in cells:
        predicted = _predicted(cell, members) if cell.engine_open and _comparable(cell) else None
        if predicted is not None:
            seconds, build_seconds = predicted
            saved += max(0.0, seconds["eager"] - seconds["compiled"])
    if saved > MARGIN + build_seconds or any(cell.engine == "compiled" for cell in cells):
        say("building the native operations of the compiled engine, once for this machine")
        started = time.monotonic()
        reason = why_not()
        say(f"built in {time.monotonic() - started:.0f} s" if reason is None else f"nothing can be compiled ({reason})")


def _predicted(
    cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]] | None = None
) -> tuple[dict[str, float], float] | None:
    """Seconds of `cell` under every engine, and those to compile here; None where nothing was compared."""
    on_gpu = cell.problem_spec["device"] != "cpu"
    rate, compile_seconds = _measured(cell, members, _reference(on_gpu) if reference is None else reference)
    known = {name: per_second for name, per_second in rate.items() if per_second}
    if len(known) < len(rate) or compile_seconds is None:
        return None
    amount = len(cell.members) * cell.plan.steps
    return {name: amount / known[name] for name in ENGINES}, compile_seconds if on_gpu or not built() else 0.0


def _comparable(cell: Cell) -> bool:
    """What `make speed` measures: networks in float32, closed forms in float64."""
    return kind(cell) == "closed form" or cell.problem_spec["dtype"] == "float32"


@functools.lru_cache(maxsize=8)
def _store(folder: str) -> Store:
    return Store(folder)


@functools.cache
def _reference(on_gpu: bool) -> Sequence[Mapping[str, Any]]:
    """Rows of the committed measurement, if it was made on such a device."""
    document: dict[str, Any] = json.loads(Path(REFERENCE).read_text()) if REFERENCE.exists() else {"rows": ()}
    return document["rows"] if on_gpu == (document.get("machine", {}).get("gpu") is not None) else ()


def kind(cell: Cell) -> str:
    """What decides how much an engine helps: "mlp", "cnn" or "closed form"."""
    if "model" not in cell.problem_spec:
        return "closed form"
    return "mlp" if cell.problem_spec["model"]["name"] == "mlp" else "cnn"


def _measured(
    cell: Cell, members: pl.DataFrame, reference: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, float | None], float | None]:
    """Member-steps per second of every engine, and seconds to compile; None for what cannot be said.

    An engine that these members lack is as much faster or slower than the other as in the nearest work of the
    reference, which was measured in one run.
    """
    comparable = _of_problem(cell, members)
    rate: dict[str, float | None] = {}
    for name in ENGINES:
        rate[name] = comparable.filter(pl.col("engine") == name).select(pl.median("member_steps_per_second")).item()
    nearest = _nearest(cell, reference)
    if nearest is None:
        return rate, None
    theirs = {name: nearest[name]["member_steps_per_second"] for name in ENGINES}
    known = next((name for name in ENGINES if rate[name]), None)
    relative = rate[known] / theirs[known] if known else nearest["eager"]["cost"] / step_cost(cell.problem_spec)
    return {name: rate[name] or theirs[name] * relative for name in ENGINES}, nearest["compiled"]["compile_seconds"]


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
    cost = step_cost(cell.problem_spec)
    compared = [rows for rows in works.values() if set(rows) == set(ENGINES)]
    return min(compared, key=lambda rows: abs(math.log(rows["eager"]["cost"] / cost)), default=None)
