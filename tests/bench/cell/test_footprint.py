"""What a member would cost is found without paying for it."""

import json
import tracemalloc

import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.cell.footprint import footprint
from bench.cell.rebuild import spec_cell
from bench.store.store import Store
from tests.bench.conftest import ROOT


def cell_of(*overrides):
    return build_cell(compose_config([*overrides, "seeds=1", "device=cpu", "logger=none"]))


@pytest.mark.parametrize("problem", [["problem=e1"], ["dataset=digits", "model=cnn"]])
def test_a_trillion_steps_take_years(problem):
    cell = cell_of(*problem, "steps=1000000000000")
    assert footprint(cell, 2).seconds > 10**8


def test_a_huge_network_is_measured_without_its_memory():
    cell = cell_of("dataset=digits", "model.hidden=[1000000,1000000]", "steps=1")
    tracemalloc.start()
    cost = footprint(cell, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    parameters = 1000000**2  # of the middle layer
    assert cost.gibibytes > 4 * 2 * parameters / 2**30 and peak < 2**26


def test_a_large_batch_needs_its_activations():
    cells = [cell_of("dataset=digits", "model.hidden=[10000]", "steps=1", f"batch_size={size}") for size in (1, 1000)]
    small, large = (footprint(cell, 2).gibibytes for cell in cells)
    assert large - small > 2 * 3 * 1000 * 10000 * 4 / 2**30 * 0.9


def test_many_evaluations_cost_more_than_the_steps():
    one, many = (cell_of("dataset=mnist1d", "steps=1000", f"evaluations={n}") for n in (1, 1000))
    assert footprint(many, 2).seconds > 3 * footprint(one, 2).seconds


def test_seconds_grow_with_steps_and_members():
    short, long = (footprint(cell_of("dataset=digits", "model=cnn", f"steps={n}"), 2).seconds for n in (1000, 100_000))
    assert 50 < long / short < 100
    cell = cell_of("dataset=digits", "model=cnn", "steps=1000")
    assert 6 < footprint(cell, 16).seconds / footprint(cell, 2).seconds < 8


def test_reference_members_are_cheap():
    """As they are: their stacks took 0.02 to 0.2 seconds per member."""
    for row in Store(ROOT / "results" / "reference").members().unique("problem").iter_rows(named=True):
        cost = footprint(spec_cell(row["spec"]), 2)
        seconds = json.loads(row["spec"])["steps"] / row["member_steps_per_second"]
        assert seconds < cost.seconds < 100 * seconds and cost.gibibytes < 0.1
