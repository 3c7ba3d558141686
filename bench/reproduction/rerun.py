"""One member computed again, alone, and copies of it with small errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch

from bench.cell.cell import Cell
from bench.store.schema import CURVE_METRICS, METRICS
from shb.training import Stack, Trajectory

SCALE = 100  # errors of the copies, in eps: see `perturbed`


@dataclass(frozen=True)
class Run:
    """What a member left, as far as it is stored.

    `curve` maps "step" and CURVE_METRICS to lists (None: not evaluated).
    """

    status: str
    diverged_step: int | None
    metrics: Mapping[str, float | None]
    curve: Mapping[str, Sequence[float | None]]


def stored_run(row: Mapping[str, Any], curve: pl.DataFrame) -> Run:
    """From a member's row and its rows of `Store.curves`."""
    columns = curve.sort("step").select("step", *CURVE_METRICS).to_dict(as_series=False)
    return Run(row["status"], row["diverged_step"], {name: row[name] for name in METRICS}, columns)


def alone(cell: Cell) -> Run:
    """The first member of `cell`, in a stack of its own."""
    stack = Stack(cell.problem(), cell.optimizer, cell.members[:1], cell.plan, engine=cell.engine)
    return _run_of(stack.run()[0])


def perturbed(cell: Cell, copies: int) -> list[Run]:
    """The same member `copies` times, with small errors: after every evaluation but the last, each parameter is
    multiplied by 1 + SCALE eps or 1 - SCALE eps at random (eps: from 1 to the next number of the member's float type).

    Errors at the start alone would be too few: where a trajectory contracts they vanish, before it comes to where they
    matter. SCALE: what decides a trajectory (a pre-activation next to its kink) is rare, and found in proportion to the
    error. A few copies with errors of 100 eps show what thousands with the errors of rounding would, and where nothing
    amplifies them they are still small. Which copy gets which signs is fixed.
    """
    stack = Stack(cell.problem(), cell.optimizer, [cell.members[0]] * copies, cell.plan, engine=cell.engine)
    return [_run_of(trajectory) for trajectory in stack.run(checkpoint=_Rounding(stack.start()))]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` CPU threads, to which a member's bits are tied."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Rounding:
    """In the place of a checkpoint of `Stack.run`: starts from `state`, and adds errors where one is written."""

    def __init__(self, state: dict) -> None:
        self._state, self._generator = state, torch.Generator().manual_seed(0)

    def load(self) -> dict:
        return self._state

    def save_if_due(self, state: dict) -> None:
        for name, w in state["params"].items():
            signs = torch.randint(0, 2, w.shape, generator=self._generator) * 2 - 1
            state["params"][name] = w * (1 + SCALE * torch.finfo(w.dtype).eps * signs).to(w)


def _run_of(trajectory: Trajectory) -> Run:
    rows = len(trajectory.curve["step"])
    curve = {name: trajectory.curve.get(name, [None] * rows) for name in ("step", *CURVE_METRICS)}
    metrics = {name: trajectory.metrics.get(name) for name in METRICS}
    return Run(trajectory.status, trajectory.diverged_step, metrics, curve)
