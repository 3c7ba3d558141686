"""The pieces of work whose speed is measured, and what a stack makes of them.

python -m bench.speed.work NAME     compiles the step of a work and prints the seconds
"""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.cell.cost import CLOSED_FORM, forward_pass
from shb.datasets import Dataset, Split, load_dataset
from shb.models import cnn, mlp
from shb.optimizers import Optimizer, get_optimizer
from shb.problems import E1, LearningProblem, Problem
from shb.streams import BLOCK
from shb.training import Member, Plan, Stack, chunk_width, default_budget, seconds_spent, why_not

LR, MOMENTUM = 0.01, 0.9
ROWS = (4096, 256, 256)  # of the random images: training, validation and test part


def device() -> torch.device:
    """Where everything is measured: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait until the GPU has done what it was given; nothing on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def digits() -> Dataset:
    """8x8 images of digits."""
    return load_dataset("digits")


@functools.cache
def images() -> Dataset:
    """Random tensors of the shape of Fashion-MNIST [1, 28, 28]: speed does not depend on the pixels."""
    generator = torch.Generator().manual_seed(0)
    splits = [Split(torch.randn(n, 1, 28, 28, generator=generator), torch.arange(n) % 10) for n in ROWS]
    return Dataset("random", "classification", 10, *splits, checksum="", source="random numbers", licence="none")


@dataclass(frozen=True)
class Work:
    """One comparison: SHB with constant lr and momentum, float32 and cross-entropy for networks, float64 for E1.

    Args:
        name: as printed.
        kind: "mlp", "cnn" or "closed form".
        plain: one trajectory as torch's own layers, for the loop; of E1, the loss.
        model: `(feature_shape, outputs) -> module` for the stack; None for E1.
        dataset: makes the data; None for E1.
        members, steps: size of one round; rates are per member-step.
        rounds, loop_rounds: how often a round of a stack and one of a loop is timed.
        looped: members of a round of a loop, in each process, `loop_steps` steps each: enough for a stable time.
    """

    name: str
    kind: str
    plain: Callable[[], nn.Module]
    model: Callable[..., nn.Module] | None = None
    dataset: Callable[[], Dataset] | None = None
    batch_size: int = 32
    members: int = 32
    steps: int = 64
    rounds: int = 9
    loop_rounds: int = 9
    looped: int = 4
    loop_steps: int = 64

    @functools.cached_property
    def problem(self) -> Problem:
        if self.model is None:
            return E1(device=device())
        return LearningProblem(self.model, self.dataset(), batch_size=self.batch_size, device=device())

    @property
    def cost(self) -> float:
        """Operations of a member-step."""
        if self.model is None:
            return CLOSED_FORM.step()
        data = self.dataset()
        return forward_pass(self.model, data.feature_shape, data.outputs, torch.float32).step(self.batch_size)

    @functools.cached_property
    def optimizer(self) -> Optimizer:
        return get_optimizer("shb")

    @functools.cached_property
    def all_members(self) -> list[Member]:
        return [Member(seed, {"lr": LR, "momentum": MOMENTUM}) for seed in range(self.members)]

    def width(self, engine: str) -> int:
        """Members in a chunk, as in a run."""
        members, plan, problem = self.all_members, Plan(self.steps), self.problem
        return chunk_width(problem, self.optimizer, members, plan, default_budget(problem.device, engine), engine)

    def stack(self, engine: str, width: int) -> Stack:
        """The first chunk; the others are as fast."""
        chunk = self.all_members[:width]
        return Stack(self.problem, self.optimizer, chunk, Plan(self.steps), width, engine)


class PlainE1(nn.Module):
    """One trajectory of E1: a scalar in float64; its output is its loss for the sample s."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, s: Tensor) -> Tensor:
        return 2 * s * torch.relu(s * self.w) + self.w * self.w / 2


def plain_mlp(inputs: int, width: int) -> nn.Module:
    """Two hidden layers of `width` units."""
    hidden = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, 10))


def plain_cnn(side: int) -> nn.Module:
    """Convolutions of 16 and 32 channels, each before a max-pooling, on one channel of side x side pixels."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 10))


def mlp_work(name: str, width: int, inputs: int = 64, **sizes: int) -> Work:
    """A network of two hidden layers on digits (64 inputs) or random images (784)."""
    model, plain = functools.partial(mlp, hidden=[width, width]), functools.partial(plain_mlp, inputs, width)
    return Work(name, "mlp", plain, model, digits if inputs == 64 else images, **sizes)


def cnn_work(name: str, side: int, **sizes: int) -> Work:
    """The convolutional network on digits (side 8) or random images (28)."""
    model, plain = functools.partial(cnn, channels=[16, 32]), functools.partial(plain_cnn, side)
    return Work(name, "cnn", plain, model, digits if side == 8 else images, **sizes)


WORKS = (
    mlp_work("MLP 64-64-64-10, batch 32", 64),
    mlp_work("MLP 784-100-100-10, batch 128", 100, 784, batch_size=128, steps=16, looped=2, loop_steps=32),
    cnn_work("CNN 16-32 on 1x8x8, batch 32", 8, steps=32, looped=2),
    cnn_work(
        "CNN 16-32 on 1x28x28, batch 64", 28, batch_size=64, members=16, steps=4, rounds=7, looped=1, loop_steps=16
    ),
    Work("E1, 10^6 members, 1,000 steps", "closed form", PlainE1, members=10**6, steps=1000, rounds=3, looped=8),
)


def stacked_round(work: Work, engine: str, width: int) -> Callable[[], None]:
    """A function that advances one stack of `width` by `work.steps` steps, as many times as the members need chunks.

    Each time starts at w_0, so that every round is the same work.
    """
    stack = work.stack(engine, width)
    state = stack.start()

    def run() -> None:
        for _ in range(math.ceil(work.members / width)):
            own = dict(state)
            for start in range(0, work.steps, BLOCK):
                stack.advance(own, start, min(start + BLOCK, work.steps))
        synchronize()

    return run


def loss_of(work: Work) -> Callable[[nn.Module, Tensor], Tensor]:
    """Loss of a plain module for one sample; batches are indexed from tensors in memory: no data loader."""
    if work.dataset is None:
        return lambda module, s: module(s)
    train = work.dataset().train
    x, y = train.x.to(device()), train.y.to(device())
    return lambda module, index: F.cross_entropy(module(x[index]), y[index])


def compile_seconds(work: Work) -> float:
    """Seconds that a first run pays for compiling: in a process of its own, with an empty cache.

    On a CPU these are the native operations, the same for every work.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.speed.work", work.name]
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder, "XDG_CACHE_HOME": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(name: str) -> None:
    """Print the seconds that compiling takes here and now."""
    (work,) = (work for work in WORKS if work.name == name)
    why_not()
    stack = work.stack("compiled", work.width("compiled"))
    stack.advance(stack.start(), 0, 1)
    print(seconds_spent())


if __name__ == "__main__":
    main(sys.argv[1])
