"""Resamples of seeds: what every bootstrap draws, in batches that fit into memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 10_000
CHUNK = 2**21  # numbers (16 MiB) gathered per batch of resamples


def draw(generator: np.random.Generator, n: int, count: int) -> np.ndarray:
    """Indices [count, n] of `count` resamples of n rows, with replacement; two calls draw what one would."""
    return generator.integers(0, n, (count, n))


def batches(count: int, numbers: int) -> Iterator[range]:
    """0 .. count - 1 in ranges, each of so many that at most CHUNK numbers are gathered at `numbers` for each."""
    size = max(1, CHUNK // numbers)
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


@functools.lru_cache(maxsize=16)
def sorted_draws(n: int, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices [resamples, n] of resampled seeds, each row sorted: sorted values stay sorted under them."""
    draws = np.sort(draw(np.random.default_rng(seed), n, resamples), axis=1)
    draws.flags.writeable = False
    return draws


def middle_draws(n: int, ranks: Sequence[int] | np.ndarray, seed: int = 0) -> np.ndarray:
    """One or two neighbouring columns `ranks` of `sorted_draws`, by law and not by bits: indices [RESAMPLES, ranks].

    The (k + 1)-th smallest of n uniform numbers has the law Beta(k + 1, n - k), and the next one lies above it by the
    share Beta(1, n - k - 1) of what is left.
    """
    generator, k = np.random.default_rng(seed), int(ranks[0])
    columns = [generator.beta(k + 1, n - k, RESAMPLES)]
    if len(ranks) > 1:
        columns.append(columns[0] + (1 - columns[0]) * generator.beta(1, n - k - 1, RESAMPLES))
    return np.minimum((n * np.stack(columns, axis=1)).astype(np.int64), n - 1)
