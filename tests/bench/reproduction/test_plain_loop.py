"""The plain loop trains the members of stacks.

Every schedule here is constant, or the optimizer is one whose torch form needs no conversion: torch.optim.SGD with
momentum is the heavy ball only at a constant step size (shb/optimizers/conversions.py).
"""

import itertools

import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.reproduction.plain_loop import check_plain, train_plain
from shb.errors import ConfigurationError
from shb.training import run_chunked

STEPS = 12
SHARED = [
    f"steps={STEPS}",
    "evaluations=3",
    "optimizer.space.lr.low=0.03",  # every trial moves, none diverges
    "optimizer.space.lr.high=0.06",
    "device=cpu",
    "engine=eager",
]
PROBLEMS = {
    "digits/mlp": ["model=mlp", "dataset=digits", "model.hidden=[6,5]"],
    "diabetes/mlp": ["model=mlp", "dataset=diabetes", "model.hidden=[6]", "sampling=reshuffle"],
    "digits/cnn": ["model=cnn", "dataset=digits", "model.channels=[3,4]"],
    "mnist1d/cnn": ["model=cnn", "dataset=mnist1d", "model.channels=[3,4]", "model.kernel=5"],
    "digits/mlp, batch": ["model=mlp", "dataset=digits", "model.hidden=[6,5]", "model.norm=batch"],
    "digits/mlp, layer": ["model=mlp", "dataset=digits", "model.hidden=[6,5]", "model.norm=layer"],
    "digits/cnn, batch": ["model=cnn", "dataset=digits", "model.channels=[3,4]", "model.norm=batch"],
    "mnist1d/cnn, layer": ["model=cnn", "dataset=mnist1d", "model.channels=[3,4]", "model.norm=layer"],
    "digits/squared": ["model=cnn", "dataset=digits", "model.channels=[3]", "loss=squared", "model.downsample=stride"],
}
OPTIMIZERS = ["sgd", "shb", "nesterov", "adam"]


def assert_same(cell):
    trajectories = [t for chunk in run_chunked(cell.problem(), cell.optimizer, cell.members, cell.plan) for t in chunk]
    for member, stacked in zip(cell.members, trajectories, strict=True):
        plain = train_plain(cell, member).evaluations
        curve = {name: values for name, values in stacked.curve.items() if name.startswith(("train_", "val_", "test_"))}
        assert len(plain) == len(stacked.curve["step"]) == 4
        for i, evaluation in enumerate(plain):  # up to 12 steps of float32 roundings
            expected = {name: values[i] for name, values in curve.items() if values[i] is not None}
            assert evaluation == pytest.approx(expected, rel=3e-7 * STEPS), (member, i)
        assert "train_loss" in plain[-1] and "train_loss" not in plain[0]
        assert abs(plain[-1]["val_loss"] / plain[0]["val_loss"] - 1) > 1e-3  # it went somewhere


PAIRS = [  # a network of every kind at once, the others with the slow tests
    *(
        pytest.param(name, "shb", marks=[pytest.mark.slow] if name in ("digits/cnn", "mnist1d/cnn") else [])
        for name in PROBLEMS
    ),
    *(("digits/mlp", name) for name in OPTIMIZERS if name != "shb"),
]


@pytest.mark.parametrize(("problem", "optimizer"), PAIRS)  # every network, every optimizer
def test_a_plain_run_is_the_stacked_member(problem, optimizer):
    """Three seeds of a large and a small step size."""
    overrides = [*PROBLEMS[problem], *SHARED, f"optimizer={optimizer}", "optimizer.lr=[0.03,0.06]", "seeds=3"]
    assert_same(build_cell(compose_config(overrides)))


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
def test_a_plain_run_follows_the_schedule(optimizer):
    overrides = [*PROBLEMS["digits/mlp"], *SHARED, f"optimizer={optimizer}", "optimizer.lr=0.06", "seeds=1"]
    assert_same(build_cell(compose_config([*overrides, "schedule=step", "schedule.step_size=0.25"])))


DECAYS = [("shb", "false", "norm"), ("adam", "true", "value")]  # the others with the slow tests
EVERY_DECAY = [
    pytest.param(*case, marks=[] if case in DECAYS else [pytest.mark.slow])
    for case in itertools.product(OPTIMIZERS, ("false", "true"), ("norm", "value"))
]


@pytest.mark.parametrize(("optimizer", "decoupled", "clip"), EVERY_DECAY)
def test_a_plain_run_decays_and_clips(optimizer, decoupled, clip):
    level = {"norm": "0.05", "value": "0.02"}[clip]  # acts on some gradients
    decay = [f"optimizer={optimizer}", "optimizer.weight_decay=[0,0.5]", f"optimizer.decoupled={decoupled}"]
    overrides = [*PROBLEMS["digits/mlp"], *SHARED, *decay, "optimizer.lr=0.03", f"clip={clip}", f"clip.at={level}"]
    cell = build_cell(compose_config([*overrides, "seeds=1"]))
    assert_same(cell)
    ends = [train_plain(cell, member).evaluations[-1]["train_loss"] for member in cell.members]
    bare = build_cell(compose_config([*PROBLEMS["digits/mlp"], *SHARED, *decay, "optimizer.lr=0.03", "seeds=1"]))
    ends += [train_plain(bare, bare.members[0]).evaluations[-1]["train_loss"]]
    assert min(abs(a / b - 1) for a, b in zip(ends, [*ends[1:], ends[0]])) > 1e-4


@pytest.mark.parametrize(
    "overrides",
    [
        ["problem=e1"],
        ["optimizer=ema_momentum"],
        ["relu_derivative=0.5"],
        ["model=cnn", "model.pool_beta=1.0"],
        ["momentum_schedule=cosine"],
        ["velocity=normal"],
    ],
)
def test_what_torch_lacks_is_refused(overrides):
    with pytest.raises(ConfigurationError, match="plain torch run"):
        check_plain(build_cell(compose_config([*overrides, "steps=1", "seeds=1"])))
