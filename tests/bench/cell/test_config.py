"""Composing in two parts gives what Hydra gives."""

import pytest

import bench.cell.config
from bench.cell.config import CONF, _by_hydra, _composed, compose_config
from shb.errors import ConfigurationError

SETTINGS = [
    [],
    ["problem=e1", "optimizer=shb", "optimizer.lr=[0.1,0.2]", "steps=7"],
    ["steps=7", "optimizer.lr=0.1", "optimizer=adam", "model=cnn", "model.channels=[4,8]"],  # values before groups
    ["optimizer.lr=null", "data_root='a b, c'", 'results_dir="x=y"', "epochs=1.5", "init=zeros", "relu_derivative=1"],
    ["suite=smoke", "suite.trials=2", "seeds=3"],
    ["+optimizer.extra=1", "optimizer.lr=2", "~optimizer.space"],
    ["optimizer={lr: 0.5}", "model.hidden=[]", "hydra.job.chdir=false"],
    ["optimizer.lr=0.1", "optimizer.lr=0.2"],
]


@pytest.mark.parametrize("overrides", SETTINGS, ids=str)
def test_values_set_afterwards_are_those_that_hydra_sets(overrides):
    for _ in range(2):  # the second time from what is kept
        assert _composed("config", overrides) == _by_hydra(str(CONF), "config", tuple(overrides))


def test_what_is_kept_is_not_changed():
    before = compose_config(["optimizer=shb"])
    compose_config(["optimizer=shb", "optimizer.lr=0.123", "steps=5"]).optimizer.hyperparameters["momentum"] = [7]
    assert compose_config(["optimizer=shb"]) == before


def test_groups_are_composed_once(monkeypatch):
    bench.cell.config._of_groups.cache_clear()
    calls, by_hydra = [], bench.cell.config._by_hydra
    monkeypatch.setattr(bench.cell.config, "_by_hydra", lambda *a: calls.append(a) or by_hydra(*a))
    for lr in (0.1, 0.2, 0.3):
        assert compose_config(["optimizer=shb", f"optimizer.lr={lr}"]).optimizer.hyperparameters["lr"] == [lr]
    assert len(calls) == 1
    with pytest.raises(ConfigurationError, match=r"optimizer\.rate"):  # an error is said in Hydra's words
        compose_config(["optimizer=shb", "optimizer.rate=0.1"])
    assert len(calls) == 2
