"""Stacks of closed forms for tests."""

from shb.optimizers import OPTIMIZERS
from shb.training import Member, Plan, Stack


def run(problem, optimizer, members, steps, lr, schedule="constant", **hyperparameters):
    """Trajectories of seeds 0..members-1 with one set of hyperparameters."""
    stack = [Member(seed, {"lr": lr, **hyperparameters}) for seed in range(members)]
    return Stack(problem, OPTIMIZERS[optimizer], stack, Plan(steps, schedule)).run()


def trapped(trajectories):
    return sum(t.metrics["trapped"] == 1 for t in trajectories)


def touched(trajectories):
    return sum(t.metrics["touched"] == 1 for t in trajectories)
