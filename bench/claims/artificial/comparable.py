"""Optimizers at comparable steps, and what it is to be frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.experiment import Columns
from bench.claims.share import of_runs
from bench.statistics.estimates import Proportion

ARTIFICIAL = 0.1  # m_eps above which a stalled run is called artificial (theory.md CL44)

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {  # one effective step, 0.2, for the first three
    "sgd": {"optimizer": "sgd", "optimizer.lr": 0.2},
    "shb": {"optimizer": "shb", "optimizer.lr": 0.02, "optimizer.momentum": 0.9},
    "nesterov": {"optimizer": "nesterov", "optimizer.lr": 0.02, "optimizer.momentum": 0.9},
    "adam": {"optimizer": "adam", "optimizer.lr": 0.01},
}


def frozen(columns: Columns) -> np.ndarray:
    """bool [n]: a run from w_0 = 0 all of whose iterates were exactly 0."""
    return (columns["sup_norm"] == 0) & (columns["diverged"] == 0)


def frozen_share(columns: Columns) -> Proportion:
    """Share of runs that are `frozen`."""
    return of_runs(frozen(columns))
