"""The winning setting of a pair: what its tuning has found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from bench.statistics.metric import Metric


@dataclass(frozen=True)
class Winner:
    """The setting that a pair is evaluated with.

    Attributes:
        hyperparameters: of every member of the evaluation.
        score: median over the tuning seeds; NaN for a given setting, which was not tuned.
        n_seeds: tuning seeds behind it.
    """

    hyperparameters: Mapping[str, float]
    score: float
    n_seeds: int


def winner(tuning: pl.DataFrame, score: str) -> Winner | None:
    """The winning setting.

    Args:
        tuning: member rows of every trial and tuning seed of one optimizer on one problem.
        score: column, an accuracy (higher is better) or a loss (lower is better). Ties go to the lower
            median of val_loss, then to the first in the order of the settings' text. A diverged seed counts
            as the worst score.

    Returns None if there are no rows.
    """
    if tuning.is_empty():
        return None
    sign = Metric(score).sign
    worst = pl.lit(float("inf"))
    ranked = (
        tuning.group_by("hyperparameters")
        .agg(
            (sign * pl.col(score)).fill_null(worst).fill_nan(worst).median().alias("objective"),
            pl.col("val_loss").fill_null(worst).fill_nan(worst).median().alias("tie_break"),
            pl.len().alias("n_seeds"),
        )
        .sort("objective", "tie_break", "hyperparameters")
    )
    row = ranked.row(0, named=True)
    return Winner(json.loads(row["hyperparameters"]), sign * row["objective"], row["n_seeds"])
