"""A tape of a random program says what torch says, or that it is none. 2,000 programs; a failure names its seed."""

import collections

import pytest
import torch

from shb.kernels import Unsupported, load, record
from shb.training import why_not
from shb.training.program import trace
from tests.shb.kernels import programs

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")

CHUNK, CHUNKS = 100, 20
TRACED, MEMBERS = 3, 7
ROUNDING = {torch.float32: 3e-6, torch.float64: 4e-15}


def outcome(seed):
    """ "recorded" or "unsupported"; raises where a tape says something else than torch."""
    inputs, program, names = programs.draw(seed, MEMBERS)
    expected = program(*inputs)
    place = f"seed {seed}: {names}"
    module = trace(lambda *t: [one.tensor for one in program(*t)], *(x[:TRACED] for x in inputs), rounded=True)
    assert place == f"seed {seed}: {names}", "the traced program is another one"
    try:
        tape = record(module, TRACED)
    except Unsupported:
        return "unsupported"
    found = tape(*inputs)
    assert len(found) == len(expected), place
    for mine, one in zip(found, expected):
        theirs = one.tensor
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype), place
        tolerance = 0 if one.scale is None else ROUNDING.get(theirs.dtype, 0) * one.scale
        equal = (mine == theirs) | (mine.isnan() & theirs.isnan())
        near = (mine.double() - theirs.double()).abs() <= tolerance
        assert bool((equal | near).all()), f"{place}: {mine[~(equal | near)]} for {theirs[~(equal | near)]}"
    return "recorded"


@pytest.mark.parametrize("chunk", [0, *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in range(1, CHUNKS))])
def test_random_programs(chunk):
    load()
    counts = collections.Counter(outcome(seed) for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK))
    assert counts["recorded"] >= CHUNK / 3, counts  # else nothing is tested
