"""What a member would cost is found without paying for it, and is what a real step costs."""

import json
import tracemalloc

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.cell.cost import CLOSED_FORM, PER_PARAMETER, PER_STEP, cell_cost, forward_pass, step_cost
from bench.cell.rebuild import spec_cell
from bench.store.store import Store
from tests.bench.conftest import ROOT


def cell_of(*overrides):
    return build_cell(compose_config([*overrides, "seeds=1", "device=cpu", "logger=none"]))


@pytest.mark.parametrize("problem", [["problem=e1"], ["dataset=digits", "model=cnn"]])
def test_a_trillion_steps_take_years(problem):
    cell = cell_of(*problem, "steps=1000000000000")
    assert cell_cost(cell, 2).seconds > 10**8


def test_a_huge_network_is_measured_without_its_memory():
    cell = cell_of("dataset=digits", "model.hidden=[1000000,1000000]", "steps=1")
    tracemalloc.start()
    cost = cell_cost(cell, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    parameters = 1000000**2  # of the middle layer
    assert cost.gibibytes > 4 * 2 * parameters / 2**30 and peak < 2**26


def test_a_large_batch_needs_its_activations():
    cells = [cell_of("dataset=digits", "model.hidden=[10000]", "steps=1", f"batch_size={size}") for size in (1, 1000)]
    small, large = (cell_cost(cell, 2).gibibytes for cell in cells)
    assert large - small > 2 * 3 * 1000 * 10000 * 4 / 2**30 * 0.9


def test_many_evaluations_cost_more_than_the_steps():
    one, many = (cell_of("dataset=mnist1d", "steps=1000", f"evaluations={n}") for n in (1, 1000))
    assert cell_cost(many, 2).seconds > 3 * cell_cost(one, 2).seconds


def test_seconds_grow_with_steps_and_members():
    short, long = (cell_cost(cell_of("dataset=digits", "model=cnn", f"steps={n}"), 2).seconds for n in (1000, 100_000))
    assert 50 < long / short < 100
    cell = cell_of("dataset=digits", "model=cnn", "steps=1000")
    assert 6 < cell_cost(cell, 16).seconds / cell_cost(cell, 2).seconds < 8


def test_reference_members_are_cheap():
    """As they are: their stacks took 0.02 to 0.2 seconds per member."""
    for row in Store(ROOT / "results" / "reference").members().unique("problem").iter_rows(named=True):
        cost = cell_cost(spec_cell(row["spec"]), 2)
        seconds = json.loads(row["spec"])["steps"] / row["member_steps_per_second"]
        assert seconds < cost.seconds < 100 * seconds and cost.gibibytes < 0.1


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_operations_of_a_step_are_those_of_a_real_one(model):
    """Counted on the device, with data: forward and backward are three times the forward pass, but for the input's."""
    cell = cell_of("dataset=digits", f"model={model}", "steps=1", "batch_size=8")
    problem = cell.problem()
    params = {name: p.requires_grad_() for name, p in problem.initial_parameters(0).items()}
    batch = [part[0] for part in problem.batch(problem.sample(0, 0, 1))]
    with FlopCounterMode(display=False) as forward:
        loss = problem.loss(params, *batch)
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(loss, list(params.values()))
    parameters = sum(p.numel() for p in params.values())
    counted = step_cost(cell.problem_spec) - PER_STEP - PER_PARAMETER * parameters
    assert counted == 3 * forward.get_total_flops()
    assert 0.7 * counted < forward.get_total_flops() + backward.get_total_flops() <= counted


def test_a_closed_form_costs_its_steps_alone():
    cell = cell_of("problem=e3", "steps=1000")
    assert step_cost(cell.problem_spec) == CLOSED_FORM.step() == PER_STEP + PER_PARAMETER
    assert cell_cost(cell, 4).operations == 4 * 1000 * CLOSED_FORM.step() and cell_cost(cell, 4).gibibytes == 0


class _Unshaped(nn.Module):
    """Needs the numbers of its input: it has no pass on the meta device."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(x) if x.sum().item() > 0 else self.out(-x)


def test_networks_of_whole_numbers_and_of_numbers_alone_have_a_cost():
    table = forward_pass(
        lambda shape, outputs: nn.Sequential(nn.Embedding(11, 3), nn.Flatten(), nn.Linear(15, 2)),
        (5,),
        2,
        torch.float32,
    )
    assert table.operations == 2 * 15 * 2 and table.parameters == 11 * 3 + 15 * 2 + 2
    unshaped = forward_pass(lambda shape, outputs: _Unshaped(), (4,), 3, torch.float32)
    assert unshaped.parameters == 15 and unshaped.operations == 30
