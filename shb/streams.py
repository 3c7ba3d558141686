"""Independent, named random streams of a seed, drawn on the CPU.

A stream is addressed by (seed, name, index), so a run can be resumed at any block without keeping a
generator's state, and neither device, stack nor optimizer changes what a seed draws.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """Generator of the stream `name` ("init", "sampling", "velocity", ...) of `seed`, block `index`."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode()), index])))


BLOCK = 64  # steps drawn at once; a run resumed at step k redraws at most one block


def blocked(
    seed: int, name: str, start: int, stop: int, draw: Callable[[np.random.Generator], np.ndarray]
) -> np.ndarray:
    """Steps start..stop-1 of an i.i.d. stream: `draw(generator)` returns BLOCK steps, [BLOCK, ...]."""
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    drawn = np.concatenate([draw(stream(seed, name, block)) for block in range(first, last + 1)])
    return drawn[start - first * BLOCK : stop - first * BLOCK]
