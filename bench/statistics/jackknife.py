"""The jackknife of seeds (Tukey 1958): an interval with t tails for a smooth statistic of whole rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.statistics.estimates import Mean, sample


class Jackknife(Mean):
    """`statistic` T of `rows` [n >= 2, ...]: mean of the pseudo-values n T - (n - 1) T_(-i), with Student's interval.

    The mean of the pseudo-values is T without its bias of order 1/n. Unlike a bootstrap of B resamples, whose p-values
    end at 2 / (B + 1), it can decide a part among many. For a mean it is `Mean`.

    Args:
        statistic: rows [m, ...] -> number, smooth in the distribution of the rows (no median, no maximum).
        rows: one for each seed, the unit of replication.
    """

    def __init__(self, statistic: Callable[[np.ndarray], float], rows: np.ndarray) -> None:
        rows = sample("rows", rows, any_shape=True)
        n, whole = len(rows), statistic(rows)
        left_out = np.array([statistic(np.delete(rows, i, axis=0)) for i in range(n)])
        super().__init__(n * whole - (n - 1) * left_out)
