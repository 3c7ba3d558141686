"""A suite with given settings: nothing is tuned, everything else (run, status, leaderboard) is as for any suite."""

import json

import pytest

import bench.execution.runner
import bench.leaderboard.__main__
import bench.run
import bench.status
from bench.command import run_command
from bench.execution.engine import Choice
from bench.store.store import Store
from bench.suite.suite import load_suite
from shb.errors import ConfigurationError
from shb.training import why_not
from tests.bench.conftest import SUITE_SIZE

PROBLEM = "diabetes/mlp"
SETTINGS = {
    "sgd": {"lr": 0.1},
    "shb": {"lr": 0.05, "momentum": 0.5},
    "adam": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
}
FIXED = {
    "problems": {PROBLEM: ["model=mlp", "dataset=diabetes"]},
    "targets": {},
    "trials": 0,
    "tuning_seeds": 0,
    "tuning_evaluations": None,
    "evaluation_seeds": 2,
    "settings": {PROBLEM: SETTINGS},
}


@pytest.fixture
def given(write_suite, tmp_path):
    """Command line of a suite of one problem, three optimizers and two seeds, with SETTINGS."""
    write_suite("given", **FIXED)
    return ["suite=given", *SUITE_SIZE, f"results_dir={tmp_path / 'results'}", "workers=1"]


def board(folder):
    return json.loads((folder / "results" / "leaderboard.json").read_text())


def test_every_setting_runs_on_every_seed_and_nothing_else_runs(given, tmp_path, capsys):
    assert run_command(bench.run.main, given) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "6 members to compute (0 of 6" in printed
    assert "one given setting, not tuned, on 2 seeds" in printed and "setting shb: lr=0.05 momentum=0.5" in printed
    assert "Sobol" not in printed and "search space" not in printed
    members = Store(tmp_path / "results").members()
    assert len(members) == 6
    for optimizer, setting in SETTINGS.items():
        own = members.filter(members["optimizer"] == optimizer)
        assert [json.loads(h) for h in own["hyperparameters"]] == [setting] * 2 and set(own["seed"]) == {0, 1}
    rows = board(tmp_path)["rows"]
    assert board(tmp_path)["complete"] and all(row["coverage"] == 1 and row["n_seeds"] == 2 for row in rows)
    assert all(row["trials"] == 0 and row["space"] == {} and row["tuning_value"] is None for row in rows)
    assert "Search spaces" not in (tmp_path / "results" / "leaderboard.md").read_text()


def test_repeating_computes_nothing_and_more_seeds_compute_only_those(given, write_suite, tmp_path, capsys):
    assert run_command(bench.run.main, given) == 0
    created = Store(tmp_path / "results").members()["created"].to_list()
    assert run_command(bench.run.main, given) == 0
    assert Store(tmp_path / "results").members()["created"].to_list() == created
    write_suite("given", **{**FIXED, "evaluation_seeds": 3})
    capsys.readouterr()
    assert run_command(bench.run.main, given) == 0
    assert "3 members to compute (6 of 9" in " ".join(capsys.readouterr().out.split())


def test_status_and_leaderboard_read_it(given, tmp_path, capsys):
    for main in (bench.status.main, bench.leaderboard.__main__.main):
        assert run_command(main, given[:-1]) == 1  # an empty store
    assert "INCOMPLETE" in capsys.readouterr().out
    assert run_command(bench.run.main, given) == 0
    before = board(tmp_path)
    capsys.readouterr()
    assert run_command(bench.status.main, given[:-1]) == 0
    assert "planned 6, done 6, diverged 0, failed 0, missing 0" in capsys.readouterr().out
    assert run_command(bench.leaderboard.__main__.main, given[:-1]) == 0
    assert board(tmp_path) == before


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
def test_the_engine_that_the_run_chooses_is_that_of_the_table(given, tmp_path, monkeypatch):
    """With engine=auto and nothing tuned, the evaluation chooses; the table of the same process must follow."""
    monkeypatch.setattr(bench.execution.runner, "fastest", lambda cell, members: Choice("compiled"))
    assert run_command(bench.run.main, [*given, "engine=auto"]) == 0
    assert set(Store(tmp_path / "results").members()["engine"]) == {"compiled"}
    assert board(tmp_path)["complete"] and len(board(tmp_path)["rows"]) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 4}, "suite.trials=4: allowed is not set together with settings"),
        ({"tuning_seeds": 1}, "suite.tuning_seeds=1: allowed is not set together with settings"),
        ({"tuning_evaluations": 1}, "suite.tuning_evaluations=1: allowed is not set together with settings"),
        ({"evaluation_seeds": 0}, "suite.evaluation_seeds=0: allowed is a whole number >= 1"),
        ({"settings": {}}, "suite.trials=0: allowed is a whole number >= 1"),
        ({"settings": {"digits/mlp": SETTINGS}}, r"diabetes/mlp.sgd=\(missing\): allowed is a number for each of lr"),
        (
            {"settings": {PROBLEM: {**SETTINGS, "shb": {"lr": 0.1}}}},
            "diabetes/mlp.shb.momentum=None: allowed is a finite number",
        ),
        ({"settings": {PROBLEM: {**SETTINGS, "sgd": {"lr": 0.1, "momentun": 0.9}}}}, "diabetes/mlp.sgd=momentun"),
        ({"settings": {PROBLEM: {**SETTINGS, "sgd": {"lr": "fast"}}}}, "sgd.lr=fast"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(write_suite, changes, message):
    write_suite("wrong", **(FIXED | changes))
    with pytest.raises(ConfigurationError, match=message):
        load_suite("wrong")


def test_a_setting_that_the_optimizer_refuses_stops_the_run_before_any_compute(write_suite, tmp_path, capsys):
    settings = {PROBLEM: {**SETTINGS, "adam": {**SETTINGS["adam"], "beta1": 1.5}}}
    write_suite("given", **{**FIXED, "settings": settings})
    command = ["suite=given", *SUITE_SIZE, f"results_dir={tmp_path / 'results'}", "workers=1"]
    assert run_command(bench.run.main, command) == 2
    assert "optimizer.beta1=1.5" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "results").glob("members/*"))
