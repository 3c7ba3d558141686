"""The ratio of two means over the same seeds, as a mean, so that intervals at any confidence exist."""

from __future__ import annotations

import numpy as np

from bench.statistics.estimates import Mean


def ratio_of_means(first: np.ndarray, second: np.ndarray) -> Mean:
    """mean(first) / mean(second), paired rows [n], second of one sign; interval by the delta method.

    With R the ratio, R + (first_i - R second_i) / mean(second) has mean R and, to leading order, the variance of R.
    """
    ratio = first.mean() / second.mean()
    return Mean(ratio + (first - ratio * second) / second.mean())
