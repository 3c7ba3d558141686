"""What a suite has, lacks, diverged and failed, counted in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bench.plan.plan import SuitePlan
from bench.store.store import Store, rows_of


@dataclass(frozen=True)
class Coverage:
    """Members of one phase of a pair.

    Attributes:
        phase: "tuning" or "evaluation".
        planned: the suite's number of seeds for an evaluation, also before its setting is known.
        done, diverged, failed: stored ones.
        errors: different ones of those that failed, sorted.
    """

    problem: str
    optimizer: str
    phase: str
    planned: int
    done: int
    diverged: int
    failed: int
    errors: tuple[str, ...]

    @property
    def stored(self) -> int:
        """Those that need not be computed."""
        return self.done + self.diverged

    @property
    def missing(self) -> int:
        """Those that a run computes; failed ones are tried again."""
        return self.planned - self.stored


def coverage(plan: SuitePlan, store: Store) -> list[Coverage]:
    """Every phase of every pair, in their order. A suite with given settings has no tuning phase."""
    members = store.members()
    found = []
    for pair in plan.pairs:
        names = pair.problem, pair.optimizer
        if plan.tunes:
            found.append(_counted(members, pair.tuning_ids, (*names, "tuning"), len(pair.tuning_ids)))
        found.append(_counted(members, pair.evaluation_ids(members), (*names, "evaluation"), plan.evaluation_seeds))
    return found


def _counted(members: pl.DataFrame, ids: Sequence[str], place: tuple[str, str, str], planned: int) -> Coverage:
    found = rows_of(members, ids)
    done, diverged, failed = (int((found["status"] == status).sum()) for status in ("done", "diverged", "failed"))
    return Coverage(*place, planned, done, diverged, failed, tuple(sorted(found["error"].drop_nulls().unique())))
