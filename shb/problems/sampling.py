"""In which order the samples of a finite set come, epoch after epoch.

iid        every index independently and uniformly, as the theory assumes (theory.md A2)
reshuffle  a fresh permutation per epoch, without replacement: what most training loops do
cyclic     the order of the data, the same in every epoch (incremental gradient)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SAMPLINGS = ("iid", "reshuffle", "cyclic")


def in_epochs(start: int, stop: int, size: int, order: Callable[[int], np.ndarray]) -> np.ndarray:
    """Places `start` .. `stop` - 1 of the orders of all epochs, one after the other.

    Args:
        start, stop: 0 <= start <= stop.
        size: samples in an epoch.
        order: number of the epoch -> indices [size, ...].

    Returns:
        [stop - start, ...]

    Example:
        >>> in_epochs(2, 5, 3, lambda epoch: np.arange(3) + 10 * epoch).tolist()
        [2, 10, 11]
    """
    first, last = start // size, max(stop - 1, start) // size
    joined = np.concatenate([order(epoch) for epoch in range(first, last + 1)])
    return joined[start - first * size : stop - first * size]
