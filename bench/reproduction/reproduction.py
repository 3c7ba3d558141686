"""Stored members computed again, each compared with its row and its curve."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from rich.console import Console

from bench.cell.bounds import MOST_THREADS
from bench.cell.cell import NUMERICS, Cell
from bench.cell.cost import Cost, cell_cost
from bench.cell.rebuild import Unavailable, spec_cell
from bench.execution.record import described
from bench.reproduction.rerun import Run, alone, perturbed, stored_run, threads
from bench.reproduction.tolerance import COPIES, Agreement, Rounding, agreement
from bench.store.content_hash import number_bits
from bench.store.environment import TIED_TO, environment
from bench.store.schema import CURVE_METRICS, METRICS
from bench.terminal.tables import print_table
from shb.datasets import DATASETS
from shb.errors import ConfigurationError, shown
from shb.memory import usable_memory
from shb.training import why_not

REFERENCE = "results/reference"
LIMIT = 300.0  # predicted seconds that a member may take
MEMORY = 4.0  # GiB that it may need
PASSED = ("bits", "rounding", "chaotic")


@dataclass(frozen=True)
class Reproduction:
    """What became of a member: `agreement` is None where it could not be checked, for the `reason`.

    `exact`: every bit had to agree. `broken`: it could not be checked because running it failed, which is an error of
    this machine or of this code and says nothing about the member. `seconds` is the wall time of the check.
    """

    member_id: str
    name: str
    exact: bool
    agreement: Agreement | None
    reason: str
    seconds: float
    broken: bool = False

    @property
    def result(self) -> str:
        return self.agreement.result if self.agreement else "not checked"


def reproduce(
    row: Mapping[str, Any], curve: pl.DataFrame, *, data_root: str | None = None, limit: float = LIMIT
) -> Reproduction:
    """Compute the member of `row` (MEMBER_SCHEMA) again and compare it with the row and its `curve` (CURVE_SCHEMA).

    Nothing in the row is trusted. A row or a spec that no code of this project could have written is "different".
    """
    started = time.monotonic()
    member_id = row["member_id"] if re.fullmatch("[0-9a-f]{16}", str(row["member_id"])) else shown(row["member_id"])
    done = Reproduction(member_id, "", False, None, "", 0.0)
    try:
        if (row["schema_version"] or 0) < 2:
            raise Unavailable("stored under an older schema, whose specs have other fields: another identity now")
        cell = spec_cell(str(row["spec"]), data_root)
        done = replace(done, name=f"{cell.name} seed {cell.members[0].seed}")
        _check_row(row, cell)
        done = _compare(done, row, curve, cell, limit)
    except ConfigurationError as error:
        done = replace(done, agreement=Agreement("different", None, reason=str(error)))
    except Unavailable as error:
        done = replace(done, reason=str(error))
    except Exception as error:  # of whatever runs a member: the others of a sample are checked all the same
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        done = replace(done, agreement=None, reason=f"it could not be run here: {text}", broken=True)
    return replace(done, seconds=time.monotonic() - started)


def _check_row(row: Mapping[str, Any], cell: Cell) -> None:
    """The id is the hash of the spec, and the other columns are what the spec says."""
    if row["status"] == "failed":
        raise Unavailable("failed when it was computed: there is no result to compare with")
    for column, value in described(cell, 0).items():
        if row[column] != value:
            raise ConfigurationError(column, shown(row[column]), f"{value}, as the spec says")
    if not isinstance(row["threads"], int) or not 1 <= row["threads"] <= MOST_THREADS:
        raise ConfigurationError("threads", row["threads"], f"1 .. {MOST_THREADS}")


def _compare(done: Reproduction, row: Mapping[str, Any], curve: pl.DataFrame, cell: Cell, limit: float) -> Reproduction:
    stored = stored_run(row, curve)
    _check_curve(stored, cell)
    numerics = cell.specs[0]["numerics"]
    notes = []
    if cell.engine == "compiled" and (reason := why_not()) is not None:
        notes.append(f"runs eager: nothing can be compiled here ({reason})")
        cell = cell.under("eager")
    elif numerics < NUMERICS[cell.engine]:
        notes.append(f"numerics {numerics}, this code has {NUMERICS[cell.engine]}: other last bits")
    if reason := _too_expensive(cell_cost(cell, max(2, row["threads"])), limit):
        raise Unavailable(reason)
    with threads(row["threads"]):
        here = environment(cell.problem_spec["device"])
        other = [name for name in TIED_TO if here[name] != row[name]]
        again = _again(cell)
        exact = not other and not notes and cell.problem_spec["device"] == "cpu"
        done = replace(done, exact=exact)
        if same_bits(stored, again):
            return replace(done, agreement=Agreement("bits", cell.plan.steps, reason="; ".join(notes)))
        compared = agreement(stored, again, _rounding(cell), (lambda: []) if exact else _copies(cell, limit))
    if exact:
        size = "within rounding" if compared.result == "rounding" else "beyond rounding"
        reason = f"other bits ({size}) on the same CPU type, thread count and torch version"
        compared = replace(compared, result="different", reason=reason)
    return replace(done, agreement=replace(compared, reason="; ".join(filter(None, [compared.reason, *notes]))))


def _again(cell: Cell) -> Run:
    """The member computed. What goes wrong here is no fault of the row: a refusal is an error like any other."""
    try:
        return alone(cell)
    except ConfigurationError as error:
        raise RuntimeError(str(error)) from error


def _copies(cell: Cell, limit: float) -> Callable[[], Sequence[Run]]:
    """COPIES copies with small errors, or none where they are too expensive: each may take as long as the member."""

    def compute() -> Sequence[Run]:
        return [] if _too_expensive(cell_cost(cell, COPIES), limit * COPIES) else perturbed(cell, COPIES)

    return compute


def _too_expensive(cost: Cost, limit: float) -> str:
    """Why it is not computed; "" if it may be."""
    if cost.seconds > limit:
        return f"predicted to take {cost.seconds:.3g} s, limit={limit:g}: a larger limit= allows it"
    free = usable_memory()
    most = MEMORY if free is None else min(MEMORY, free / 2**30)
    return f"predicted to need {cost.gibibytes:.3g} GiB, more than {most:.3g}" if cost.gibibytes > most else ""


def _check_curve(stored: Run, cell: Cell) -> None:
    """The rows that the plan evaluates, and in the last one the metrics of the member."""
    if stored.status not in ("done", "diverged"):
        raise ConfigurationError("status", shown(stored.status), "done, diverged or failed")
    if stored.status == "diverged" and not 0 <= (stored.diverged_step or 0) <= cell.plan.steps:
        raise ConfigurationError("diverged_step", stored.diverged_step, f"0 .. {cell.plan.steps}")
    last = cell.plan.steps if stored.status == "done" else stored.diverged_step or 0
    steps = [k for k in sorted({0, *cell.plan.evaluate_at, cell.plan.steps}) if k <= last]
    if list(stored.curve["step"]) != steps:
        raise ConfigurationError("curve", f"{len(stored.curve['step'])} rows", f"{len(steps)}: steps 0 .. {steps[-1]}")
    for name in METRICS:
        final = stored.curve[name][-1] if stored.status == "done" else None
        if number_bits(final) != number_bits(stored.metrics[name]):
            raise ConfigurationError(name, stored.metrics[name], f"{final}, the last value of the curve")


def _rounding(cell: Cell) -> Rounding:
    facts = DATASETS.get(cell.problem_spec.get("dataset", ""))
    parts = {"train": facts.train_size, "val": facts.validation_size, "test": facts.test_size} if facts else {}
    return Rounding(cell.problem_spec["dtype"], parts)


def same_bits(one: Run, other: Run) -> bool:
    """Status, step of divergence, every metric and every row of the curve."""

    def bits(run: Run) -> list:
        numbers = [run.metrics[name] for name in METRICS] + [v for name in CURVE_METRICS for v in run.curve[name]]
        return [run.status, run.diverged_step, list(run.curve["step"]), *map(number_bits, numbers)]

    return bits(one) == bits(other)


def print_reproductions(title: str, done: Sequence[Reproduction], console: Console) -> None:
    """One line per member, and the reasons below."""
    names = ["member", "problem, optimizer, seed", "required", "result", "difference", "up to step", "s"]
    lines = []
    for one in done:
        compared = one.agreement or Agreement("", None)
        step = "-" if compared.step is None else str(compared.step)
        far = f"{compared.metric} {compared.distance:.2g}" if compared.metric else "0" if one.result == "bits" else "-"
        must = "-" if one.agreement is None else "bits" if one.exact else "tolerance"
        lines.append([one.member_id, one.name or "-", must, one.result, far, step, f"{one.seconds:.1f}"])
    print_table(console, title, names, lines, text=5)
    for one in done:
        reason = one.reason or (one.agreement.reason if one.agreement else "")
        if reason:
            console.print(f"{one.member_id} {one.result}: {reason}", markup=False, highlight=False)
