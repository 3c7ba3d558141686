"""What a GPU gets from torch's compiler, here on a CPU: the bit rule, and the numbers of the eager engine."""

import pytest
import torch

from shb.errors import CompilationError
from shb.optimizers import OPTIMIZERS
from shb.training import Member, Plan, Stack, chunk_width, compiler
from shb.training import chunking as chunking_module
from shb.training import step as step_module
from shb.training.program import Program
from tests.shb.problems.tiny import cnn_1d_problem, mlp_problem, same_bits

PLAN = Plan(20, evaluate_at=(10,))
CASES = [(mlp_problem, "adam", 0.003), (cnn_1d_problem, "shb", 0.03)]


def can_compile():
    try:
        Program(lambda a, b: [a * b + 1], torch.ones(3), torch.ones(3), compiled=True)(torch.ones(3), torch.ones(3))
    except CompilationError as error:
        return str(error)
    return None


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    for module in (step_module, chunking_module):
        monkeypatch.setattr(module, "runs_native", lambda problem: False)
    step_module.forget_programs()
    yield
    step_module.forget_programs()


def run(problem, optimizer, members, engine="compiled", width=None):
    return Stack(problem, OPTIMIZERS[optimizer], members, PLAN, width, engine).run()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("make", "optimizer", "lr"), CASES, ids=["mlp adam", "cnn shb"])
def test_members_do_not_see_their_stack_and_have_the_numbers_of_eager_ones(make, optimizer, lr):
    if (reason := can_compile()) is not None:
        pytest.skip(f"torch compiles nothing here: {reason}")
    problem, rule = make(), OPTIMIZERS[optimizer]
    members = [Member(seed, rule.complete({"lr": lr * (1 + seed)})) for seed in range(5)]
    spent = compiler.seconds_spent()
    stacked = run(problem, optimizer, members, width=8)
    assert compiler.seconds_spent() > spent
    assert all(map(same_bits, run(problem, optimizer, members[3:]), stacked[3:]))
    for one, other in zip(stacked, run(problem, optimizer, members, "eager")):
        for name, p in one.parameters.items():
            torch.testing.assert_close(p, other.parameters[name], rtol=1e-3, atol=1e-4)


def test_stacks_have_a_power_of_two_of_members():
    members = [Member(seed, {"lr": 0.1, "momentum": 0.9}) for seed in range(19)]
    arguments = (mlp_problem(), OPTIMIZERS["shb"], members, PLAN)
    assert chunk_width(*arguments, 1 << 30, "compiled") == 16  # 32 would be filled up with 13 copies
    assert chunk_width(*arguments, 1, "compiled") == 2
