"""What a suite has, lacks, diverged and failed: rows of problem, optimizer and phase."""

from __future__ import annotations

import polars as pl

from bench.store.store import Store
from bench.suite.suite import Suite


def status_rows(suite: Suite, store: Store) -> list[dict]:
    """Per problem, optimizer and phase: planned, done, diverged, failed, missing, and the errors.

    The evaluation phase of a pair is planned with the suite's number of seeds before its setting is known. A suite with
    given settings has no tuning phase.
    """
    members = store.members()
    rows = []
    for problem, optimizer in suite.pairs():
        evaluation = suite.evaluation(problem, optimizer, members)
        for phase in ("evaluation",) if suite.settings else ("tuning", "evaluation"):
            if phase == "tuning":
                ids = suite.tuning_cell(problem, optimizer).ids
            else:
                ids = evaluation.ids if evaluation else ()
            own = members.filter(pl.col("member_id").is_in(list(ids)))
            counts = {status: (own["status"] == status).sum() for status in ("done", "diverged", "failed")}
            planned = len(ids) or suite.evaluation_seeds
            rows.append(
                {
                    "problem": problem,
                    "optimizer": optimizer,
                    "phase": phase,
                    "planned": planned,
                    **counts,
                    "missing": planned - counts["done"] - counts["diverged"],
                    "errors": sorted(own["error"].drop_nulls().unique()),
                }
            )
    return rows
