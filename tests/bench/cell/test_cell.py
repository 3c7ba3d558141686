"""Cells: which members a configuration describes, and what their identities depend on."""

import hashlib
import itertools

import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.cell.problem import resolve_device
from bench.store.identity import canonical
from shb.errors import ConfigurationError
from shb.training import Stack

BASE = ("dataset=diabetes", "model.hidden=[4]", "optimizer=shb", "steps=8", "device=cpu")


def cell_of(*overrides):
    return build_cell(compose_config([*BASE, *overrides]))


@pytest.fixture(scope="module")
def base():
    return cell_of("seeds=2")


@pytest.mark.parametrize(
    ("overrides", "identity"),
    [
        (["problem=e1", "optimizer=shb", "steps=5", "evaluations=2", "device=cpu"], "1045c1161c477b6c"),
        (["dataset=digits", "model.hidden=[4]", "optimizer=adam", "steps=5", "device=cpu"], "997555df1708e4ce"),
        (
            ["dataset=digits", "model.hidden=[4]", "model.norm=none", "optimizer=adam", "steps=5", "device=cpu"],
            "997555df1708e4ce",
        ),
    ],
)
def test_identity_is_stable_across_versions(overrides, identity):
    """A changed constant orphans every stored member: what is meant to change bits raises NUMERICS instead."""
    cell = build_cell(compose_config([*overrides, "seeds=1"]))
    first_numerics = {**cell.specs[0], "numerics": 1}
    assert hashlib.sha256(canonical(first_numerics).encode()).hexdigest()[:16] == identity
    assert cell.ids[0] == hashlib.sha256(cell.spec_json(0).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "change",
    [
        "seed_offset=2",
        "optimizer.lr=0.06",
        "optimizer.momentum=0.8",
        "optimizer=nesterov",
        "steps=9",
        "batch_size=31",
        "sampling=reshuffle",
        "init=kaiming",
        "init=normal",
        "dtype=float64",
        "dtype=bfloat16",
        "model.hidden=[5]",
        "model.norm=layer",
        "model.norm=batch",
        "model.hidden=[4,4]",
        "model=cnn dataset=digits",
        "dataset=breast_cancer",
        "loss=squared dataset=digits",
        "schedule=power",
        "momentum_schedule=cosine",
        "evaluations=4",
        "relu_derivative=1",
        "relu_rule=injected",
        "velocity=normal",
        "optimizer.weight_decay=0.01",
        "clip=norm",
        "clip=value",
        "problem=e1",
        "problem=e1 dtype=float16",
    ],
)
def test_identity_depends_on(base, change):
    groups = {override.split("=")[0] for override in change.split()}
    kept = [override for override in BASE if override.split("=")[0] not in groups]
    if "model" in groups or "problem" in groups:
        kept.remove("model.hidden=[4]")
    changed = build_cell(compose_config([*kept, *change.split(), "seeds=2"]))
    assert not set(changed.ids) & set(base.ids)


@pytest.mark.parametrize(
    ("group", "parameter"),
    [
        ("schedule=power", "schedule.q=0.6"),
        ("init=normal", "init.std=0.2"),
        ("init=point", "init.value=1"),
        ("velocity=normal", "velocity.std=0.3"),
        ("clip=norm", "clip.at=2"),
        ("optimizer.weight_decay=0.01", "optimizer.decoupled=true"),
    ],
)
def test_identity_depends_on_parameters_of_groups(group, parameter):
    assert not set(cell_of(group).ids) & set(cell_of(group, parameter).ids)


@pytest.mark.parametrize(
    "other",
    [
        "results_dir=elsewhere",
        "threads=1",
        "memory=3",
        "data_root=elsewhere",
        "download=true",
        "logger=wandb",
        "device=cpu",
        "optimizer.lr=[0.05]",  # the default, as a list
        "loss=squared",  # what auto means here
        "init=torch_default",  # what auto means here
        "optimizer.allow_unstable=true",
        "optimizer.weight_decay=0",
        "optimizer.decoupled=true",  # of a weight decay of 0
        "clip=none",
    ],
)
def test_identity_does_not_depend_on(base, other):
    assert cell_of("seeds=2", other).ids == base.ids


def test_step_and_epoch_describe_the_same_run():
    epochs = [override for override in BASE if not override.startswith("steps")]
    by_epochs = build_cell(compose_config([*epochs, "epochs=1", "batch_size=32"]))
    assert by_epochs.plan.steps == 9  # ceil(282 / 32)
    assert by_epochs.ids == cell_of("steps=9", "batch_size=32").ids


def test_lists_become_members():
    cell = cell_of("optimizer.lr=[0.1,0.2]", "optimizer.momentum=[0.5,0.9]", "schedule=power", "schedule.q=[0.6,0.9]")
    settings = {(m.seed, *m.hyperparameters.values()) for m in cell.members}
    assert list(cell.members[0].hyperparameters) == ["lr", "momentum", "schedule.q", "schedule.k0"]
    assert settings == set(itertools.product(range(10), [0.1, 0.2], [0.5, 0.9], [0.6, 0.9], [10.0]))
    assert len(set(cell.ids)) == len(cell.ids) == 80


def test_a_member_without_decay_is_the_same_beside_some_with_it(base):
    """What is off is no part of a spec, and the stack gives such a member the bits that it has alone."""
    cell = cell_of("seeds=2", "optimizer.weight_decay=[0,0.1]", "optimizer.decoupled=true")
    assert cell.ids[:2] == base.ids and not set(cell.ids[2:]) & set(base.ids)
    assert "weight_decay" not in cell.setting(0) and cell.setting(2)["weight_decay"] == 0.1
    assert [("decoupled" in spec) for spec in cell.specs] == [False, False, True, True]
    assert {tuple(member.hyperparameters) for member in cell.members} == {("lr", "momentum", "weight_decay")}


def test_trials_may_have_weight_decay():
    config = compose_config([*BASE, "seeds=1"])
    trials = [{"lr": 0.1, "momentum": 0.5, "weight_decay": decay} for decay in (0.0, 0.2)]
    cell = build_cell(config, trials)
    assert cell.optimizer.decay == "coupled" and [cell.setting(i).get("weight_decay") for i in (0, 1)] == [None, 0.2]
    assert build_cell(config, trials[:1]).ids == cell.ids[:1]


def test_more_seeds_keep_the_members(base):
    assert set(base.ids) < set(cell_of("seeds=4").ids)
    assert not set(cell_of("seeds=2", "seed_offset=2").ids) & set(base.ids)


def test_a_member_of_a_list_is_the_member_alone():
    assert set(cell_of("optimizer.lr=0.2").ids) < set(cell_of("optimizer.lr=[0.1,0.2]").ids)


def test_unstable_momentum_is_marked():
    cell = cell_of("optimizer.allow_unstable=true", "optimizer.momentum=[0.9,1,-1.5]", "seeds=1")
    assert cell.unstable == (False, True, True)


def test_trials_replace_the_numbers():
    config = compose_config([*BASE, "seeds=2"])
    cell = build_cell(config, [{"lr": 0.3}, {"lr": 0.4, "momentum": 0.1}])
    assert [(m.seed, dict(m.hyperparameters)) for m in cell.members] == [
        (seed, setting) for setting in ({"lr": 0.3, "momentum": 0.9}, {"lr": 0.4, "momentum": 0.1}) for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    ("trial", "words"), [({"lr": 0.0}, "lr=0.0: .*> 0"), ({"momentum": 1.0}, "momentum=1.0: .*-1, 1")]
)
def test_a_trial_is_checked_as_the_configuration_is(trial, words):
    with pytest.raises(ConfigurationError, match=rf"optimizer\.{words}"):
        build_cell(compose_config([*BASE, "seeds=2"]), [{"lr": 0.3}, trial])


def test_device_names():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(ConfigurationError, match="did you mean cuda"):
        resolve_device("cudas")


def test_the_damping_of_the_second_order_momentum_can_be_a_list(tiny):
    given = [*tiny[:2], *tiny[3:], "optimizer=shb", "momentum_schedule=second_order"]
    cell = build_cell(compose_config([*given, "momentum_schedule.r=[0.5,2.0]"]))
    dampings = [member.hyperparameters["momentum_schedule.r"] for member in cell.members]
    assert dampings == [0.5, 0.5, 2.0, 2.0]
    with pytest.raises(ConfigurationError, match=r"momentum_schedule\.r="):
        build_cell(compose_config([*given, "momentum_schedule.r=[0.5,0.0]"]))


def test_the_momentum_of_a_schedule_decides_whether_it_is_unstable():
    """0.9 / log 2 > 1; with second order, r sqrt(lr) crosses 2 between r = 9 and r = 11 at lr = 0.04."""
    allowed = ("optimizer.allow_unstable=true", "seeds=1", "optimizer.lr=0.04")
    assert cell_of(*allowed, "momentum_schedule=inverse_log", "optimizer.momentum=[0.6,0.9]").unstable == (False, True)
    assert cell_of(*allowed, "momentum_schedule=second_order", "momentum_schedule.r=[9,11]").unstable == (False, True)


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        (["model=mlp", "model.hidden=[8]"], True),
        (["model=cnn", "model.channels=[4,8]"], False),
        (["model=cnn", "model.channels=[4,4,4,4]", "model.downsample=stride"], True),  # the last of one pixel
    ],
)
def test_one_sample_is_refused_only_where_a_channel_has_one_number(model, refused):
    config = compose_config(["dataset=digits", *model, "model.norm=batch", "batch_size=1", "steps=2", "device=cpu"])
    if refused:
        with pytest.raises(ConfigurationError, match=r"batch_size=1: allowed is at least 2 with model\.norm=batch"):
            build_cell(config)
    else:
        cell = build_cell(config)
        (trajectory,) = Stack(cell.problem(), cell.optimizer, cell.members[:1], cell.plan).run()
        assert trajectory.status == "done"
