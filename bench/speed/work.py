"""The pieces of work whose speed is measured: the same members, once stacked and once one at a time.

A loop trains a plain torch module with torch.optim on batches indexed from tensors in memory: no data loader,
no logging, so it is as fast as a loop in eager torch gets. It runs in one process, with all threads and with
one thread (small networks are faster with one); the better of the two is the baseline.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from shb.datasets import load_dataset
from shb.models import cnn, mlp
from shb.optimizers import get_optimizer
from shb.problems import LearningProblem
from shb.training import Member, Plan, Stack

LR, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Work:
    """One comparison: a model on digits, SHB, cross-entropy, float32.

    Args:
        name: as printed.
        model: `(feature_shape, outputs) -> module` for the stack.
        plain: the same network from torch's own layers, for the loop.
        members, batch_size, steps: size of one round.
    """

    name: str
    model: Callable[..., nn.Module]
    plain: Callable[[], nn.Module]
    members: int = 32
    batch_size: int = 32
    steps: int = 64

    def problem(self) -> LearningProblem:
        return LearningProblem(self.model, load_dataset("digits"), batch_size=self.batch_size)


def _plain_mlp() -> nn.Module:
    hidden = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


def _plain_cnn() -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 4, 10))


WORKS = (
    Work("MLP 64-64-64-10, batch 32", functools.partial(mlp, hidden=[64, 64]), _plain_mlp),
    Work("CNN 16-32 on 1x8x8, batch 32", functools.partial(cnn, channels=[16, 32]), _plain_cnn),
)


def stacked_round(work: Work) -> Callable[[], None]:
    """A function that advances `work.members` members by `work.steps` steps, all together."""
    members = [Member(seed, {"lr": LR, "momentum": MOMENTUM}) for seed in range(work.members)]
    stack = Stack(work.problem(), get_optimizer("shb"), members, Plan(work.steps))
    state = stack.start()
    return lambda: stack.advance(state, 0, work.steps)


def loop_round(work: Work, members: int) -> Callable[[], None]:
    """A function that advances `members` of the members by `work.steps` steps, one after the other."""
    problem = work.problem()
    trained = []
    for seed in range(members):
        module = work.plain()
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), problem.initial_parameters(seed).values()):
                parameter.copy_(value)
        trained.append((module, torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM), seed))
    train = load_dataset("digits").train

    def run() -> None:
        for module, optimizer, seed in trained:
            for index in problem.sample(seed, 0, work.steps):
                optimizer.zero_grad()
                F.cross_entropy(module(train.x[index]), train.y[index]).backward()
                optimizer.step()

    return run
