"""Plans in the store: written by a run before it computes, and again for a pair when its winner is known.

A row is one trial or one evaluation of one pair, with the ids of its members. Rows are never changed: of a pair that
was planned twice (under another engine, by other code), the newest rows hold. What is planned already is not written
again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from bench.plan.plan import Pair, SuitePlan, Target, setting_key
from bench.store.environment import code_version
from bench.store.schema import PLAN_SCHEMA, SCHEMA_VERSION
from bench.store.store import Store, StoreWriteError
from bench.terminal.os_errors import said


def write_plan(store: Store, plan: SuitePlan, created: str | None = None) -> bool:
    """Store those pairs of the plan, which may have a part of the suite's only, that are not there as they are.

    Args:
        created: when it was planned; now by default.

    Returns whether there were any.

    Raises:
        StoreWriteError: the store could not be written.
    """
    known = _newest(store, plan.suite, plan.changes)
    pairs = {pair.position: pair for pair in known.pairs} if known and _header(known) == _header(plan) else {}
    now = created or datetime.now(UTC).isoformat(timespec="microseconds")
    new = [pair for pair in plan.pairs if not _holds(pairs.get(pair.position), pair)]
    rows = [row for pair in new for row in _rows(plan, pair, now)]
    if rows:
        try:
            store.write_frame("plans", pl.DataFrame(rows, schema=PLAN_SCHEMA))
        except OSError as error:
            raise StoreWriteError(said(error), error.errno) from error
    return bool(rows)


def stored_plan(
    store: Store,
    suite: str,
    changes: Sequence[str] = (),
    *,
    engine: str | None = None,
    device: str | None = None,
) -> SuitePlan | None:
    """The plan of the last run of a suite in this store; None if there is none, or a part of it is damaged.

    Args:
        changes: overrides that make it another suite than the one of its name, in any order.
        engine, device: only what was planned for these, if given.
    """
    plan = _newest(store, suite, changes, engine=engine, device=device)
    return plan if plan is not None and len(plan.pairs) == plan.count else None


def _newest(store: Store, suite: str, changes: Sequence[str], **asked: str | None) -> SuitePlan | None:
    rows = store.read("plans").filter(pl.col("suite") == suite)
    rows = rows.filter(pl.col("changes").list.sort().list.join("\n") == "\n".join(sorted(changes)))
    for name, value in asked.items():
        rows = rows if value is None else rows.filter(pl.col(name) == value)
    if rows.is_empty():
        return None
    rows = rows.sort("created", maintain_order=True)
    first = rows.row(-1, named=True)
    rows = rows.filter((pl.col("suite_version") == first["suite_version"]) & (pl.col("content") == first["content"]))
    pairs = [_pair(found.to_dicts()) for found in rows.partition_by("problem", "optimizer")]
    return SuitePlan(
        suite=suite,
        version=first["suite_version"],
        content=first["content"],
        changes=tuple(first["changes"]),
        **{name: first[name] for name in ("trials", "tuning_seeds", "evaluation_seeds", "count")},
        pairs=tuple(sorted(pairs, key=lambda pair: pair.position)),
    )


def _header(plan: SuitePlan) -> dict[str, Any]:
    return {
        "suite": plan.suite,
        "suite_version": plan.version,
        "content": plan.content,
        "trials": plan.trials,
        "tuning_seeds": plan.tuning_seeds,
        "evaluation_seeds": plan.evaluation_seeds,
        "count": plan.count,
    }


def _holds(stored: Pair | None, pair: Pair) -> bool:
    """Whether a stored pair is `pair`, with its evaluations and perhaps others."""
    if stored is None:
        return False
    shared = {key: ids for key, ids in stored.evaluations.items() if key in pair.evaluations}
    return _facts(stored) == _facts(pair) and shared == {key: list(ids) for key, ids in pair.evaluations.items()}


def _facts(pair: Pair) -> tuple:
    """Everything but the evaluations."""
    trials = {key: list(ids) for key, ids in pair.trials.items()}
    return pair.score, pair.target, pair.space, pair.engine, pair.device, pair.setting, trials


def _rows(plan: SuitePlan, pair: Pair, created: str) -> Iterable[dict[str, Any]]:
    """One row per trial and per evaluation; one without members for a pair that has neither yet."""
    commit, dirty = code_version()
    shared = {
        **_header(plan),
        "changes": list(plan.changes),
        "position": pair.position,
        "problem": pair.problem,
        "optimizer": pair.optimizer,
        "score": pair.score,
        "target_metric": pair.target.metric if pair.target else None,
        "target_value": pair.target.value if pair.target else None,
        "space": json.dumps(pair.space, sort_keys=False),
        "engine": pair.engine,
        "device": pair.device,
        "setting": None if pair.setting is None else setting_key(pair.setting),
        "tuning": _digest(pair),
        "code_commit": commit,
        "code_dirty": dirty,
        "created": created,
        "schema_version": SCHEMA_VERSION,
    }
    for trial, (key, ids) in enumerate(pair.trials.items()):
        yield {**shared, "phase": "tuning", "trial": trial, "hyperparameters": key, "member_ids": list(ids)}
    for key, ids in pair.evaluations.items():
        yield {**shared, "phase": "evaluation", "hyperparameters": key, "member_ids": list(ids)}
    if not pair.trials and not pair.evaluations:
        yield {**shared, "phase": "evaluation", "member_ids": []}


def _digest(pair: Pair) -> str:
    """Of the engine and the trials: evaluations are those of these, not of others that were planned before or after."""
    return hashlib.sha256("\n".join([pair.engine, *pair.tuning_ids]).encode()).hexdigest()[:16]


def _pair(rows: Sequence[dict[str, Any]]) -> Pair:
    """The pair that its rows, oldest first, describe."""
    last = rows[-1]
    rows = [row for row in rows if row["tuning"] == last["tuning"]]
    tuning = sorted((row for row in rows if row["phase"] == "tuning"), key=lambda row: row["trial"])
    target = None if last["target_metric"] is None else Target(last["target_metric"], last["target_value"])
    return Pair(
        problem=last["problem"],
        optimizer=last["optimizer"],
        score=last["score"],
        target=target,
        space=json.loads(last["space"]),
        engine=last["engine"],
        device=last["device"],
        position=last["position"],
        setting=None if last["setting"] is None else json.loads(last["setting"]),
        trials={row["hyperparameters"]: row["member_ids"] for row in tuning},
        evaluations={
            row["hyperparameters"]: row["member_ids"]
            for row in rows
            if row["phase"] == "evaluation" and row["hyperparameters"] is not None
        },
    )
