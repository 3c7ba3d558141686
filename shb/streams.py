"""Independent, named random streams of a seed, drawn on the CPU.

A stream is addressed by (seed, name, index), so a run can be resumed at any block without keeping a
generator's state, and neither device, stack nor optimizer changes what a seed draws.

    >>> signs([7, 8], "sampling", 0, 200)[130:134].tolist() == signs([7, 8], "sampling", 130, 134).tolist()
    True
    >>> stream(7, "init").random() == stream(7, "init").random() != stream(7, "velocity").random()
    True
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

BLOCK = 64  # steps drawn at once; a run resumed at step k redraws at most one block


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """Generator of the stream `name` ("init", "sampling", "velocity", ...) of `seed`, block `index`.

    Args:
        seed, index: whole numbers >= 0 of any size; numpy raises ValueError for others.
        name: any text.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode()), index])))


def blocked(
    seed: int, name: str, start: int, stop: int, draw: Callable[[np.random.Generator], np.ndarray]
) -> np.ndarray:
    """Steps start..stop-1 of an i.i.d. stream that is drawn in blocks: [stop - start, ...].

    Args:
        seed, name: as in `stream`.
        start, stop: 0 <= start <= stop.
        draw: `draw(generator)` returns BLOCK steps, [BLOCK, ...].

    Example:
        >>> blocked(0, "sampling", 60, 70, lambda generator: generator.integers(0, 1000, (BLOCK, 8))).shape
        (10, 8)
    """
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    drawn = np.concatenate([draw(stream(seed, name, block)) for block in range(first, last + 1)])
    return drawn[start - first * BLOCK : stop - first * BLOCK]


class Drawing(Protocol):
    """What draws the same bits faster, of uint64 seeds [n] and the checksum of a stream's name."""

    def words(self, seeds: np.ndarray, name: int, index: int, count: int) -> np.ndarray:
        """As the function `words`: uint64 [count, n] of `seeds` [n], checksum `name`, block `index`, `count` words."""

    def signs(self, seeds: np.ndarray, name: int, start: int, stop: int) -> np.ndarray:
        """As the function `signs`: int8 [stop - start, n] of `seeds` [n], checksum `name`, steps `start` to `stop`."""


_drawing: Drawing | None = None


def draw_with(drawing: Drawing | None) -> None:
    """Let `drawing` draw words and signs from now on (None: numpy); `shb.kernels.load` calls it."""
    global _drawing
    _drawing = drawing


def words(seeds: ArrayLike, name: str, index: int, count: int) -> np.ndarray:
    """Random bits of many seeds at once, for problems whose thousands of members would each need a generator.

    Philox4x32-10 (Salmon et al., SC 2011) with key `seed` and counter (word pair, index, name), so an entry
    depends on its own address (seed, name, index, position) only. Drawn by the native operations once they are loaded,
    which is many times as fast and gives the same bits.

    Args:
        seeds: [n], whole numbers 0 .. 2^64 - 1.
        name: of the stream; its CRC-32 counts.
        index: block of the stream, 0 .. 2^32 - 1.
        count: words per seed.

    Returns:
        uint64 [count, n].
    """
    seeds = np.asarray(seeds, np.uint64)
    code = zlib.crc32(name.encode())
    if _drawing is not None:
        return _drawing.words(seeds, code, index, count)
    pairs = np.arange((count + 1) // 2, dtype=np.uint64)[:, None] + np.zeros_like(seeds)
    shared = np.full_like(pairs, index), np.full_like(pairs, code), np.zeros_like(pairs)
    x = philox(pairs, *shared, seeds & _LOW, seeds >> _HALF)
    both = np.stack([x[0] | x[1] << _HALF, x[2] | x[3] << _HALF], 1)  # [pairs, 2, n]
    return both.reshape(-1, len(seeds))[:count]


_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_INCREMENTS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


def philox(
    c0: np.ndarray, c1: np.ndarray, c2: np.ndarray, c3: np.ndarray, k0: np.ndarray, k1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Philox4x32-10, ten rounds (Salmon et al., SC 2011): four 32-bit words for each counter.

    Args:
        c0, c1, c2, c3: words of the counters, uint64 of one shape, each < 2^32.
        k0, k1: words of the keys, likewise, of a shape that broadcasts with it.

    Returns:
        Four uint64 arrays of that shape, each < 2^32.
    """
    for _ in range(10):
        a, b = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _INCREMENTS[0]) & _LOW, (k1 + _INCREMENTS[1]) & _LOW
    return c0, c1, c2, c3


def blocked_words(seeds: ArrayLike, name: str, start: int, stop: int, per_step: int = 1) -> np.ndarray:
    """Words of steps start..stop-1 of many seeds, `per_step` in each step.

    Args:
        seeds, name: as in `words`.
        start, stop: 0 <= start <= stop.

    Returns:
        uint64 [stop - start, per_step, n].
    """
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    drawn = np.concatenate([words(seeds, name, block, BLOCK * per_step) for block in range(first, last + 1)])
    return drawn.reshape(-1, per_step, drawn.shape[1])[start - first * BLOCK : stop - first * BLOCK]


def signs(seeds: ArrayLike, name: str, start: int, stop: int) -> np.ndarray:
    """+1 or -1 with probability 1/2, one bit each, of steps start..stop-1 of many seeds.

    Args:
        seeds, name: as in `words`.
        start, stop: 0 <= start <= stop.

    Returns:
        int8 [stop - start, n].
    """
    if _drawing is not None:
        return _drawing.signs(np.asarray(seeds, np.uint64), zlib.crc32(name.encode()), start, stop)
    first, last = start // BLOCK, max(stop - 1, start) // BLOCK
    drawn = np.stack([words(seeds, name, block, 1)[0] for block in range(first, last + 1)])  # [blocks, n]
    octets = drawn.astype("<u8").view(np.uint8).reshape(*drawn.shape, 8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little").view(np.int8)  # [blocks, n, 64]
    steps = bits.transpose(0, 2, 1).reshape(-1, drawn.shape[1])[start - first * BLOCK : stop - first * BLOCK]
    return 2 * steps - np.int8(1)


def sign_bits(seeds: ArrayLike, name: str, start: int, stop: int) -> np.ndarray:
    """The signs of steps start..stop-1, all of one block, packed: bit k - start is 1 where step k has +1.

    Args:
        seeds, name: as in `words`.
        start, stop: 0 <= start < stop, both in one block of `BLOCK` steps.

    Returns:
        uint64 [n]; bits from stop - start on have no meaning.

    Raises:
        ValueError: steps of several blocks.
    """
    block = start // BLOCK
    if not block * BLOCK <= start < stop <= (block + 1) * BLOCK:
        raise ValueError(f"steps {start} .. {stop - 1} are not of one block of {BLOCK}")
    return words(seeds, name, block, 1)[0] >> np.uint64(start % BLOCK)


def uniform(words: np.ndarray) -> np.ndarray:
    """Uniform numbers in (0, 1), never 0 or 1, from uint64 words of any shape: the middles of 2^52 equal cells.

    >>> uniform(np.array([0, 2**63, 2**64 - 1], np.uint64)).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return ((words >> np.uint64(12)) + 0.5) * 2.0**-52  # exact: with 53 bits the last middle would round to 1


def normal(words: np.ndarray) -> np.ndarray:
    """Standard normal numbers from uint64 words of any shape, by the inverse distribution function.

    A number depends on its own word only, to the bit, wherever it stands in the array.
    """
    return ndtri(uniform(words))
