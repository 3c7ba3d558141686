"""Equal-budget tuning: the same number of trials for every optimizer, scored on the validation part.

Trials are scrambled Sobol points in the optimizer's search space (conf/optimizer/*.yaml, `space`):
    log            log-uniform between low and high
    one_minus_log  1 - value log-uniform, for momenta
    linear         uniform
Their seeds are disjoint from the evaluation seeds. The score of a setting is the median over tuning seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from bench.statistics.metric import Metric

SOBOL_SEED = 2304  # fixed: every optimizer with the same number of hyperparameters gets the same points


def sobol_trials(space: Mapping[str, Mapping], count: int) -> list[dict[str, float]]:
    """`count` settings of `space` (name -> low, high, scale), rounded to four significant digits."""
    from scipy.stats import qmc  # slow to import, and few commands need it

    names = list(space)
    points = qmc.Sobol(len(names), seed=np.random.default_rng(SOBOL_SEED)).random_base2((count - 1).bit_length())
    return [{name: _value(space[name], float(u)) for name, u in zip(names, point)} for point in points[:count]]


def _value(axis: Mapping, u: float) -> float:
    low, high = axis["low"], axis["high"]
    if axis["scale"] == "linear":
        return float(f"{low + u * (high - low):.4g}")
    if axis["scale"] == "log":
        return float(f"{low * (high / low) ** u:.4g}")
    rest = float(f"{(1 - low) * ((1 - high) / (1 - low)) ** u:.4g}")  # 1 - value, from 1 - low down to 1 - high
    return round(1 - rest, 8)


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
