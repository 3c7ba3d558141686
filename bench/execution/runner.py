"""Compute what a cell lacks, chunk by chunk, into the store; one failed cell does not stop the others."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell.cell import Cell
from bench.cell.cost import step_cost
from bench.execution.engine import Choice, fastest
from bench.execution.record import computed_rows, failed_rows
from bench.store.store import Store, StoreWriteError
from bench.terminal.os_errors import said
from bench.terminal.progress import Reporter
from shb.errors import ConfigurationError
from shb.training import Checkpoint, CheckpointError, CompilationError, Member, run_chunked, seconds_spent


@dataclass(frozen=True)
class Failure:
    """A cell that could not be computed: its name, the error in one line, where it was raised."""

    cell: str
    error: str
    trace: str


def missing(cell: Cell, store: Store) -> list[int]:
    """Indices of the members that the store lacks."""
    computed = store.computed()
    return [index for index, member_id in enumerate(cell.ids) if member_id not in computed]


def work(cell: Cell, members: int) -> float:
    """Work of `members` members of a cell, in floating-point operations; 0 if its network cannot be built.

    A cell that cannot be built fails when its turn comes, where the failure is recorded.
    """
    try:
        return members * cell.plan.steps * step_cost(cell.problem_spec)
    except Exception:
        return 0.0


def run_cell(
    cell: Cell,
    store: Store,
    reporter: Reporter,
    memory: float | None = None,
    planned: Callable[[Cell], None] | None = None,
) -> tuple[Cell, Failure | None]:
    """Compute the members that the store lacks; the failure, if there was one, is also in the store.

    With engine=auto the engine is chosen here, if nothing is stored. A step that cannot be compiled runs eager, with a
    warning. The cell that is returned has the identities under which the members are stored.

    Args:
        memory: GiB that a stack may use; None for the default of the device.
        planned: called with the cell whose identities will be stored, before it is computed.
    """
    if not missing(cell, store):
        return cell, None
    choice = _choice(cell, store)
    if choice.why:
        reporter.line(f"  {cell.label:<20} {cell.optimizer.name:<9} engine {choice.engine}: {choice.why}")
    cell = cell.under(choice.engine)
    try:
        if planned is not None:
            planned(cell)
        return cell, _run(cell, store, reporter, memory)
    except CompilationError as error:
        reporter.line(f"warning: {cell.name} runs eager, because it could not be compiled ({error})")
        cell = cell.under("eager")
        if planned is not None:
            planned(cell)
        return cell, _run(cell, store, reporter, memory)


def _choice(cell: Cell, store: Store) -> Choice:
    try:
        return fastest(cell, store.members())
    except Exception:  # a problem that cannot be built fails when it runs, where that is recorded
        return Choice(cell.engine)


def _run(cell: Cell, store: Store, reporter: Reporter, memory: float | None) -> Failure | None:
    indices = missing(cell, store)
    if not indices:
        return None
    reporter.describe(cell.name)
    started = clock = time.monotonic()
    compiling = seconds_spent()
    finished = member_steps = 0
    current: list[Checkpoint] = []  # of the running stack

    def checkpoint(members: Sequence[Member]) -> Checkpoint:
        current[:] = [_checkpoint(cell, store, members)]
        return current[0]

    try:
        cost = step_cost(cell.problem_spec)
        budget = None if memory is None else int(memory * 2**30)
        chunks = run_chunked(
            cell.problem(),
            cell.optimizer,
            [cell.members[i] for i in indices],
            cell.plan,
            engine=cell.engine,
            budget=budget,
            progress=lambda steps: reporter.work(steps * cost),
            checkpoint=checkpoint,
        )
        for trajectories in chunks:
            chunk = indices[finished : finished + len(trajectories)]
            steps = cell.plan.steps - current[0].resumed_at  # what this process did of them
            seconds, compile_seconds = time.monotonic() - clock, seconds_spent() - compiling
            _write(store, *computed_rows(cell, chunk, trajectories, steps, seconds, compile_seconds))
            current[0].remove()
            member_steps += len(chunk) * steps
            finished += len(chunk)
            reporter.members(len(chunk))
            clock, compiling = time.monotonic(), seconds_spent()
    except (StoreWriteError, CompilationError, ConfigurationError):  # the last: found before any compute
        raise
    except CheckpointError as error:  # no fault of the cell: the disk is full, or the folder has gone
        raise _not_written(error) from error
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        _write(store, failed_rows(cell, indices[finished:], text), [])
        reporter.members(len(indices) - finished)
        return Failure(cell.name, text, traceback.format_exc())
    seconds = time.monotonic() - started
    rate = member_steps / seconds
    reporter.line(
        f"  {cell.label:<20} {cell.optimizer.name:<9} {len(indices):>4} members x {cell.plan.steps} steps"
        f"  {seconds:6.1f} s  {rate:9,.0f} member-steps/s"
    )
    return None


def _checkpoint(cell: Cell, store: Store, members: Sequence[Member]) -> Checkpoint:
    """Where a stack of exactly these members keeps its state between kills."""
    position = {id(member): cell.ids[i] for i, member in enumerate(cell.members)}
    identity = hashlib.sha256("".join(position[id(m)] for m in members).encode()).hexdigest()[:32]
    path = Path(store.folder) / "checkpoints" / f"{identity}.safetensors"
    return Checkpoint(path, identity, device=cell.problem_spec["device"])


def _write(store: Store, members: list[dict], curves: list[dict]) -> None:
    try:
        store.write(members, curves)
    except OSError as error:
        raise _not_written(error) from error


def _not_written(error: OSError) -> StoreWriteError:
    return StoreWriteError(said(error), error.errno)
