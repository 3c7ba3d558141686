"""A wide stack is taken through a block of steps slice by slice: nothing that is computed may show it."""

import pytest
import torch

from shb.optimizers import OPTIMIZERS, Optimizer
from shb.problems import E1
from shb.training import ENGINES, Checkpoint, Member, Plan, Stack, stack, why_not
from shb.training.step import Step
from tests.shb.problems.tiny import mlp_problem, same_bits
from tests.shb.training.interruption import Interrupted, interrupt_after

COMPILED = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
ENGINE = pytest.mark.parametrize("engine", [e if e == "eager" else pytest.param(e, marks=COMPILED) for e in ENGINES])
COUNT, SLICE = 23, 4  # at least 4 a slice: five of 5, the last filled up with two copies
PLANS = {
    "power": Plan(130, schedule="power", evaluate_at=(0, 5, 64)),
    "second order": Plan(70, schedule="power", momentum_schedule="second_order", velocity_std=0.5),
    "constant": Plan(70),
}


def members_of(plan, lrs):
    own = {"schedule.q": 0.6, "schedule.k0": 1.0} if plan.schedule == "power" else {}
    if plan.momentum_schedule == "second_order":
        own["momentum_schedule.r"] = 0.5
    numbers = [{"lr": lrs[i % len(lrs)], "momentum": 0.5 + i % 4 / 10, **own} for i in range(COUNT)]
    return [Member(7 * i % 9, one) for i, one in enumerate(numbers)]  # seeds out of order, some twice in a slice


def run(monkeypatch, size, problem, plan, members, engine, checkpoint=None, together=False):
    with monkeypatch.context() as patch:
        patch.setattr(stack, "_SLICE", dict.fromkeys(ENGINES, size))
        patch.setattr(stack, "_MANY", 0 if together else 10**18)
        one = Stack(problem, OPTIMIZERS["shb"], members, plan, engine=engine)
        return one, one.run(checkpoint=checkpoint)


def same(first, second):
    assert len(first) == len(second) == COUNT
    return all(same_bits(a, b) for a, b in zip(first, second))


@ENGINE
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("problem", [E1(), mlp_problem()], ids=["e1", "mlp"])
def test_slices_change_nothing(monkeypatch, problem, plan, engine):
    members = members_of(PLANS[plan], (0.3, 0.1, 0.05, 0.02))
    whole, expected = run(monkeypatch, 100, problem, PLANS[plan], members, engine)
    sliced, found = run(monkeypatch, SLICE, problem, PLANS[plan], members, engine)
    assert (len(whole._slices), len(sliced._slices), sliced.width) == (1, 5, 25)
    assert same(expected, found)
    assert len({tuple(p.sum().item() for p in t.parameters.values()) for t in found}) == COUNT


@ENGINE
@pytest.mark.parametrize("together", [False, True])
def test_members_diverge_in_their_own_slice_at_their_own_step(monkeypatch, engine, together):
    members = members_of(PLANS["constant"], [0.3] * 7 + [1e30])  # members 7 and 15, of the second and fourth slice
    problem, plan = E1(), PLANS["constant"]
    _, expected = run(monkeypatch, 100, problem, plan, members, engine)
    _, found = run(monkeypatch, SLICE, problem, plan, members, engine, together=together)
    assert [i for i, t in enumerate(found) if t.status == "diverged"] == [7, 15]
    assert same(expected, found)
    assert all(t.parameters["w"].isfinite().all() for t in found)


def test_a_state_that_was_started_is_not_changed_by_another(monkeypatch):
    """Slices are written in place: no two tensors of a state may share memory, nor two states."""
    monkeypatch.setattr(stack, "_SLICE", dict.fromkeys(ENGINES, SLICE))
    one = Stack(E1(), OPTIMIZERS["shb"], members_of(PLANS["constant"], [0.1]), PLANS["constant"])
    first, second = one.start(), one.start()
    before = first["params"]["w"].clone()
    one.advance(second, 0, 9)
    assert torch.equal(first["params"]["w"], before)
    assert not torch.equal(second["params"]["w"], before)
    addresses = [
        t.data_ptr() for name in ("params", "optimizer") for t in torch.utils._pytree.tree_leaves(second[name])
    ]
    assert len(set(addresses)) == len(addresses)


def test_what_shares_memory_at_the_start_does_not_afterwards(monkeypatch):
    """An update rule may begin with its parameters as its state, or with a number for all members."""

    def init(params, hyperparameters, velocity=None):
        return {"previous": dict(params), "count": {n: torch.zeros(()).expand(len(p)) for n, p in params.items()}}

    def update(params, grads, state, hyperparameters, k):
        new = {n: p - 0.1 * g - 0.05 * (p - state["previous"][n]) for (n, p), g in zip(params.items(), grads.values())}
        return new, {"previous": dict(params), "count": {n: c + 1 for n, c in state["count"].items()}}

    averaging = Optimizer("averaging", {"lr": None}, init, update)
    results = []
    for size in (100, SLICE):
        monkeypatch.setattr(stack, "_SLICE", dict.fromkeys(ENGINES, size))
        members = [Member(i, {"lr": 0.1}) for i in range(COUNT)]
        results.append(Stack(E1(), averaging, members, Plan(20)).run())
    assert same(*results)


@pytest.mark.parametrize("after", [2, 3])
def test_a_sliced_stack_goes_on_from_its_checkpoint(monkeypatch, tmp_path, after):
    plan, problem = PLANS["power"], E1()
    members = members_of(plan, (0.3, 0.1))
    _, expected = run(monkeypatch, 100, problem, plan, members, "eager")
    with pytest.raises(Interrupted), monkeypatch.context() as patch:
        patch.setattr(stack, "_SLICE", dict.fromkeys(ENGINES, SLICE))
        one = Stack(problem, OPTIMIZERS["shb"], members, plan)
        one.run(progress=interrupt_after(after), checkpoint=Checkpoint(tmp_path / "c", "x", interval=0))
    checkpoint = Checkpoint(tmp_path / "c", "x", interval=0)
    _, found = run(monkeypatch, SLICE, problem, plan, members, "eager", checkpoint)
    assert checkpoint.resumed_at > 0 and same(expected, found)


def test_a_checkpoint_of_another_width_is_not_used(monkeypatch, tmp_path):
    plan, problem = PLANS["power"], E1()
    members = members_of(plan, (0.3, 0.1))
    with pytest.raises(Interrupted):
        one = Stack(problem, OPTIMIZERS["shb"], members, plan)
        one.run(progress=interrupt_after(3), checkpoint=Checkpoint(tmp_path / "c", "x", interval=0))
    checkpoint = Checkpoint(tmp_path / "c", "x", interval=0)
    sliced, found = run(monkeypatch, SLICE, problem, plan, members, "eager", checkpoint)
    assert (one.width, sliced.width, checkpoint.resumed_at) == (23, 25, 0)
    assert same(Stack(problem, OPTIMIZERS["shb"], members, plan).run(), found)


def test_a_slice_makes_temporaries_of_its_members_only(monkeypatch):
    """The traced step is that of a slice; whoever observes sees the whole stack."""
    monkeypatch.setattr(stack, "_SLICE", dict.fromkeys(ENGINES, SLICE))
    widths, seen = [], []
    inner = Step.__call__
    monkeypatch.setattr(
        Step, "__call__", lambda self, carried, *rest: widths.append(len(carried[0])) or inner(self, carried, *rest)
    )
    one = Stack(E1(), OPTIMIZERS["shb"], members_of(PLANS["constant"], [0.1]), PLANS["constant"])
    state = one.start()
    one.advance(state, 0, 2)
    assert widths == [5] * 10
    one.advance(state, 2, 3, observe=seen.append)
    assert widths[10:] == [25] and seen[0].new_params["w"].shape == (25, 1)
