"""Every configuration group checks its own fields, by itself: one line with field, value and what is allowed."""

import dataclasses
import typing

import pytest
from omegaconf import OmegaConf

from bench.cell import groups
from bench.cell.config import CONF, ClaimsConfig, Config, compose_as, compose_config, entries
from bench.cell.groups import (
    ClaimConfig,
    ClipConfig,
    DatasetConfig,
    Group,
    InitConfig,
    LoggerConfig,
    ModelConfig,
    MomentumScheduleConfig,
    OptimizerConfig,
    ProblemConfig,
    ScheduleConfig,
    SuiteConfig,
    VelocityConfig,
)
from shb.errors import ConfigurationError
from shb.problems import CLOSED_FORMS, ClosedForm

GROUPS = [getattr(groups, name) for name in groups.__all__ if name.endswith("Config")]
SHB = {"name": "shb", "lr": 0.1, "momentum": 0.9}
AXIS = {"low": 0.1, "high": 1.0, "scale": "log"}
WANDB = {
    "name": "wandb",
    "project": "a",
    "entity": None,
    "mode": "auto",
    "per_seed": False,
    "tuning": False,
    "dir": "d",
}

READ = [  # group, fields of an entry, what is made of them
    (OptimizerConfig, {**SHB, "lr": [1, 2]}, OptimizerConfig("shb", {"lr": [1.0, 2.0], "momentum": [0.9]})),
    (
        OptimizerConfig,
        {**SHB, "allow_unstable": True, "space": {"lr": AXIS}},
        OptimizerConfig("shb", {"lr": [0.1], "momentum": [0.9]}, True, {"lr": AXIS}),
    ),
    (
        OptimizerConfig,
        {**SHB, "weight_decay": [0, 0.1], "decoupled": True},
        OptimizerConfig("shb", {"lr": [0.1], "momentum": [0.9], "weight_decay": [0.0, 0.1]}, decoupled=True),
    ),
    (ClipConfig, {"name": "none"}, ClipConfig("none")),
    (ClipConfig, {"name": "norm", "at": [1, 2.5]}, ClipConfig("norm", {"at": [1.0, 2.5]})),
    (ClipConfig, {"name": "value", "at": 3}, ClipConfig("value", {"at": [3.0]})),
    (ScheduleConfig, {"name": "power", "q": [0.6, 1], "k0": 10}, ScheduleConfig("power", {"q": [0.6, 1], "k0": [10]})),
    (MomentumScheduleConfig, {"name": "second_order", "r": 0}, MomentumScheduleConfig("second_order", {"r": [0.0]})),
    (InitConfig, {"name": "normal", "std": None}, InitConfig("normal", {"std": None})),
    (InitConfig, {"name": "point", "value": [1, 2]}, InitConfig("point", {"value": [1.0, 2.0]})),
    (InitConfig, {"name": "point", "value": [1]}, InitConfig("point", {"value": 1.0})),
    (VelocityConfig, {"name": "zero"}, VelocityConfig("zero", 0.0)),
    (VelocityConfig, {"name": "normal", "std": 2}, VelocityConfig("normal", 2.0)),
    (ProblemConfig, {"name": "absolute", "atoms": 3}, ProblemConfig("absolute", {"atoms": 3})),
    (ModelConfig, {"name": "mlp", "hidden": []}, ModelConfig("mlp", {"hidden": []})),
    (DatasetConfig, {"name": "digits"}, DatasetConfig("digits")),
    (LoggerConfig, {"name": "none"}, LoggerConfig("none")),
    (LoggerConfig, WANDB, LoggerConfig("wandb", "a", dir="d")),
    (SuiteConfig, {"name": "none", "optimizers": ["sgd"]}, SuiteConfig("none", ["sgd"])),
    (ClaimConfig, {"name": "CL1", "quick": {"seeds": 2}}, ClaimConfig("CL1", {"quick": {"seeds": 2}})),
]

REFUSED = [  # group, fields of an entry, field of the error, part of what is allowed
    (OptimizerConfig, {"name": "shbb"}, "optimizer", "did you mean shb?"),
    (OptimizerConfig, {"name": "shb", "lr": 0.1}, "optimizer.momentum", "a number or a list of them"),
    (OptimizerConfig, {**SHB, "beta": 1}, "optimizer.beta", "optimizer.weight_decay: shb has no such field"),
    (OptimizerConfig, {**SHB, "lr": 0}, "optimizer.lr", "a number > 0"),
    (OptimizerConfig, {**SHB, "lr": [0.1, -1]}, "optimizer.lr", "a number > 0"),
    (OptimizerConfig, {**SHB, "lr": 10**400}, "optimizer.lr", "<= 2^63 - 1"),
    (OptimizerConfig, {**SHB, "lr": float("nan")}, "optimizer.lr", "a finite number"),
    (OptimizerConfig, {**SHB, "momentum": True}, "optimizer.momentum", "a finite number or a list of them"),
    (OptimizerConfig, {**SHB, "momentum": 1e301}, "optimizer.momentum", "1e+300"),
    (OptimizerConfig, {**SHB, "momentum": []}, "optimizer.momentum", "a non-empty list"),
    (OptimizerConfig, {**SHB, "allow_unstable": 1}, "optimizer.allow_unstable", "true or false"),
    (OptimizerConfig, {**SHB, "space": 3}, "optimizer.space", "low, high and scale"),
    (OptimizerConfig, {**SHB, "space": {"beta": AXIS}}, "optimizer.space of shb", "one of lr, momentum"),
    (OptimizerConfig, {**SHB, "space": {"lr": 3}}, "optimizer.space.lr", "low, high and scale"),
    (OptimizerConfig, {**SHB, "space": {"lr": {**AXIS, "low": "x"}}}, "optimizer.space.lr.low", "a number"),
    (OptimizerConfig, {**SHB, "space": {"lr": {**AXIS, "low": 2}}}, "optimizer.space.lr", "low < high"),
    (OptimizerConfig, {"name": "adam", "lr": 1, "beta1": 1, "beta2": 0, "eps": 0}, "optimizer.beta1", "in [0, 1)"),
    (OptimizerConfig, {"name": "adam", "lr": 1, "beta1": 0, "beta2": -1, "eps": 0}, "optimizer.beta2", "in [0, 1)"),
    (OptimizerConfig, {"name": "adam", "lr": 1, "beta1": 0, "beta2": 0, "eps": -1}, "optimizer.eps", "a number >= 0"),
    (ScheduleConfig, {"name": "powr"}, "schedule", "did you mean power?"),
    (OptimizerConfig, {**SHB, "weight_decay": -0.1}, "optimizer.weight_decay", "a number >= 0"),
    (OptimizerConfig, {**SHB, "weight_decay": "x"}, "optimizer.weight_decay", "a finite number"),
    (OptimizerConfig, {**SHB, "decoupled": 1}, "optimizer.decoupled", "true or false"),
    (ClipConfig, {"name": "nrom", "at": 1}, "clip", "did you mean norm?"),
    (ClipConfig, {"name": "norm"}, "clip.at", "a number"),
    (ClipConfig, {"name": "norm", "at": 0}, "clip.at", "a number > 0"),
    (ClipConfig, {"name": "value", "at": [1, -1]}, "clip.at", "a number > 0"),
    (ClipConfig, {"name": "value", "at": None}, "clip.at", "a finite number"),
    (ClipConfig, {"name": "none", "at": 1}, "clip.at", "nothing"),
    (ScheduleConfig, {"name": "second_order", "r": 1}, "schedule", "one of constant"),
    (ScheduleConfig, {"name": "power", "q": 1}, "schedule.k0", "a number"),
    (ScheduleConfig, {"name": "cosine", "final": [0, 2]}, "schedule.final", "0 .. 1"),
    (ScheduleConfig, {"name": "constant", "q": 1}, "schedule.q", "nothing"),
    (MomentumScheduleConfig, {"name": "second_ordr"}, "momentum_schedule", "did you mean second_order?"),
    (MomentumScheduleConfig, {"name": "second_order"}, "momentum_schedule.r", "a number"),
    (MomentumScheduleConfig, {"name": "second_order", "r": -1}, "momentum_schedule.r", "a number >= 0 (0 only with"),
    (MomentumScheduleConfig, {"name": "step", "gamma": 2, "step_size": 1}, "momentum_schedule.gamma", "0 .. 1"),
    (InitConfig, {"name": "normal", "std": "x"}, "init.std", "a finite number"),
    (InitConfig, {"name": "point", "value": None}, "init.value", "a finite number"),
    (InitConfig, {"name": "uniform", "low": [0, 1]}, "init.low", "one number"),
    (InitConfig, {"name": "point", "valu": 1}, "init.valu", "init.std init.value"),
    (VelocityConfig, {"name": "norml"}, "velocity", "did you mean normal?"),
    (VelocityConfig, {"name": "normal"}, "velocity.std", "a number > 0 (velocity=zero for 0)"),
    (VelocityConfig, {"name": "normal", "std": [1]}, "velocity.std", "a finite number"),
    (VelocityConfig, {"name": "zero", "std": 1}, "velocity.std", "0 for velocity=zero"),
    (ProblemConfig, {"name": "e33"}, "problem", "(did you mean e3?)"),
    (ProblemConfig, {"name": "learning", "b": 1}, "problem.b", "nothing"),
    (ProblemConfig, {"name": "e3", "b": "x"}, "problem.b", "a finite number"),
    (ProblemConfig, {"name": "e3", "b": [1]}, "problem.b", "a finite number"),
    (ProblemConfig, {"name": "absolute", "atoms": 10**7}, "problem.atoms", "<= 10^6"),
    (ProblemConfig, {"name": "quadratic", "curvature": [1.0, float("inf")]}, "problem.curvature", "a finite number"),
    (ProblemConfig, {"name": "e6", "data": "x"}, "problem.data", "one of diabetes, pair"),
    (ModelConfig, {"name": "mpl"}, "model", "did you mean mlp?"),
    (ModelConfig, {"name": "mlp", "width": 3}, "model.width", "model.hidden"),
    (ModelConfig, {"name": "mlp", "relu_rule": "chain"}, "model.relu_rule", "model.hidden"),
    (ModelConfig, {"name": "mlp", "hidden": 3}, "model.hidden", "a list of whole numbers"),
    (ModelConfig, {"name": "mlp", "hidden": [True]}, "model.hidden", "a list of whole numbers"),
    (ModelConfig, {"name": "mlp", "hidden": [10**7]}, "model.hidden", "<= 10^6"),
    (ModelConfig, {"name": "lenet", "norm": "layer"}, "model.norm", "model.hidden: lenet has no such field"),
    (ModelConfig, {"name": "cnn", "kernel": [3]}, "model.kernel", "a whole number"),
    (ModelConfig, {"name": "cnn", "pool_beta": [1]}, "model.pool_beta", "a finite number"),
    (ModelConfig, {"name": "transformer", "heads": 2.5}, "model.heads", "a whole number"),
    (ModelConfig, {"name": "transformer", "patch": [4, 4]}, "model.patch", "a whole number"),
    (ModelConfig, {"name": "transformer", "width": 10**7}, "model.width", "<= 10^6"),
    (DatasetConfig, {"name": "digit"}, "dataset", "did you mean digits?"),
    (DatasetConfig, {"name": "digits", "scale": 1}, "dataset.scale", "nothing"),
    (LoggerConfig, {"name": "wandbb", **{n: WANDB[n] for n in WANDB if n != "name"}}, "logger", "did you mean wandb?"),
    (LoggerConfig, {"name": "wandb"}, "logger.project", "a value"),
    (LoggerConfig, {**WANDB, "mode": "on"}, "logger.mode", "auto, offline, online"),
    (LoggerConfig, {**WANDB, "tuning": 1}, "logger.tuning", "true or false"),
    (LoggerConfig, {**WANDB, "dir": ""}, "logger.dir", "a folder"),
    (SuiteConfig, {"name": "none", "optimizers": []}, "suite.optimizers", "a list of different optimizers"),
    (SuiteConfig, {"name": "none", "optimizers": ["sgd", "sgd"]}, "suite.optimizers", "a list of different"),
    (SuiteConfig, {"name": "none", "optimizers": [["sgd"]]}, "suite.optimizers", "plugins=[file.py]"),
    (SuiteConfig, {"name": "none", "optimizers": ["sdg"]}, "suite.optimizers", "plugins=[file.py]"),
    (ClaimConfig, {"name": "CL1", "quick": 3}, "claim.quick", "sizes, by name"),
]


@pytest.mark.parametrize(("kind", "fields", "made"), READ)
def test_an_entry_becomes_values_of_their_types(kind, fields, made):
    assert kind.of(fields) == made
    for name, value in vars(kind.of(fields)).items():
        if isinstance(value, dict) and name in ("hyperparameters", "parameters"):
            assert all(isinstance(number, float) for numbers in value.values() for number in numbers)


@pytest.mark.parametrize(("kind", "fields", "field", "allowed"), REFUSED)
def test_a_wrong_field_is_one_line(kind, fields, field, allowed):
    with pytest.raises(ConfigurationError) as caught:
        kind.of(fields)
    assert caught.value.field == field and allowed in caught.value.allowed and "\n" not in str(caught.value)


def test_every_group_is_tried():
    assert {kind for kind, *_ in READ} == {kind for kind, *_ in REFUSED} == set(GROUPS)


def test_a_checked_group_is_checked_again_when_it_is_changed():
    """`check` looks at everything that the constructor takes, whoever made it."""
    good = OptimizerConfig.of(SHB)
    for lr in (0.0, float("inf")):
        with pytest.raises(ConfigurationError, match=r"optimizer\.lr="):
            dataclasses.replace(good, hyperparameters={"lr": [lr], "momentum": [0.9]}).check()
    for change in ({"allow_unstable": "no"}, {"name": "sdg"}):
        with pytest.raises(ConfigurationError, match=r"optimizer(\.allow_unstable)?="):
            dataclasses.replace(good, **change).check()
    with pytest.raises(dataclasses.FrozenInstanceError):
        good.name = "sgd"


@pytest.mark.parametrize("kind", [kind for kind in GROUPS if kind not in (ClaimConfig, SuiteConfig)])
def test_every_shipped_entry_passes(kind):
    for name in entries(kind.group):
        assert kind.of({**OmegaConf.to_container(OmegaConf.load(CONF / kind.group / f"{name}.yaml"))}).name == name


@pytest.mark.parametrize("schema", [Config, ClaimsConfig])
def test_every_group_of_a_configuration_is_typed_and_checked_once(schema, monkeypatch):
    kinds = typing.get_type_hints(schema)
    groups = {name for name in kinds if (CONF / name).is_dir()}
    assert groups and all(issubclass(kinds[name], Group) and kinds[name].group == name for name in groups)
    checked = []
    for kind in GROUPS:
        monkeypatch.setattr(kind, "check", lambda self, check=kind.check: checked.append(self.group) or check(self))
    config = compose_as(schema, [])
    assert {name for name in groups if type(getattr(config, name)) is kinds[name]} == groups
    assert set(checked) == groups
    assert len(checked) == len(groups) + ("momentum_schedule" in groups)  # which is a schedule, too


def test_a_name_that_is_no_text_is_one_line():
    with pytest.raises(ConfigurationError, match=r"model\.name=\[1\]: allowed is one of adapter, cnn"):
        compose_config(["model.name=[1]"])


def test_an_option_that_is_true_or_false_is_no_number(monkeypatch):
    class Flagged(ClosedForm):
        name = "flagged"

        def __init__(self, *, flag=False, scale=1.0, **shared):
            super().__init__(**shared)

    monkeypatch.setitem(CLOSED_FORMS, "flagged", Flagged)
    assert ProblemConfig.of({"name": "flagged", "flag": True, "scale": 2}).numeric == ["scale"]
