"""A user's own module in a stack: the trajectory of torch's own loop, and bits of its own, also after a resume."""

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shb.datasets.dataset import Dataset, Split
from shb.models import cnn, mlp, transformer
from shb.optimizers import OPTIMIZERS
from shb.problems import LearningProblem
from shb.streams import stream
from shb.training import Checkpoint, Member, Plan, Stack, why_not
from shb.training.drawing import drawn, kept
from shb.training.step import step_of
from tests.shb.problems.tiny import same_bits, tiny_dataset
from tests.shb.training.interruption import Interrupted, interrupt_after
from tests.shb.training.plain_loop import Masks, check_against_torch

can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
STEPS, LR = 5, 0.05


class Attention(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.mixed = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4, outputs)

    def forward(self, x):
        tokens = x.transpose(1, 2)
        mixed, _ = self.mixed(tokens, tokens, tokens, need_weights=False)
        return self.out((mixed + F.scaled_dot_product_attention(tokens, tokens, tokens)).mean(1))


class Names(nn.Module):
    """Parameters of unusual names and dimensions, and a frozen one."""

    def __init__(self, features, outputs):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(outputs))
        self.scale = nn.Parameter(torch.randn(()))
        self.weight_orig = nn.Parameter(torch.randn(outputs, 5))
        self.register_parameter("a/b\n", nn.Parameter(torch.randn(1)))
        self.frozen = nn.Parameter(torch.randn(5), requires_grad=False)

    def forward(self, x):
        return F.relu((x * self.frozen) @ self.weight_orig.T * self.scale) + self.bias * getattr(self, "a/b\n")


def frozen(features, outputs):
    first = nn.Linear(5, 4)
    first.requires_grad_(False)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(4, outputs))


def batch_norm(features, outputs):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.PReLU(4), nn.Flatten(), nn.Linear(48, 5),
        nn.BatchNorm1d(5), nn.Linear(5, outputs),
    )  # fmt: skip


def group_norm(features, outputs):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.PReLU(), nn.Flatten(), nn.Linear(120, outputs)
    )


def layer_norm(features, outputs):
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, outputs))


def embedding(features, outputs):
    return nn.Sequential(nn.Embedding(11, 3), nn.Flatten(), nn.Linear(15, outputs))


def dropout(features, outputs):
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.4), nn.ReLU(), nn.Linear(8, outputs))


class Tied(nn.Module):
    """One matrix in two places."""

    def __init__(self, features, outputs):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, outputs)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(F.relu(self.second(F.relu(self.first(x)))))


def whole_numbers():
    """Inputs [rows, 5] of 0 .. 10."""
    base, random = tiny_dataset(), torch.Generator().manual_seed(0)
    parts = [
        Split(torch.randint(11, p.x.shape, generator=random), p.y) for p in (base.train, base.validation, base.test)
    ]
    return Dataset("tokens", base.task, base.outputs, *parts, "none", "test", "none")


MODELS = {
    "layer norm": (layer_norm, tiny_dataset),
    "group norm": (group_norm, functools.partial(tiny_dataset, (2, 5, 6))),
    "batch norm": (batch_norm, functools.partial(tiny_dataset, (2, 5, 6))),
    "embedding": (embedding, whole_numbers),
    "attention": (Attention, functools.partial(tiny_dataset, (4, 3))),
    "names": (Names, tiny_dataset),
    "frozen": (frozen, tiny_dataset),
    "dropout": (dropout, tiny_dataset),
    "tied": (Tied, tiny_dataset),
    "transformer": (
        functools.partial(transformer, patch=2, width=6, depth=1, heads=2),
        functools.partial(tiny_dataset, (2, 4, 6)),
    ),
    "mlp, layer": (functools.partial(mlp, hidden=[6, 4], norm="layer"), tiny_dataset),
    "mlp, batch": (functools.partial(mlp, hidden=[6, 4], norm="batch"), tiny_dataset),
    "cnn, layer": (functools.partial(cnn, channels=[4, 3], norm="layer"), functools.partial(tiny_dataset, (2, 5, 6))),
    "cnn, batch": (functools.partial(cnn, channels=[4, 3], norm="batch"), functools.partial(tiny_dataset, (2, 5, 6))),
}


@functools.cache
def problem_of(name):
    model, data = MODELS[name]
    return LearningProblem(model, data(), batch_size=7, dtype=torch.float64)


@functools.cache
def seven(name, engine):
    return stack_of(name, engine, range(7)).run()


def stack_of(name, engine, seeds):
    members = [Member(seed, {"lr": LR * (1 + seed), "momentum": 0.5}) for seed in seeds]
    return Stack(problem_of(name), OPTIMIZERS["shb"], members, Plan(STEPS, evaluate_at=(0, 2, STEPS)), engine=engine)


@pytest.fixture(
    scope="module",  # so that the tests of a model follow each other, and share what is traced
    params=[
        pytest.param((name, engine), marks=marks, id=f"{name}-{engine}")
        for name in MODELS
        for engine, marks in (("eager", ()), ("compiled", can_compile))
    ],
)
def trained(request):
    """Name and engine."""
    return request.param


def test_a_member_is_what_torch_alone_makes_of_it(trained, monkeypatch):
    name, engine = trained
    for trajectory in seven(name, engine)[:2]:
        monkeypatch.setattr(F, "dropout", Masks(trajectory.member.seed))
        check_against_torch(trajectory, problem_of(name), *MODELS[name], STEPS)


def same(a, b):
    return same_bits(a, b) and all(torch.equal(a.buffers[n], b.buffers[n]) for n in a.buffers)


def test_the_bits_of_a_member_are_its_own(trained, tmp_path):
    name, engine = trained
    expected = seven(name, engine)
    assert same(stack_of(name, engine, [3]).run()[0], expected[3])
    path = tmp_path / "stack.safetensors"
    stack = stack_of(name, engine, range(7))
    with pytest.raises(Interrupted):
        stack.run(progress=interrupt_after(2), checkpoint=Checkpoint(path, "these", interval=0))
    checkpoint = Checkpoint(path, "these", interval=0)
    assert all(map(same, stack.run(checkpoint=checkpoint), expected))
    assert checkpoint.resumed_at == 2


def test_a_frozen_layer_keeps_the_value_of_the_module_and_is_no_parameter():
    problem, trajectories = problem_of("frozen"), seven("frozen", "eager")
    assert set(trajectories[0].parameters) == {"2.weight", "2.bias"}
    for trajectory in trajectories[:2]:
        start = problem.initial_buffers(trajectory.member.seed)
        assert all(torch.equal(trajectory.buffers[name], start[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(trajectories[0].buffers["0.weight"], trajectories[1].buffers["0.weight"])


def test_frozen_constants_stay():
    def model(features, outputs):
        module = nn.Linear(5, outputs)
        nn.init.constant_(module.bias, 2.5).requires_grad_(False)
        return module

    problem = LearningProblem(model, tiny_dataset(), init="zeros")
    assert set(problem.initial_parameters(0)) == {"weight"}
    assert torch.equal(problem.initial_buffers(3)["bias"], torch.full((3,), 2.5))


def test_buffers_of_a_diverged_member_are_those_of_its_last_iterate():
    members = [Member(0, {"lr": 0.05}), Member(1, {"lr": 1e300})]
    dead = Stack(problem_of("batch norm"), OPTIMIZERS["sgd"], members, Plan(4)).run()[1]
    assert dead.status == "diverged"
    assert all(b.isfinite().all() for b in dead.buffers.values())
    assert dead.buffers["1.num_batches_tracked"] == dead.diverged_step


@pytest.mark.parametrize("name", ["mlp, batch", "cnn, batch"])
def test_running_statistics_are_of_a_member_and_used_in_evaluation(name):
    problem, trajectories = problem_of(name), seven(name, "eager")
    means = [next(b for n, b in one.buffers.items() if n.endswith("running_mean")) for one in trajectories]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(means))
    assert all(int(b) == STEPS for n, b in trajectories[0].buffers.items() if n.endswith("num_batches_tracked"))
    one = trajectories[0]
    batches = [b for b in problem.evaluation(full=True) if b.part == "test_"]

    def test_loss(buffers):
        sums = [problem.metrics({**one.parameters, **buffers}, *b.tensors)["loss"] for b in batches]
        return float(sum(sums)) / sum(b.weight for b in batches)

    assert test_loss(one.buffers) == pytest.approx(one.metrics["test_loss"], rel=1e-12)
    assert abs(test_loss(problem.initial_buffers(0)) / one.metrics["test_loss"] - 1) > 1e-3


@can_compile
@pytest.mark.parametrize("name", ["mlp, layer", "mlp, batch", "cnn, layer"])
def test_normalised_steps_are_tapes(name):
    model, data = MODELS[name]
    problem = LearningProblem(model, data(), batch_size=7)
    assert step_of(problem, OPTIMIZERS["shb"], 5, ("lr", "momentum"), "compiled", False).taped


def test_kept_has_its_probability_and_no_neighbour():
    keys = torch.tensor(stream(0, "dropout").integers(-(2**63), 2**63, (64, 1)))
    masks = kept(keys, torch.Size((64, 50, 20)), 0.3)
    assert abs(masks.double().mean().item() - 0.3) < 4 * (0.21 / masks.numel()) ** 0.5
    assert torch.equal(kept(keys[5:7], torch.Size((2, 50, 20)), 0.3), masks[5:7])
    assert torch.equal(kept(keys, torch.Size((64, 20)), 0.3, first=20), masks[:, 1])
    assert abs(torch.corrcoef(masks.flatten(1).double())[0, 1].item()) < 0.15


@pytest.mark.parametrize(
    ("draw", "probability"),
    [
        (lambda x: x.bernoulli_(), 0.5),
        (lambda x: x.bernoulli_(0.2), 0.2),
        (lambda x: x.bernoulli_(p=0.7), 0.7),
        (lambda x: torch.bernoulli(x, 0.3), 0.3),
    ],
    ids=["default", "in place", "named", "new"],
)
def test_a_draw_has_the_probability_that_the_model_gives_it(draw, probability):
    keys, x = torch.tensor(stream(0, "dropout").integers(-(2**63), 2**63, (64, 1))), torch.zeros(64, 50)
    (mask,) = drawn(lambda x, key: [draw(torch.zeros_like(x))], x, keys)(x, keys)
    assert torch.equal(mask, kept(keys, x.shape, probability).to(x.dtype))
