"""The leaderboard: fixed columns, numbers that follow from the store, and nothing computed."""

import csv
import dataclasses
import io
import json
import math

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import bench.runner
from bench.command import run_command
from bench.leaderboard import (
    COLUMNS,
    SCHEMA_VERSION,
    caption,
    is_complete,
    leaderboard_rows,
    main,
    print_leaderboard,
    provenance,
    tables,
    write_leaderboard,
)
from bench.record import failed_rows
from bench.statistics import median_interval
from bench.store import Store
from bench.suite import Target, load_suite
from tests.bench.conftest import SUITE_SIZE

ISSUE_KEYS = {
    "problem",
    "optimizer",
    "metric",
    "median",
    "ci_low",
    "ci_high",
    "n_seeds",
    "n_diverged",
    "coverage",
    "hyperparameters",
}


@pytest.fixture
def suite():
    return load_suite("smoke", SUITE_SIZE)


def by_metric(rows, problem, optimizer):
    return {row["metric"]: row for row in rows if (row["problem"], row["optimizer"]) == (problem, optimizer)}


def stored(cell, store, metrics, curves=()):
    """Store members of `cell` as if computed: `metrics(index)` is their metrics, or None for a diverged one."""
    rows = failed_rows(cell, range(len(cell.ids)), "")
    for i, row in enumerate(rows):
        values = metrics(i)
        row |= {"error": None, "status": "diverged" if values is None else "done", **(values or {})}
    store.write(rows, [{"member_id": cell.ids[i], **point} for i, points in enumerate(curves) for point in points])


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
    rows = by_metric(leaderboard_rows(suite, planted), "digits/mlp", "sgd")
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
    row = by_metric(leaderboard_rows(easier, planted), "digits/mlp", "sgd")["steps_to_target"]
    assert row["n_reached"] == 3 and row["median"] == 2.0 and row["ci_high"] is None
    without = dataclasses.replace(suite, targets={})
    assert "steps_to_target" not in by_metric(leaderboard_rows(without, planted), "digits/mlp", "sgd")


def test_an_incomplete_suite_says_so(suite, planted, tmp_path, capsys):
    rows = leaderboard_rows(suite, planted)
    other = by_metric(rows, "digits/mlp", "adam")["test_accuracy"]
    assert (other["coverage"], other["n_seeds"], other["median"], other["hyperparameters"]) == (0.0, 0, None, None)
    assert not is_complete(rows) and "INCOMPLETE" in caption(suite, rows)
    code = run_command(main, ["suite=smoke", *SUITE_SIZE, f"results_dir={planted.folder}"])
    assert code == 0 and "INCOMPLETE" in capsys.readouterr().out
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
    rows = leaderboard_rows(suite, Store(finished_copy))
    assert {row["coverage"] for row in by_metric(rows, "digits/mlp", "shb").values()} == {9 / 12}
    assert {row["n_seeds"] for row in by_metric(rows, "digits/mlp", "shb").values()} == {1}
    assert {row["coverage"] for row in rows if row["optimizer"] != "shb"} == {1.0}
    assert not is_complete(rows)


def test_a_failed_member_is_not_covered(suite, planted):
    cell = suite.tuning_cell("diabetes/mlp", "sgd")
    planted.write(failed_rows(cell, range(len(cell.ids)), "x"), [])
    row = by_metric(leaderboard_rows(suite, planted), "diabetes/mlp", "sgd")["test_loss"]
    assert (row["coverage"], row["n_seeds"], row["hyperparameters"]) == (0.0, 0, None)


def test_a_pair_whose_every_trial_diverged(suite, tmp_path):
    store = Store(tmp_path / "results")
    tuning = suite.tuning_cell("diabetes/mlp", "sgd")
    stored(tuning, store, lambda i: None)
    best = json.loads(suite.best("diabetes/mlp", "sgd", store.members())["hyperparameters"])
    stored(suite.evaluation_cell("diabetes/mlp", "sgd", best), store, lambda i: None)
    rows = leaderboard_rows(suite, store)
    for row in by_metric(rows, "diabetes/mlp", "sgd").values():
        assert (row["median"], row["ci_low"], row["ci_high"], row["n_diverged"]) == (None, None, None, 4)
        assert row["tuning_value"] is None and row["coverage"] == 1.0
    write_leaderboard(suite, rows, store)
    assert "| sgd | diverged | diverged | missed by 4/4 | 4 | 4 |" in (store.folder / "leaderboard.md").read_text()


def test_numbers_are_those_of_the_store(suite, finished):
    """Medians against numpy over the stored members and curves, for every row."""
    store = Store(finished)
    members = pl.read_parquet(f"{finished}/members/*.parquet")
    rows = leaderboard_rows(suite, store)
    assert len(rows) == 2 * 3 * 3 and is_complete(rows) and "complete" in caption(suite, rows)
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
    assert reached > 0


def test_the_tuned_setting_is_the_best_of_the_trials(suite, finished):
    members = Store(finished).members().filter(pl.col("seed") >= 4)
    for row in leaderboard_rows(suite, Store(finished)):
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
    expected = leaderboard_rows(suite, store)
    members = store.members().sample(fraction=1.0, shuffle=True, seed=1)
    shuffled = Store(tmp_path / "shuffled")
    for part in members.iter_slices(5):
        curves = store.curves(part["member_id"].to_list()).sample(fraction=1.0, shuffle=True, seed=2)
        shuffled.write(part.to_dicts(), curves.to_dicts())
    assert leaderboard_rows(suite, shuffled) == expected


def test_the_document(finished):
    document = json.loads((finished / "leaderboard.json").read_text())
    assert document["schema_version"] == SCHEMA_VERSION == 1
    assert (document["suite"], document["suite_version"], document["complete"]) == ("smoke", 1, True)
    assert set(document["computed_with"]) >= {"code_commit", "code_dirty", "torch", "cpu", "threads"}
    assert all(document["computed_with"].values())
    assert set(COLUMNS) == ISSUE_KEYS
    for row in document["rows"]:
        assert row.keys() >= ISSUE_KEYS


def test_json_csv_and_markdown_agree(suite, finished):
    rows = json.loads((finished / "leaderboard.json").read_text())["rows"]
    table = list(csv.DictReader((finished / "leaderboard.csv").open()))
    assert list(table[0]) == list(COLUMNS) and len(table) == len(rows)
    for line, row in zip(table, rows):
        for name in COLUMNS:
            value = row[name]
            expected = json.dumps(value) if name == "hyperparameters" else "" if value is None else str(value)
            assert line[name] == expected
    markdown = (finished / "leaderboard.md").read_text()
    assert caption(suite, rows) in markdown
    for title, names, lines in tables(suite, rows):
        assert f"## {title}\n" in markdown and f"| {' | '.join(names)} |\n" in markdown
        for line in lines:
            assert f"| {' | '.join(line)} |" in markdown.splitlines()
    for row in rows:
        if row["metric"] == "test_accuracy":
            shown = [f"{100 * row[name]:.2f}" for name in ("median", "ci_low", "ci_high")]
            assert f"| {row['optimizer']} | {shown[0]} [{shown[1]}, {shown[2]}] |" in markdown


def test_tables_are_ordered_by_the_first_metric(suite, finished):
    rows = leaderboard_rows(suite, Store(finished))
    for problem, (_, _, lines) in zip(suite.problems, tables(suite, rows)):
        medians = [next(iter(by_metric(rows, problem, line[0]).values()))["median"] for line in lines]
        assert medians == sorted(medians, reverse=problem.startswith("digits"))


def test_a_terminal_of_any_width(suite, finished):
    for width in (40, 80, 200):
        text = io.StringIO()
        print_leaderboard(suite, leaderboard_rows(suite, Store(finished)), Console(file=text, width=width))
        assert all(optimizer in text.getvalue() for optimizer in suite.optimizers)


def test_the_command_computes_nothing_and_writes_what_the_run_wrote(
    tiny_suite, finished, finished_copy, monkeypatch, contents, capsys
):
    def forbidden(*arguments, **options):
        raise AssertionError("the leaderboard computes nothing")

    monkeypatch.setattr(bench.runner, "run_chunked", forbidden)
    for path in finished_copy.glob("leaderboard.*"):
        path.unlink()
    assert run_command(main, tiny_suite) == 0
    assert contents(finished_copy) == contents(finished)
    assert "steps to target" in capsys.readouterr().out


def test_of_a_single_cell_there_is_none(tiny_suite, capsys):
    assert run_command(main, ["suite=none"]) == 2
    assert "suite=none: allowed is smoke, default or full" in capsys.readouterr().err


def test_the_search_spaces_stand_below_the_table(finished, suite):
    text = (finished / "leaderboard.md").read_text()
    low, high = (suite.space("digits/mlp", "sgd")["lr"][end] for end in ("low", "high"))
    assert f"- sgd: lr {low:g} .. {high:g} (log)" in text.split("## Search spaces")[1]
    assert text.split("## Search spaces")[1].count("- ") == len(suite.optimizers)


def test_a_changed_suite_does_not_pass_for_the_suite(suite, finished):
    """The tiny suite is suite=smoke with other steps and widths; where it is stored changes nothing."""
    document = json.loads((finished / "leaderboard.json").read_text())
    assert "steps=4" in document["overrides"] and "CHANGED by" in (finished / "leaderboard.md").read_text()
    assert not [override for override in document["overrides"] if override.startswith(("results_dir", "device"))]
    untouched = load_suite("smoke", ["results_dir=elsewhere", "threads=1", "logger.mode=offline"])
    assert untouched.changes() == [] and untouched.title == "smoke v1"


def test_what_it_was_computed_with_counts_the_members_of_the_suite_only(suite, finished, tmp_path):
    store = Store(tmp_path)
    members = Store(finished).members().to_dicts()
    store.write(members, [])
    store.write([{**members[0], "member_id": "another cell", "torch": "0.4.1"}], [])
    rows = leaderboard_rows(suite, store)
    assert "0.4.1" in store.members()["torch"].to_list()
    assert provenance(suite, rows, store)["torch"] == [members[0]["torch"]]
