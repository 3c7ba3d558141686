"""What the exact identities measure: the largest difference over the instances."""

from __future__ import annotations

import numpy as np

from bench.statistics.estimates import Exact


def largest(differences: np.ndarray) -> Exact:
    """Of `differences` [n], one per instance."""
    return Exact(float(differences.max()), len(differences))
