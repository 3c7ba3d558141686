"""An entry of the leaderboard: what is stored of one optimizer on one problem of a suite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from bench.plan.plan import Pair, SuitePlan, Target
from bench.plan.winner import Winner
from bench.statistics.medians import seed_values
from bench.statistics.metric import Metric
from bench.store.store import Store, rows_of


@dataclass(frozen=True)
class Entry:
    """One optimizer on one problem.

    Attributes:
        score: the validation metric that chooses among trials.
        winner: of the tuning; None while a trial is missing.
        tuning, evaluation: member rows, failed ones left out; those of the evaluation sorted by seed.
        coverage: share of the planned members, tuning and evaluation, that are stored.
        values: metric -> its values over the evaluation seeds, in the order of `evaluation`. The first metric is the
            one that the table of the problem is ranked by.
        untrained: validation counterpart of the first metric at step 0, per evaluation seed where it is known.
    """

    problem: str
    optimizer: str
    score: str
    winner: Winner | None
    tuning: pl.DataFrame
    evaluation: pl.DataFrame
    coverage: float
    values: dict[str, list[float]]
    untrained: list[float]

    @property
    def complete(self) -> bool:
        """Whether every planned member is stored: only then is the entry compared with others, seed by seed."""
        return self.coverage == 1

    @property
    def members(self) -> pl.DataFrame:
        """All rows, tuning and evaluation."""
        return pl.concat([self.tuning, self.evaluation])

    @property
    def hyperparameters(self) -> dict[str, float] | None:
        return dict(self.winner.hyperparameters) if self.winner else None


def entries(plan: SuitePlan, store: Store) -> dict[str, list[Entry]]:
    """Problem -> one entry per optimizer, in the order of the suite."""
    members = store.members().filter(pl.col("status") != "failed")
    return {
        problem: [_entry(plan, pair, store, members) for pair in plan.pairs if pair.problem == problem]
        for problem in plan.problems
    }


def _entry(plan: SuitePlan, pair: Pair, store: Store, members: pl.DataFrame) -> Entry:
    tuning = rows_of(members, pair.tuning_ids)
    evaluation = rows_of(members, pair.evaluation_ids(members)).sort("seed")
    curves = store.curves(evaluation["member_id"].to_list())
    metrics = dict.fromkeys([pair.score.replace("val_", "test_"), "train_loss"])
    values = {metric: seed_values(evaluation, metric) for metric in metrics}
    if pair.target is not None:
        values["steps_to_target"] = _steps_to_target(evaluation, curves, pair.target)
    return Entry(
        problem=pair.problem,
        optimizer=pair.optimizer,
        score=pair.score,
        winner=pair.winner(members),
        tuning=tuning,
        evaluation=evaluation,
        coverage=(len(tuning) + len(evaluation)) / (len(pair.tuning_ids) + plan.evaluation_seeds),
        values=values,
        untrained=curves.filter(pl.col("step") == 0)[pair.score].drop_nulls().to_list(),
    )


def _steps_to_target(members: pl.DataFrame, curves: pl.DataFrame, target: Target) -> list[float]:
    """First evaluated step of each seed at which the target is reached; infinity if it never is."""
    value = pl.col(target.metric)
    reached = curves.filter(value >= target.value if Metric(target.metric).higher_is_better else value <= target.value)
    first = dict(reached.group_by("member_id").agg(pl.col("step").min()).iter_rows())
    return [float(first.get(member_id, math.inf)) for member_id in members["member_id"]]
