import math

import pytest
import torch
import torch.nn.functional as F

from shb.optimizers import OPTIMIZERS
from shb.problems import E1, E2
from shb.training import Checkpoint, Member, Plan, Stack
from tests.shb.problems.tiny import mlp_problem, same_bits
from tests.shb.training.interruption import Interrupted, interrupt_after

PLAN = Plan(90, evaluate_at=(0, 2, 30, 64))
# momentum 0.9 and a squared loss: the step size decides how soon a member explodes
STEP_SIZES = [0.001, 1e30, 0.002, 10.0, 0.003]


def problem_of(**options):
    return mlp_problem(task="regression", loss="squared", **options)


def member(seed, lr):
    return Member(seed, {"lr": lr, "momentum": 0.9})


@pytest.fixture(scope="module")
def problem():
    return problem_of()


SHB = OPTIMIZERS["shb"]
DIVERGING = (1, 3)


@pytest.fixture(scope="module")
def trajectories(problem):
    return Stack(problem, SHB, [member(i, lr) for i, lr in enumerate(STEP_SIZES)], PLAN).run()


def test_members_with_a_large_step_are_marked(trajectories):
    assert [t.status for t in trajectories] == ["done", "diverged", "done", "diverged", "done"]
    for i, t in enumerate(trajectories):
        if i in DIVERGING:
            assert set(t.metrics) >= {"train_loss", "val_loss", "test_loss"}
            assert set(t.metrics.values()) == {None}
            assert t.curve["step"] == [step for step in (0, 2, 30, 64, 90) if step <= t.diverged_step]
            assert all(len(column) == len(t.curve["step"]) for column in t.curve.values())
        else:
            assert t.diverged_step is None
            assert all(math.isfinite(value) for value in t.metrics.values())
    assert trajectories[1].diverged_step <= 1
    assert trajectories[3].diverged_step > 2  # one that lives for some steps, so that k is not trivial


@pytest.mark.parametrize("row", DIVERGING)
def test_the_step_is_the_first_update_that_is_not_finite_and_the_parameters_are_those_before(
    problem, trajectories, row
):
    diverged = trajectories[row]
    k = diverged.diverged_step
    assert all(p.isfinite().all() for p in diverged.parameters.values())
    # replay alone, step by step
    params = {n: p[None].repeat(2, *(1,) * p.ndim) for n, p in problem.initial_parameters(row).items()}
    hyperparameters = {n: torch.tensor([v, v]).double() for n, v in diverged.member.hyperparameters.items()}
    state = SHB.init(params, hyperparameters)
    for step in range(k + 1):
        assert all(p.isfinite().all() for p in params.values())
        if step == k:
            assert all(torch.equal(params[n][0], diverged.parameters[n]) for n in params)
        batch = problem.batch(problem.sample(row, step, step + 1).expand(2, -1))
        gradients = torch.func.vmap(torch.func.grad(problem.loss))(params, *batch)
        params, state = SHB.update(params, gradients, state, hyperparameters, step)
    assert not all(p.isfinite().all() for p in params.values())


def test_shorter_runs_of_the_member_agree(problem, trajectories):
    diverged = trajectories[3]
    k = diverged.diverged_step
    (before,) = Stack(problem, SHB, [diverged.member], Plan(k - 1)).run()
    assert before.status == "done"
    (after,) = Stack(problem, SHB, [diverged.member], Plan(k + 1)).run()
    assert (after.status, after.diverged_step) == ("diverged", k)
    assert all(torch.equal(after.parameters[n], diverged.parameters[n]) for n in after.parameters)


def test_a_plain_torch_loop_explodes_at_the_same_step():
    problem = problem_of(dtype=torch.float64)
    (diverged,) = Stack(problem, SHB, [member(3, 10.0)], PLAN).run()
    params = {n: p.requires_grad_() for n, p in problem.initial_parameters(3).items()}
    optimizer = torch.optim.SGD(params.values(), lr=10.0, momentum=0.9)
    finite_updates = 0
    for index in problem.sample(3, 0, 90):
        x, y = problem.batch(index)
        optimizer.zero_grad()
        (F.mse_loss(torch.func.functional_call(problem.module, params, (x,)), y, reduction="sum") / 14).backward()
        optimizer.step()
        if not all(p.isfinite().all() for p in params.values()):
            break
        finite_updates += 1
    assert diverged.diverged_step == finite_updates > 2  # update k is the first that is not finite


def test_neighbours_of_a_diverged_member_do_not_change_by_one_bit(problem, trajectories):
    healthy = [t for t in trajectories if t.status == "done"]
    without = Stack(problem, SHB, [t.member for t in healthy], PLAN).run()
    assert all(map(same_bits, without, healthy))


def test_the_diverged_member_itself_obeys_the_bit_rule(problem, trajectories, tmp_path):
    for row in DIVERGING:
        (lone,) = Stack(problem, SHB, [trajectories[row].member], PLAN).run()
        assert same_bits(lone, trajectories[row])
    stack = Stack(problem, SHB, [t.member for t in trajectories], PLAN)
    path = tmp_path / "checkpoint"

    with pytest.raises(Interrupted):
        stack.run(progress=interrupt_after(4), checkpoint=Checkpoint(path, "", interval=0))
    assert int(Checkpoint(path, "").load()["k"]) == 64  # after the divergence
    assert all(map(same_bits, stack.run(checkpoint=Checkpoint(path, "")), trajectories))


@pytest.mark.parametrize("lr", [1e30, math.nextafter(math.inf, 0)])
def test_all_members_may_diverge(problem, lr):
    result = Stack(problem, SHB, [member(seed, lr) for seed in range(3)], PLAN).run()
    assert [t.status for t in result] == ["diverged"] * 3
    for t in result:
        assert t.diverged_step <= 1
        assert all(p.isfinite().all() for p in t.parameters.values())


def test_a_loss_that_is_not_finite_is_a_divergence_even_if_the_parameters_are():
    """w = 1e200 is finite, w^2/2 is not."""
    members = [Member(0, {"lr": 0.1})]
    (at_start,) = Stack(E1(init="point", value=1e200), OPTIMIZERS["sgd"], members, Plan(5)).run()
    assert (at_start.status, at_start.diverged_step) == ("diverged", 0)
    assert at_start.parameters["w"].item() == 1e200
    assert set(at_start.metrics.values()) == {None}
    # |1 - lr| = 2 per step: w_600 = 2^600 is finite, its loss is not; seen at the end of the run
    (at_end,) = Stack(E2(init="point", value=-2.0), OPTIMIZERS["sgd"], [Member(0, {"lr": 3.0})], Plan(600)).run()
    assert (at_end.status, at_end.diverged_step) == ("diverged", 600)
    assert math.isfinite(at_end.parameters["w"].item())
