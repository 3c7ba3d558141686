"""Equal-budget tuning: the same number of trials for every optimizer, scored on the validation part.

Trials are scrambled Sobol points in the optimizer's search space (conf/optimizer/*.yaml, `space`):
    log            log-uniform between low and high
    one_minus_log  1 - value log-uniform, for momenta
    linear         uniform
Their seeds are disjoint from the evaluation seeds. The score of a setting is the median over tuning seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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
