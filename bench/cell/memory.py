"""Memory is asked for before it is spent: what a request needs, beside what this process may take (shb/memory.py).

The needs were measured, and are of the order of what is refused: a request that is a little too large still fails when
it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bench.cell.bounds import LARGEST
from bench.cell.cost import held_bytes
from shb.errors import ConfigurationError
from shb.folders import notice
from shb.memory import usable_memory
from shb.training import minimal_width

if TYPE_CHECKING:
    from bench.cell.cell import Cell

GIB = 2**30
MEMBER_BYTES = 6000  # of a member: setting, spec and identity (868 to 3,142 measured), and its row in a store's table
CURVE_BYTES = 300  # of a row of its curve there
CHUNK = 50_000  # members, at most, whose rows wait to be written: of a closed form
WAITING_BYTES = 8000, 800  # of a member, and of a row of its curve, until then
MANY = 100_000  # members from which on their listing takes so long that it is announced
PROCESS_BYTES = 400 << 20  # of a worker process before it computes


def check_members(seeds: int, settings: int, evaluations: int = 0, field: str = "seeds") -> None:
    """Raise a ConfigurationError if so many members, with their results, have no room: before they are listed.

    Args:
        evaluations: of each; 0 if that is not known yet.
        field: what the user asks for `seeds` with.
    """
    free, members = usable_memory(), seeds * settings
    needed = members * (MEMBER_BYTES + evaluations * CURVE_BYTES)
    needed += min(members, CHUNK) * (WAITING_BYTES[0] + evaluations * WAITING_BYTES[1])
    evaluated = f" with {evaluations} evaluations" if evaluations else ""
    takes = f"{members:,} members{evaluated} take about {_gib(needed)} of memory"
    if free is not None and needed > free:
        allowed = f"at most about {max(1, seeds * free // needed)}: {takes}, {_free(free)}"
        raise ConfigurationError(field, seeds, allowed)
    if members > MANY and evaluations:
        notice(f"listing the members, about a minute for each million: {takes}")


def check_memory(cells: Sequence[Cell], memory: float | None = None, field: str = "seeds") -> None:
    """Raise a ConfigurationError if no stack of one of `cells` has room, or the results of all of them have none.

    Args:
        cells: run one after the other; their rows are read together.
        memory: GiB that the user gives a stack, or None.
        field: what the user asked for them with.
    """
    free = usable_memory()
    if free is None:
        return
    for cell in cells:
        _check_budget(cell, memory, free)
        needed = minimal_width() * (held_bytes(cell.problem_spec) if cell.problem_spec["device"] == "cpu" else 0)
        if needed > free:
            what = f"{minimal_width()} members of {cell.name} take about {_gib(needed)} of memory, {_free(free)}"
            raise ConfigurationError("model", cell.problem_spec["model"]["name"], f"a smaller one: {what}")
    evaluations = max((len(cell.plan.evaluate_at) for cell in cells), default=0)
    check_members(sum(len(cell.ids) for cell in cells), 1, evaluations, field)


def _check_budget(cell: Cell, memory: float | None, free: int) -> None:
    if memory is None:
        return
    if cell.problem_spec["device"] == "cuda":
        free = torch.cuda.mem_get_info()[0]
    if memory * GIB > free:
        raise ConfigurationError("memory", memory, f"at most {free / GIB:.2g}: {_free(free)}")


def check_workers(workers: int) -> None:
    """Raise a ConfigurationError if that many processes have no room."""
    most = room_for_workers()
    if workers > most:
        what = f"a process takes about {_gib(PROCESS_BYTES)} of memory, {_free(usable_memory() or 0)}"
        raise ConfigurationError("workers", workers, f"at most {most}: {what}")


def room_for_workers() -> int:
    """Worker processes that have room, at least 1."""
    free = usable_memory()
    return LARGEST if free is None else max(1, free // PROCESS_BYTES)


def check_bytes(field: str, value: object, needed: float, what: str) -> None:
    """Raise a ConfigurationError if `what` takes `needed` bytes and there are fewer."""
    free = usable_memory()
    if free is not None and needed > free:
        allowed = f"less: {what} take about {_gib(needed)} of memory, {_free(free)}"
        raise ConfigurationError(field, value, allowed)


def _gib(needed: float) -> str:
    return f"{needed / GIB:,.1f} GiB"


def _free(free: int) -> str:
    return f"{_gib(free)} are free"
