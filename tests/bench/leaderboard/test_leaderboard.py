"""The leaderboard: fixed columns, numbers that follow from the store, and nothing computed."""

import csv
import dataclasses
import json
import math
import re

import numpy as np
import polars as pl
import pytest

import bench.execution.runner
from bench.command import run_command
from bench.execution.record import failed_rows
from bench.leaderboard.__main__ import main
from bench.leaderboard.document import (
    COLUMNS,
    SCHEMA_VERSION,
    is_complete,
    leaderboard,
    leaderboard_rows,
    write_leaderboard,
)
from bench.leaderboard.text import across, caption, notes, sensitivity_table, tables
from bench.plan.plan import Target, changes_of
from bench.statistics.bootstrap import interquartile_interval, median_interval
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE
from tests.bench.planted import curve_of, stored

ISSUE_KEYS = {
    "problem",
    "optimizer",
    "metric",
    "median",
    "ci_low",
    "ci_high",
    "iqm",
    "iqm_low",
    "iqm_high",
    "rank_low",
    "rank_high",
    "tie_group",
    "p_value_to_leader",
    "steps_to_target",
    "n_seeds",
    "n_diverged",
    "coverage",
    "hyperparameters",
}


@pytest.fixture
def finished(finished_eager):
    return finished_eager


@pytest.fixture
def suite():
    return load_suite("smoke", SUITE_SIZE)


def by_metric(rows, problem, optimizer):
    return {row["metric"]: row for row in rows if (row["problem"], row["optimizer"]) == (problem, optimizer)}


@pytest.fixture
def planted(tmp_path, suite):
    """A store with sgd on digits/mlp only: the best trial is the third, its four evaluation seeds are by hand."""
    store = Store(tmp_path / "results")
    tuning = suite.tuning_cell("digits/mlp", "sgd")
    stored(tuning, store, lambda i: {"val_accuracy": 0.9 if i // 2 == 2 else 0.1 * (i // 2), "val_loss": 1.0})
    evaluation = suite.evaluation_cell("digits/mlp", "sgd", tuning.members[4].hyperparameters)
    accuracies, losses = [0.9, 0.8, None, 0.7], [0.1, 0.2, None, 0.4]
    curves = [  # the target is val_accuracy >= 0.85
        [(0, 0.1), (2, 0.85), (4, 0.8), (6, 0.9)],  # reached at 2, whatever comes after
        [(0, 0.1), (2, 0.84), (4, 0.86), (6, 0.9)],  # reached at 4
        [(0, 0.1)],  # diverged
        [(0, 0.1), (2, 0.5), (4, None), (6, 0.8499)],  # missed
    ]
    stored(
        evaluation,
        store,
        lambda i: accuracies[i] and {"test_accuracy": accuracies[i], "train_loss": losses[i], "val_accuracy": 0.99},
        [[{"step": step, "val_accuracy": value} for step, value in curve] for curve in curves],
    )
    return store


def test_by_hand(suite, planted):
    rows = by_metric(leaderboard_rows(suite.plan(planted.members()), planted), "digits/mlp", "sgd")
    assert list(rows) == ["test_accuracy", "train_loss", "steps_to_target"]
    third = dict(suite.tuning_cell("digits/mlp", "sgd").members[4].hyperparameters)
    for row in rows.values():
        assert row["hyperparameters"] == third and row["trials"] == 4
        assert (row["n_seeds"], row["n_diverged"], row["coverage"]) == (4, 1, 1.0)
        assert (row["tuning_score"], row["tuning_value"]) == ("val_accuracy", 0.9)
    # the diverged seed counts as accuracy 0 and loss infinity: (0.7 + 0.8) / 2, (0.2 + 0.4) / 2
    assert rows["test_accuracy"]["median"] == pytest.approx(0.75)
    assert (rows["test_accuracy"]["ci_low"], rows["test_accuracy"]["ci_high"]) == (0.0, 0.9)
    assert rows["train_loss"]["median"] == pytest.approx(0.3)
    assert (rows["train_loss"]["ci_low"], rows["train_loss"]["ci_high"]) == (0.1, None)
    # steps 2, 4, missed, missed
    target = rows["steps_to_target"]
    assert (target["median"], target["ci_low"], target["ci_high"]) == (None, 2.0, None)
    assert target["n_reached"] == 2 and target["target"] == "val_accuracy 0.85"


def test_an_easier_target_is_reached_earlier(suite, planted):
    easier = dataclasses.replace(suite, targets={"digits/mlp": Target("val_accuracy", 0.5)})
    row = by_metric(leaderboard_rows(easier.plan(planted.members()), planted), "digits/mlp", "sgd")["steps_to_target"]
    assert row["n_reached"] == 3 and row["median"] == 2.0 and row["ci_high"] is None
    without = dataclasses.replace(suite, targets={})
    rows = leaderboard_rows(without.plan(planted.members()), planted)
    assert "steps_to_target" not in by_metric(rows, "digits/mlp", "sgd")


def test_an_incomplete_suite_says_so(suite, planted, tmp_path, capsys):
    board = leaderboard(suite.plan(planted.members()), planted)
    other = by_metric(board["rows"], "digits/mlp", "adam")["test_accuracy"]
    assert (other["coverage"], other["n_seeds"], other["median"], other["hyperparameters"]) == (0.0, 0, None, None)
    assert not board["complete"] and "INCOMPLETE" in caption(suite.plan(planted.members()), board)
    code = run_command(main, ["suite=smoke", *SUITE_SIZE, f"results_dir={planted.folder}"])
    assert code == 1 and "INCOMPLETE" in capsys.readouterr().out
    assert json.loads((planted.folder / "leaderboard.json").read_text())["complete"] is False
    assert "INCOMPLETE" in (planted.folder / "leaderboard.md").read_text()


def test_coverage_is_the_share_of_planned_members(suite, finished_copy):
    store = Store(finished_copy)
    evaluated = store.members().filter((pl.col("seed") < 4) & (pl.col("optimizer") == "shb"))
    lost = evaluated.filter(pl.col("problem") == "digits/mlp")["member_id"].to_list()[:3]
    kept = store.members().filter(~pl.col("member_id").is_in(lost))
    for path in (finished_copy / "members").iterdir():
        path.unlink()
    Store(finished_copy).write(kept.to_dicts(), [])
    rows = leaderboard_rows(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    assert {row["coverage"] for row in by_metric(rows, "digits/mlp", "shb").values()} == {9 / 12}
    assert {row["n_seeds"] for row in by_metric(rows, "digits/mlp", "shb").values()} == {1}
    assert {row["coverage"] for row in rows if row["optimizer"] != "shb"} == {1.0}
    assert not is_complete(rows)
    board = leaderboard(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    for row in board["rows"]:
        ranks = [row[name] for name in ("rank_low", "rank_high", "tie_group", "p_value_to_leader")]
        if row["coverage"] < 1:
            assert ranks == [None] * 4
            assert row["median"] is not None or row["metric"] == "steps_to_target"  # shown, but not ranked
        else:
            assert ranks[:3] == [1, 3, 1]  # four seeds separate nothing; of the two others as of shb
    lines = {line[0]: line for line in tables(suite.plan(Store(finished_copy).members()), board)[0][2]}
    assert list(lines)[-1] == "shb" and lines["shb"][1:3] == ["-", "-"] and "75 %" in lines["shb"]
    assert {tuple(profile["problems"]) for profile in board["profiles"]} == {("diabetes/mlp",)}
    assert {tuple(entry["by_problem"]) for entry in board["aggregate"]} <= {("diabetes/mlp",)}
    assert "shb" not in board["seeds_needed"][0]["pair"]


def test_a_failed_member_is_not_covered(suite, planted):
    cell = suite.tuning_cell("diabetes/mlp", "sgd")
    planted.write(failed_rows(cell, range(len(cell.ids)), "x"), [])
    row = by_metric(leaderboard_rows(suite.plan(planted.members()), planted), "diabetes/mlp", "sgd")["test_loss"]
    assert (row["coverage"], row["n_seeds"], row["hyperparameters"]) == (0.0, 0, None)


def test_a_pair_whose_every_trial_diverged(suite, tmp_path):
    store = Store(tmp_path / "results")
    tuning = suite.tuning_cell("diabetes/mlp", "sgd")
    stored(tuning, store, lambda i: None)
    best = suite.plan(store.members()).pair("diabetes/mlp", "sgd").winner(store.members()).hyperparameters
    stored(suite.evaluation_cell("diabetes/mlp", "sgd", best), store, lambda i: None)
    board = leaderboard(suite.plan(store.members()), store)
    for row in by_metric(board["rows"], "diabetes/mlp", "sgd").values():
        assert (row["median"], row["ci_low"], row["ci_high"], row["n_diverged"]) == (None, None, None, 4)
        assert row["tuning_value"] is None and row["coverage"] == 1.0
    write_leaderboard(suite.plan(store.members()), board, store)
    line = "| sgd | 1-3 | 1 | diverged | diverged | diverged | missed by 4/4 | 4 | 4 | 100 % |"
    assert line in (store.folder / "leaderboard.md").read_text()


def test_numbers_are_those_of_the_store(suite, finished):
    """Medians against numpy over the stored members and curves, for every row."""
    store = Store(finished)
    members = pl.read_parquet(f"{finished}/members/*.parquet")
    board = leaderboard(suite.plan(store.members()), store)
    rows = board["rows"]
    assert len(rows) == 2 * 3 * 3 and board["complete"] and ", complete." in caption(suite.plan(store.members()), board)
    reached = 0
    for row in rows:
        own = members.filter((pl.col("problem") == row["problem"]) & (pl.col("optimizer") == row["optimizer"]))
        evaluated = own.filter(pl.col("seed") < 4).sort("seed")
        assert [json.loads(text) for text in evaluated["hyperparameters"]] == [row["hyperparameters"]] * 4
        if row["metric"] == "steps_to_target":
            target = suite.targets[row["problem"]]
            values = []
            for member_id in evaluated["member_id"]:
                curve = store.curves([member_id]).filter(pl.col(target.metric).is_not_null())
                better = np.greater_equal if "accuracy" in target.metric else np.less_equal
                hits = curve["step"].to_numpy()[better(curve[target.metric].to_numpy(), target.value)]
                values.append(float(hits[0]) if len(hits) else math.inf)
            assert row["n_reached"] == sum(map(math.isfinite, values))
            reached += row["n_reached"]
        else:
            values = evaluated[row["metric"]].to_list()
            assert row["median"] == pytest.approx(np.median(values), rel=1e-12)
        expected = [value if math.isfinite(value) else None for value in median_interval(values)]
        assert [row["median"], row["ci_low"], row["ci_high"]] == expected
        expected = [value if math.isfinite(value) else None for value in interquartile_interval(values)]
        assert [row["iqm"], row["iqm_low"], row["iqm_high"]] == expected
    assert reached > 0
    for row in rows:
        assert row["steps_to_target"] == by_metric(rows, row["problem"], row["optimizer"])["steps_to_target"]["median"]


def test_the_tuned_setting_is_the_best_of_the_trials(suite, finished):
    members = Store(finished).members().filter(pl.col("seed") >= 4)
    for row in leaderboard_rows(suite.plan(Store(finished).members()), Store(finished)):
        own = members.filter((pl.col("problem") == row["problem"]) & (pl.col("optimizer") == row["optimizer"]))
        metric = {"digits/mlp": "val_accuracy", "diabetes/mlp": "val_loss"}[row["problem"]]
        worst = 0.0 if "accuracy" in metric else np.inf  # of a diverged seed
        medians = {
            text: np.median([worst if value is None else value for value in group[metric]])
            for (text,), group in own.group_by("hyperparameters", maintain_order=True)
        }
        best = max(medians.values()) if "accuracy" in metric else min(medians.values())
        assert len(medians) == 4 and medians[json.dumps(row["hyperparameters"], sort_keys=True)] == best
        assert row["tuning_value"] == pytest.approx(best)


def test_the_order_of_shards_does_not_matter(suite, finished, tmp_path):
    store = Store(finished)
    expected = leaderboard(suite.plan(store.members()), store)
    members = store.members().sample(fraction=1.0, shuffle=True, seed=1)
    shuffled = Store(tmp_path / "shuffled")
    for part in members.iter_slices(5):
        curves = store.curves(part["member_id"].to_list()).sample(fraction=1.0, shuffle=True, seed=2)
        shuffled.write(part.to_dicts(), curves.to_dicts())
    assert leaderboard(suite.plan(shuffled.members()), shuffled) == expected


def test_the_document(finished):
    document = json.loads((finished / "leaderboard.json").read_text())
    assert document["schema_version"] == SCHEMA_VERSION == 2
    assert (document["suite"], document["suite_version"], document["complete"]) == ("smoke", 2, True)
    assert set(document["computed_with"]) >= {"code_commit", "code_dirty", "torch", "cpu", "threads"}
    assert all(document["computed_with"].values())
    assert set(COLUMNS) == ISSUE_KEYS
    for row in document["rows"]:
        assert row.keys() >= ISSUE_KEYS
    profile = {"optimizer", "problems", "tau", "share", "share_low", "share_high", "area", "area_low", "area_high"}
    aggregate = {"optimizer", "score", "low", "high", "by_problem", "normalised"}
    sensitivity = {"problem", "optimizer", "against", "points", "best_x", "width_decades", "share_diverged"}
    needed = {"problem", "metric", "n_seeds", "pair", "difference", "spread", "seeds", "power"}
    expected = {
        "profiles": profile,
        "aggregate": aggregate,
        "sensitivity": sensitivity,
        "seeds_needed": needed,
        "time_ratios": {"problem", "ratios"},
    }
    for section, keys in expected.items():
        assert document[section] and all(entry.keys() == keys for entry in document[section]), section
    points = {"x", "median", "low", "high", "n", "n_diverged"}
    assert all(point.keys() == points for entry in document["sensitivity"] for point in entry["points"])
    text = (ROOT / "docs" / "results.md").read_text()
    named = set(re.findall(r"`(\w+)`", text))
    assert named >= ISSUE_KEYS.union(points, expected, *expected.values())


def test_json_csv_and_markdown_agree(suite, finished):
    board = json.loads((finished / "leaderboard.json").read_text())
    rows = board["rows"]
    table = list(csv.DictReader((finished / "leaderboard.csv").open()))
    assert list(table[0]) == list(COLUMNS) and len(table) == len(rows)
    for line, row in zip(table, rows):
        for name in COLUMNS:
            value = row[name]
            expected = json.dumps(value) if name == "hyperparameters" else "" if value is None else str(value)
            assert line[name] == expected
    markdown = (finished / "leaderboard.md").read_text()
    assert caption(suite.plan(Store(finished).members()), board) in markdown
    everything = [
        *tables(suite.plan(Store(finished).members()), board),
        across(board),
        ("Sensitivity to the step size", *sensitivity_table(board)),
    ]
    for title, names, lines in everything:
        assert f"## {title}\n".casefold() in markdown.casefold() and f"| {' | '.join(names)} |\n" in markdown
        for line in lines:
            assert f"| {' | '.join(line)} |" in markdown.splitlines()
    assert all(note in markdown for problem in suite.problems for note in notes(board, problem))
    for row in rows:
        if row["metric"] == "test_accuracy":
            median, low, high, iqm, iqm_low, iqm_high = (f"{100 * row[name]:.2f}" for name in COLUMNS[3:9])
            ranks = "-".join(str(rank) for rank in dict.fromkeys((row["rank_low"], row["rank_high"])))
            start = f"| {row['optimizer']} | {ranks} | {row['tie_group']} | "
            assert f"{start}{median} [{low}, {high}] | {iqm} [{iqm_low}, {iqm_high}] |" in markdown


def test_one_problem_does_not_change_the_rows_of_another(suite, finished):
    board = leaderboard(suite.plan(Store(finished).members()), Store(finished))
    for problem in suite.problems:
        own = dataclasses.replace(suite, problems={problem: suite.problems[problem]})
        alone = leaderboard(own.plan(Store(finished).members()), Store(finished))
        for section in ("rows", "sensitivity", "seeds_needed", "time_ratios"):
            assert alone[section] == [entry for entry in board[section] if entry["problem"] == problem]


def test_times_are_ratios_to_the_fastest_of_one_machine(suite, finished, tmp_path):
    board = leaderboard(suite.plan(Store(finished).members()), Store(finished))
    for entry in board["time_ratios"]:
        assert set(entry["ratios"]) == set(suite.optimizers) and min(entry["ratios"].values()) == 1.0
        assert any(line.startswith("Time per step over") for line in notes(board, entry["problem"]))
    rows = Store(finished).members().to_dicts()
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.write([{**row, "cpu": "another" if row["seed"] == 0 else row["cpu"]} for row in rows], curve_of(rows))
    board = leaderboard(suite.plan(elsewhere.members()), elsewhere)
    assert [entry["ratios"] for entry in board["time_ratios"]] == [None, None]
    assert len(notes(board, "digits/mlp")) == 1


def test_the_command_computes_nothing_and_writes_what_the_run_wrote(
    tiny_suite, finished, finished_copy, monkeypatch, contents, capsys
):
    def forbidden(*arguments, **options):
        raise AssertionError("the leaderboard computes nothing")

    monkeypatch.setattr(bench.execution.runner, "run_chunked", forbidden)
    for path in finished_copy.glob("leaderboard.*"):
        path.unlink()
    assert run_command(main, tiny_suite) == 0
    assert contents(finished_copy) == contents(finished)
    assert "steps to target" in capsys.readouterr().out


def test_of_a_single_cell_there_is_none(tiny_suite, capsys):
    assert run_command(main, ["suite=none"]) == 2
    assert "suite=none: allowed is smoke, default or full" in capsys.readouterr().err


def test_a_changed_suite_does_not_pass_for_the_suite(suite, finished):
    """The tiny suite is suite=smoke with other steps and widths; where it is stored changes nothing."""
    document = json.loads((finished / "leaderboard.json").read_text())
    assert "steps=4" in document["overrides"] and "CHANGED by" in (finished / "leaderboard.md").read_text()
    assert not [override for override in document["overrides"] if override.startswith(("results_dir", "device"))]
    assert changes_of(["results_dir=elsewhere", "threads=1", "logger.mode=offline"]) == []
    assert suite.plan(Store(finished).members()).title.startswith("smoke v2 CHANGED by steps=4 ")
    assert load_suite("smoke").plan(Store(finished).members()).title == "smoke v2"


def test_what_it_was_computed_with_counts_the_members_of_the_suite_only(suite, finished, tmp_path):
    store = Store(tmp_path)
    members = Store(finished).members().to_dicts()
    for rows in (members, [{**members[0], "member_id": "another cell", "torch": "0.4.1"}]):
        store.write(rows, curve_of(rows))
    assert "0.4.1" in store.members()["torch"].to_list()
    assert leaderboard(suite.plan(store.members()), store)["computed_with"]["torch"] == [members[0]["torch"]]
