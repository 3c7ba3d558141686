import ast
import math
import sys
import zlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from shb import streams
from shb.kernels import load
from shb.streams import BLOCK, blocked, blocked_words, normal, philox, sign_bits, signs, stream, uniform, words
from shb.training import why_not


def test_random_numbers_need_neither_torch_nor_the_kernels():
    tree = ast.parse(Path(streams.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "scipy"}


def draw(seed, start, stop, name="sampling"):
    return blocked(seed, name, start, stop, lambda g: g.integers(0, 1 << 40, (BLOCK, 3)))


def test_an_address_always_gives_the_same_numbers():
    assert stream(3, "init", 2).integers(0, 1 << 40) == stream(3, "init", 2).integers(0, 1 << 40)
    # Stored members depend on these bits: a change here makes every result of older code incomparable.
    assert stream(3, "init", 2).integers(0, 1 << 40, 3).tolist() == [1012455832264, 656923746298, 49968125932]


@pytest.mark.parametrize("other", [(4, "init", 2), (3, "velocity", 2), (3, "init", 0)])
def test_seed_name_and_index_each_change_the_stream(other):
    here, there = stream(3, "init", 2).normal(size=10_000), stream(*other).normal(size=10_000)
    assert abs(np.corrcoef(here, there)[0, 1]) < 0.05  # 5 standard errors


@given(st.integers(0, 2**32), st.lists(st.integers(0, 5 * BLOCK), min_size=2, max_size=6))
def test_any_splitting_of_the_steps_gives_the_same_stream(seed, cuts):
    cuts = sorted(cuts)
    whole = draw(seed, cuts[0], cuts[-1])
    assert whole.shape == (cuts[-1] - cuts[0], 3)
    parts = [draw(seed, a, b) for a, b in pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(draw(seed, 0, cuts[-1])[cuts[0] :], whole)


def test_blocks_do_not_repeat():
    numbers = draw(0, 0, 10 * BLOCK).ravel()
    assert len(np.unique(numbers)) == numbers.size


MASK = 0xFFFFFFFF
KNOWN = [  # counter, key, result: kat_vectors of Random123 (Salmon et al., SC 2011), philox4x32-10
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEEDS = [0, 1, 7, 2**31, 2**32 + 7, 2**63]


def as_arrays(numbers):
    return [np.array([number], np.uint64) for number in numbers]


def philox_by_hand(counter, key):
    """Philox4x32-10 in Python's own integers, from the formulas of the paper (section 3.3)."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        high = [0xD2511F53 * c[0] >> 32, 0xCD9E8D57 * c[2] >> 32]
        low = [0xD2511F53 * c[0] & MASK, 0xCD9E8D57 * c[2] & MASK]
        c = [high[1] ^ c[1] ^ k0, low[1], high[0] ^ c[3] ^ k1, low[0]]
        k0, k1 = k0 + 0x9E3779B9 & MASK, k1 + 0xBB67AE85 & MASK
    return tuple(c)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, result):
    assert philox_by_hand(counter, key) == result
    assert tuple(int(word[0]) for word in philox(*as_arrays(counter), *as_arrays(key))) == result


@given(*(st.tuples(*[st.integers(0, MASK)] * n) for n in (4, 2)))
def test_philox_by_hand(counter, key):
    assert tuple(int(w[0]) for w in philox(*as_arrays(counter), *as_arrays(key))) == philox_by_hand(counter, key)


@given(st.integers(0, 2**64 - 1), st.sampled_from(["init", "sampling"]), st.integers(0, MASK), st.integers(1, 9))
def test_the_counter_of_a_word_is_its_address(seed, name, index, count):
    drawn = words([seed], name, index, count)
    assert drawn.shape == (count, 1)
    assert drawn.dtype == np.uint64
    for position, word in enumerate(drawn[:, 0].tolist()):
        counter = (position // 2, index, zlib.crc32(name.encode()), 0)
        x = philox_by_hand(counter, (seed & MASK, seed >> 32))[2 * (position % 2) :]
        assert word == x[0] | x[1] << 32


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 9))
def test_a_column_does_not_depend_on_the_other_seeds_nor_on_the_count(seeds, count, more):
    whole = words(seeds, "init", 3, count + more)
    for i, seed in enumerate(seeds):
        assert np.array_equal(words([seed], "init", 3, count)[:, 0], whole[:count, i])
    stop = 2 * BLOCK + count
    steps = signs(seeds, "sampling", BLOCK - more, stop), blocked_words(seeds, "sampling", BLOCK - more, stop, 3)
    for i, seed in enumerate(seeds):
        assert np.array_equal(signs([seed], "sampling", BLOCK - more, stop)[:, 0], steps[0][:, i])
        assert np.array_equal(blocked_words([seed], "sampling", BLOCK - more, stop, 3)[:, :, 0], steps[1][:, :, i])


@pytest.mark.parametrize("other", [([4], "init", 2), ([3], "velocity", 2), ([3], "init", 0), ([3 + 2**32], "init", 2)])
def test_seed_name_and_index_each_change_the_words(other):
    here, there = normal(words([3], "init", 2, 10_000)), normal(words(*other, 10_000))
    assert abs(np.corrcoef(here[:, 0], there[:, 0])[0, 1]) < 0.05  # 5 standard errors


@given(st.lists(st.integers(0, 5 * BLOCK), min_size=2, max_size=6), st.integers(1, 3))
def test_any_splitting_of_the_steps_gives_the_same_words_and_signs(cuts, per_step):
    cuts = sorted(cuts)

    def both(start, stop):
        return blocked_words(SEEDS, "sampling", start, stop, per_step), signs(SEEDS, "sampling", start, stop)

    for drawn, *parts in zip(both(cuts[0], cuts[-1]), *(both(a, b) for a, b in pairwise(cuts))):
        assert len(drawn) == cuts[-1] - cuts[0]
        assert drawn.shape[-1] == len(SEEDS)
        assert np.array_equal(np.concatenate(parts), drawn)
    for drawn, longer in zip(both(cuts[0], cuts[-1]), both(0, cuts[-1])):
        assert np.array_equal(longer[cuts[0] :], drawn)


def test_steps_are_the_words_of_their_block():
    drawn = blocked_words(SEEDS, "sampling", 0, 2 * BLOCK, 2)
    assert np.array_equal(drawn.reshape(2, 2 * BLOCK, -1)[1], words(SEEDS, "sampling", 1, 2 * BLOCK))
    assert len(np.unique(drawn)) == drawn.size


def test_a_sign_is_a_bit_of_the_word_of_its_block():
    drawn = signs(SEEDS, "sampling", 0, 3 * BLOCK)
    assert drawn.dtype == np.int8
    for block in range(3):
        for seed, word in enumerate(words(SEEDS, "sampling", block, 1)[0].tolist()):
            bits = [word >> bit & 1 for bit in range(64)]
            assert drawn[block * BLOCK : (block + 1) * BLOCK, seed].tolist() == [2 * bit - 1 for bit in bits]


@pytest.mark.parametrize(("start", "stop"), [(0, BLOCK), (5, 9), (BLOCK - 1, BLOCK), (3 * BLOCK + 7, 4 * BLOCK)])
def test_packed_signs_are_the_signs(start, stop):
    bits = sign_bits(SEEDS, "sampling", start, stop)
    assert bits.dtype == np.uint64
    unpacked = [2 * ((bits >> np.uint64(k)) & np.uint64(1)).astype(np.int8) - 1 for k in range(stop - start)]
    assert np.array_equal(unpacked, signs(SEEDS, "sampling", start, stop))


def test_packed_signs_are_of_one_block():
    with pytest.raises(ValueError, match=r"steps 63 \.\. 64 are not of one block of 64"):
        sign_bits(SEEDS, "sampling", BLOCK - 1, BLOCK + 1)


def test_signs_are_fair_and_uncorrelated():
    drawn = signs(np.arange(1000), "sampling", 0, 5 * BLOCK).astype(float)  # [320, 1000]
    error = 1 / math.sqrt(drawn.size)
    assert abs(drawn.mean()) < 5 * error
    assert abs((drawn[1:] * drawn[:-1]).mean()) < 5 * error  # of steps that follow each other
    assert abs((drawn[:, 1:] * drawn[:, :-1]).mean()) < 5 * error  # of seeds that follow each other
    assert np.abs(drawn.mean(0)).max() < 6 / math.sqrt(len(drawn))
    assert np.abs(drawn.mean(1)).max() < 6 / math.sqrt(drawn.shape[1])


@given(st.integers(0, 2**64 - 1))
def test_uniform_is_the_middle_of_the_cell_of_the_first_52_bits(word):
    assert Fraction(uniform(np.array([word], np.uint64))[0]) == Fraction(2 * (word >> 12) + 1, 2**53)


def test_uniform_never_reaches_the_ends():
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert uniform(ends).tolist() == [2.0**-53, 1 - 2.0**-53]
    assert normal(ends) == pytest.approx([-8.2095, 8.2095], abs=1e-4)  # of 1e-16 and 1 - 1e-16


@pytest.mark.parametrize(
    "drawn", [words(np.arange(200_000), "init", 0, 1)[0], words([5], "init", 0, 200_000)[:, 0]], ids=["seeds", "words"]
)
def test_uniform_and_normal_have_their_laws_over_seeds_and_along_a_stream(drawn):
    n = len(drawn)
    x, z = uniform(drawn), normal(drawn)
    assert kstest(x, "uniform").pvalue > 1e-6  # a right law fails once in a million addresses
    assert kstest(z, norm.cdf).pvalue > 1e-6
    assert np.array_equal(np.sort(z), normal(np.sort(drawn)))  # increasing in the word: the inverse distribution
    for moment, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((z**moment).mean() - mean) < 5 * math.sqrt(variance / n)  # 5 standard errors
    assert abs(np.corrcoef(z[1:], z[:-1])[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_native_bits_are_those_of_numpy(monkeypatch, count):
    seeds = np.concatenate([np.array(SEEDS, np.uint64), np.arange(600, dtype=np.uint64)])
    load()
    drawn = [words(seeds, "sampling", 3, count), signs(seeds, "init", 5, 150), signs(seeds[::3], "init", 64, 65)]
    assert streams._drawing is not None
    monkeypatch.setattr(streams, "_drawing", None)
    plain = [words(seeds, "sampling", 3, count), signs(seeds, "init", 5, 150), signs(seeds[::3], "init", 64, 65)]
    for one, other in zip(drawn, plain, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
