"""What the exact identities measure: the share of random instances in which they hold up to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.claims.prediction import Prediction
from bench.claims.share import always, of_runs
from bench.statistics.estimates import Proportion

LEAST = 0.97  # n of n instances among all parts of a report need 280 of them


def within(what: str, tolerance: float) -> Prediction:
    """`what` is at most `tolerance` in more than LEAST of the random instances."""
    bounded = f"{what} <= {tolerance:g}"
    prediction = always(f"of instances: {bounded}", LEAST)
    return replace(prediction, words=f"{bounded} in more than {100 * LEAST:g} % of random instances")


def held(differences: np.ndarray, tolerance: float) -> Proportion:
    """Share of the instances whose difference, of `differences` [n], is at most `tolerance`."""
    return of_runs(differences <= tolerance)


def largest(differences: np.ndarray) -> str:
    """The largest of `differences` [n], as text."""
    return f"{differences.max():.2g}"
