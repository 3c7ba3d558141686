"""Suites: an equal budget for every optimizer, disjoint seeds, and files that are checked when read."""

import json
import re
import shutil
import types
from dataclasses import replace

import polars as pl
import pytest
from omegaconf import OmegaConf

import bench.cell.problem
import bench.suite.suite
from bench.cell.config import entries
from bench.execution.record import failed_rows
from bench.plan.plan import suite_hash
from bench.plan.winner import Winner
from bench.store.store import Store
from bench.suite.suite import load_suite
from bench.suite.tuning import sobol_trials
from shb.datasets import DATASETS
from shb.errors import ConfigurationError
from tests.bench.conftest import SUITE_SIZE
from tests.bench.planted import curve_of

SUITES = [name for name in entries("suite") if name not in ("none", "published")]  # published: test_publication.py


@pytest.fixture
def no_files(monkeypatch):
    """Suites on image files are composed and checked without the files."""
    monkeypatch.setattr(bench.cell.problem, "check_files", lambda *arguments: None)
    monkeypatch.setattr(bench.cell.problem, "load_dataset", lambda *arguments: types.SimpleNamespace(checksum="none"))


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_composes_with_an_equal_budget(no_files, name):
    suite = load_suite(name)
    assert suite.name == name and list(suite.targets) == list(suite.problems)
    for problem, optimizer in suite.pairs():
        tuning = suite.tuning_cell(problem, optimizer)
        assert tuning.label == problem  # the name in the tables is the name in the store
        assert tuning.optimizer.name == optimizer
        trials = {json.dumps(m.hyperparameters, sort_keys=True) for m in tuning.members}
        assert len(trials) == suite.trials and len(set(tuning.ids)) == suite.trials * suite.tuning_seeds
        offset = suite.tuning_seed_offset
        assert {m.seed for m in tuning.members} == set(range(offset, offset + suite.tuning_seeds))
        evaluation = suite.evaluation_cell(problem, optimizer, tuning.members[0].hyperparameters)
        assert len(evaluation.ids) == suite.evaluation_seeds
        assert not {m.seed for m in evaluation.members} & {m.seed for m in tuning.members}
        assert tuning.plan.evaluate_at == (0, tuning.plan.steps)  # a trial is scored at its end, its curve is not shown
        assert len(evaluation.plan.evaluate_at) > 10
        assert replace(evaluation.plan, evaluate_at=tuning.plan.evaluate_at) == tuning.plan
        assert evaluation.problem_spec == tuning.problem_spec
        assert suite.targets[problem].metric in ("val_accuracy", "val_loss")


@pytest.mark.parametrize(("asked", "found"), [(1, 2), (4, 5), (None, 11)])
def test_trials_are_evaluated_as_often_as_the_suite_says(write_suite, asked, found):
    write_suite("often", tuning_evaluations=asked)
    suite = load_suite("often")
    tuning = suite.tuning_cell("diabetes/mlp", "shb")
    evaluation = suite.evaluation_cell("diabetes/mlp", "shb", tuning.members[0].hyperparameters)
    assert (len(tuning.plan.evaluate_at), len(evaluation.plan.evaluate_at)) == (found, 11)


def test_weight_decay_is_tuned_where_the_space_has_it(write_suite):
    """What a trial was tuned with is what its winner is evaluated with, clipping of the suite included."""
    write_suite("decaying", tuning_evaluations=1)
    file = bench.suite.suite.CONF / "optimizer" / "shb.yaml"
    file.write_text(file.read_text().replace("weight_decay: 0.0", "weight_decay: 0.5").replace("false", "true", 1))
    file.write_text(file.read_text() + "  weight_decay: {low: 1.0e-4, high: 0.1, scale: log}\n")
    suite = load_suite("decaying", ["clip=norm", "clip.at=0.5"])
    tuning = suite.tuning_cell("diabetes/mlp", "shb")
    found = {tuning.setting(i)["weight_decay"] for i in range(len(tuning.ids))}
    assert len(found) == suite.trials and min(found) >= 1e-4 and max(found) <= 0.1
    evaluation = suite.evaluation_cell("diabetes/mlp", "shb", tuning.setting(0))
    for cell in (tuning, evaluation):
        assert {(spec["clip"], spec["decoupled"]) for spec in cell.specs} == {("norm", True)}
    assert evaluation.setting(0) == tuning.setting(0)
    bare = {"lr": 0.1, "momentum": 0.5}  # of a winner whose decay was 0, which the store leaves out
    assert "weight_decay" not in suite.evaluation_cell("diabetes/mlp", "shb", bare).setting(0)


def test_trials_are_the_sobol_points_of_the_space():
    suite = load_suite("smoke", SUITE_SIZE)
    for optimizer in suite.optimizers:
        members = suite.tuning_cell("diabetes/mlp", optimizer).members
        drawn = sobol_trials(suite.space("diabetes/mlp", optimizer), suite.trials)
        for trial, (first, second) in zip(drawn, zip(members[::2], members[1::2]), strict=True):
            assert trial.items() <= first.hyperparameters.items()
            assert first.hyperparameters == second.hyperparameters and first.seed + 1 == second.seed


def test_the_default_suite_needs_no_download():
    for name in ("default", "smoke"):
        suite = load_suite(name)
        used = {suite.config(problem, suite.optimizers[0]).dataset.name for problem in suite.problems}
        assert not any(DATASETS[dataset].needs_files for dataset in used)


def test_overrides_reach_every_cell():
    suite = load_suite("smoke", ["steps=7", "schedule=cosine"])
    for problem, optimizer in suite.pairs():
        plan = suite.tuning_cell(problem, optimizer).plan
        assert plan.steps == 7 and plan.schedule == "cosine"


@pytest.mark.parametrize("override", ["problem=e1", "model=cnn", "dataset=digits", "optimizer=sgd", "seed_offset=3"])
def test_what_the_suite_sets_cannot_be_overridden(override):
    with pytest.raises(ConfigurationError, match=f"{override}: allowed is not set together with suite=smoke"):
        load_suite("smoke", [override])
    with pytest.raises(ConfigurationError):
        load_suite("smoke", ["optimizer.lr=1"])


@pytest.mark.parametrize(
    ("tuning", "evaluation"), [((0, 2), (0, 4)), ((3, 2), (0, 4)), ((0, 2), (1, 4)), ((1, 1), (0, 4))]
)
def test_overlapping_seeds_are_refused(write_suite, tuning, evaluation):
    write_suite(
        "overlap",
        tuning_seed_offset=tuning[0],
        tuning_seeds=tuning[1],
        evaluation_seed_offset=evaluation[0],
        evaluation_seeds=evaluation[1],
    )
    with pytest.raises(ConfigurationError, match="seeds disjoint from the evaluation seeds"):
        load_suite("overlap")


@pytest.mark.parametrize(("tuning", "evaluation"), [((4, 2), (0, 4)), ((0, 2), (2, 4))])
def test_adjacent_seeds_are_accepted(write_suite, tuning, evaluation):
    write_suite(
        "adjacent",
        tuning_seed_offset=tuning[0],
        tuning_seeds=tuning[1],
        evaluation_seed_offset=evaluation[0],
        evaluation_seeds=evaluation[1],
    )
    load_suite("adjacent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "suite.trials=0: allowed is a whole number >= 1"),
        ({"tuning_seeds": 0}, "suite.tuning_seeds=0"),
        ({"evaluation_seeds": 0}, "suite.evaluation_seeds=0"),
        ({"tuning_evaluations": 0}, "suite.tuning_evaluations=0: allowed is a whole number >= 1"),
        ({"targets": {"digits/mpl": {"metric": "val_loss", "value": 1.0}}}, r"digits/mpl.*did you mean digits/mlp\?"),
        ({"targets": {"digits/mlp": {"metric": "val_los", "value": 1.0}}}, r"val_los: .*did you mean val_loss\?"),
    ],
)
def test_a_wrong_suite_file_is_refused(write_suite, changes, message):
    write_suite("wrong", **changes)
    with pytest.raises(ConfigurationError, match=message):
        load_suite("wrong")


def planted(suite, store, scores, problem="digits/mlp", optimizer="sgd"):
    """Store tuning members of one pair whose score depends on the trial."""
    cell = suite.tuning_cell(problem, optimizer)
    rows = failed_rows(cell, range(len(cell.ids)), "")
    for i, row in enumerate(rows):
        score = scores[i // suite.tuning_seeds]
        row |= {"error": None, "status": "diverged" if score is None else "done", "val_accuracy": score}
    store.write(rows, curve_of(rows))
    return cell


def test_the_best_trial_is_the_planted_one(tmp_path):
    suite, store = load_suite("smoke", SUITE_SIZE), Store(tmp_path)
    cell = planted(suite, store, [0.1, None, 0.9, 0.3])
    won = suite.plan(store.members()).pair("digits/mlp", "sgd").winner(store.members())
    assert won == Winner(cell.members[2 * suite.tuning_seeds].hyperparameters, 0.9, suite.tuning_seeds)
    assert suite.plan(store.members()).pair("digits/mlp", "shb").winner(store.members()) is None


def test_an_incomplete_tuning_has_no_best(tmp_path):
    suite, store = load_suite("smoke", SUITE_SIZE), Store(tmp_path)
    cell = planted(suite, store, [0.1, 0.2, 0.3, 0.4])
    members = store.members()
    pair = suite.plan(members).pair("digits/mlp", "sgd")
    assert pair.winner(members) is not None
    assert (
        suite.plan(members.filter(pl.col("member_id") != cell.ids[-1]))
        .pair("digits/mlp", "sgd")
        .winner(members.filter(pl.col("member_id") != cell.ids[-1]))
        is None
    )
    status = pl.when(pl.col("member_id") == cell.ids[-1]).then(pl.lit("failed")).otherwise(pl.col("status"))
    assert (
        suite.plan(members.with_columns(status.alias("status")))
        .pair("digits/mlp", "sgd")
        .winner(members.with_columns(status.alias("status")))
        is None
    )


def test_the_score_fits_the_task(write_suite):
    suite = load_suite("smoke", SUITE_SIZE)
    assert [suite.score(problem) for problem in suite.problems] == ["val_accuracy", "val_loss"]
    write_suite("closed", problems={"e1": ["problem=e1", "steps=4"]}, targets={})
    assert load_suite("closed").score("e1") == "train_loss"


@pytest.mark.parametrize("name", SUITES)
def test_the_content_of_every_suite_is_frozen_with_its_version(name):
    """Fails at load_suite, with what to do, if a target (or anything else) changes under the same version."""
    raw = OmegaConf.to_container(OmegaConf.load(bench.suite.suite.CONF / "suite" / f"{name}.yaml"))
    assert raw["frozen"][raw["version"]] == suite_hash(raw)
    assert raw["version"] == max(raw["frozen"])


@pytest.fixture
def change_default(tmp_path, monkeypatch):
    """Changes the text of conf/suite/default.yaml in a copy of conf/."""
    conf = shutil.copytree(bench.suite.suite.CONF, tmp_path / "conf")
    monkeypatch.setattr(bench.suite.suite, "CONF", conf)
    path = conf / "suite" / "default.yaml"

    def change(old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{metric: val_accuracy, value: 0.6}", "{metric: val_accuracy, value: 0.61}"),
        ("trials: 16", "trials: 17"),
        ("hidden=[64,64]", "hidden=[64,65]"),
        ("optimizers: [sgd, shb, nesterov, adam]", "optimizers: [sgd, shb, adam]"),
    ],
)
def test_a_change_needs_a_new_version_and_the_error_says_how(change_default, old, new):
    load_suite("default")
    change_default(old, new)
    with pytest.raises(ConfigurationError, match="version 2 is frozen with the content") as error:
        load_suite("default")
    (line,) = re.findall(r'add `(3: "[0-9a-f]{12}")` to frozen', str(error.value))
    change_default("version: 2 ", "version: 3 ")
    with pytest.raises(ConfigurationError, match="version 3 is frozen with the content None"):
        load_suite("default")
    change_default("frozen: {", f"frozen: {{{line}, ")
    assert load_suite("default").version == 3


def test_comments_and_the_order_of_keys_are_not_content(change_default):
    change_default(
        "trials: 16  # settings tried per optimizer and problem\ntuning_seeds: 3", "tuning_seeds: 3\ntrials: 16"
    )
    change_default("# seeds per trial", "# how many seeds per trial")
    assert load_suite("default").version == 2
