from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shb.streams import BLOCK, blocked, stream


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
