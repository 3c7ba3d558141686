"""The GPU path: its own control flow on the CPU, and the real device where there is one."""

import functools

import pytest
import torch

from shb.datasets import load_dataset
from shb.models import cnn, mlp
from shb.optimizers import get_optimizer
from shb.problems import LearningProblem
from shb.training import Member, Plan, Stack, default_budget

MEMBERS = [Member(seed, {"lr": lr, "momentum": 0.9}) for seed, lr in enumerate((0.05, 1e30, 0.02, 0.1))]
PLAN = Plan(30, evaluate_at=(15,))


def problem(model, device="cpu", dtype=torch.float32):
    return LearningProblem(model, load_dataset("digits"), batch_size=16, device=device, dtype=dtype)


def test_freezing_without_asking_the_device_gives_the_same_members():
    """On a GPU every step freezes without a host synchronisation; the second member diverges."""
    small = problem(functools.partial(mlp, hidden=[8]))
    asking = Stack(small, get_optimizer("shb"), MEMBERS, PLAN)
    blind = Stack(small, get_optimizer("shb"), MEMBERS, PLAN)
    assert asking.asks_device
    blind.asks_device = False
    first, second = asking.run(), blind.run()
    assert [t.status for t in first] == ["done", "diverged", "done", "done"]
    for one, other in zip(first, second):
        assert (one.status, one.diverged_step, one.metrics) == (other.status, other.diverged_step, other.metrics)
        assert all(torch.equal(one.parameters[n], other.parameters[n]) for n in one.parameters)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", [functools.partial(mlp, hidden=[8]), functools.partial(cnn, channels=[4, 8])])
def test_gpu_agrees_with_cpu_in_float64(model):
    runs = [
        Stack(problem(model, device, torch.float64), get_optimizer("shb"), MEMBERS, PLAN).run()
        for device in ("cpu", "cuda")
    ]
    for one, other in zip(*runs):
        assert one.status == other.status
        for name, parameter in one.parameters.items():
            torch.testing.assert_close(other.parameters[name], parameter, rtol=1e-9, atol=1e-9)
    assert default_budget(torch.device("cuda"), "eager") > 0
