"""The W&B logger, offline: what it wrote is read back from its run files and compared with the stored rows."""

import json
import math

import numpy as np
import polars as pl
import pytest

from bench.cell.groups import LoggerConfig
from bench.execution.record import failed_rows
from bench.leaderboard.document import COLUMNS
from bench.logger.logger import make_logger
from bench.logger.wandb_logger import seed_quantiles, seed_summary, wandb
from bench.plan.plan import SuitePlan
from bench.store.schema import CURVE_SCHEMA, METRICS
from bench.store.store import Store
from tests.bench.logger.wandb_runs import CLASSES, REGRESSION, SETTINGS, log, no_init, read_run, read_runs

pytestmark = pytest.mark.usefixtures("wandb_home")

PERCENTILES = {"min": 0, "q25": 25, "median": 50, "q75": 75, "max": 100}
CLOSED = ["problem=e3", "optimizer=sgd", "optimizer.lr=[0.01,1e4]", "steps=20", "evaluations=4", "seeds=2"]


def test_the_run_of_a_setting_has_the_quantiles_of_the_stored_curves(tmp_path, computed):
    cell, store = computed(CLASSES)
    assert log(tmp_path, cell, store) == []
    (run,) = read_runs(tmp_path).values()
    assert (run["group"], run["job_type"], run["project"]) == ("digits/mlp/shb", "cell", "tests")
    assert run["name"] == "shb lr=0.05 momentum=0.9"
    assert run["step_of"]["val_loss/*"] == "step"
    curves = store.curves(cell.ids)
    assert [row["step"] for row in run["history"]] == list(cell.plan.evaluate_at)
    for row in run["history"]:
        at_step = curves.filter(pl.col("step") == row["step"])
        expected = {"step": row["step"]}
        for metric in ("batch_loss", *METRICS):
            values = at_step[metric].drop_nulls().to_numpy()
            if len(values):
                assert len(values) == 3
                for name, share in PERCENTILES.items():
                    expected[f"{metric}/{name}"] = np.percentile(values, share, method="inverted_cdf")
        assert row == pytest.approx(expected)
    assert "val_loss/median" in row and "batch_loss/q75" in row and "test_accuracy/min" in row


def test_the_summary_is_the_median_of_the_stored_metrics(tmp_path, computed):
    cell, store = computed(CLASSES)
    log(tmp_path, cell, store)
    (run,) = read_runs(tmp_path).values()
    members = store.members()
    own = {name: value for name, value in run["summary"].items() if not name.startswith("_")}
    expected = {"n_seeds": 3, "n_diverged": 0}
    for metric in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"):
        expected[metric] = np.median(members[metric].to_numpy())
    assert own == pytest.approx(expected)  # and nothing else, such as the last row of the history


def test_the_config_is_the_spec_without_the_seed_and_what_computed_it(tmp_path, computed):
    cell, store = computed(CLASSES)
    log(tmp_path, cell, store)
    config = next(iter(read_runs(tmp_path).values()))["config"]
    spec = {name: value for name, value in json.loads(cell.spec_json(0)).items() if name != "seed"}
    assert {name: config[name] for name in spec} == spec
    assert "seed" not in config
    assert config["hyperparameters"] == {"lr": 0.05, "momentum": 0.9}
    assert config["seeds"] == [0, 1, 2]
    row = store.members().row(0, named=True)
    assert config["dataset_checksum"] == row["dataset_checksum"] != None  # noqa: E711
    for name in ("code_commit", "code_dirty", "python", "torch", "platform", "cpu", "device_name", "threads"):
        assert config[name] == row[name]


def test_members_computed_on_different_machines_give_lists(tmp_path, computed):
    cell, store = computed(CLASSES)
    members = store.members().with_columns(cpu=pl.Series(["a", "b", "a"]))
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), pytest.fail)
    logger.cell(cell, members, store.curves(cell.ids), role="cell")
    assert next(iter(read_runs(tmp_path).values()))["config"]["cpu"] == ["a", "b"]


@pytest.mark.parametrize(
    ("overrides", "group", "metrics"),
    [
        (REGRESSION, "diabetes/mlp/sgd", {"train_loss", "val_loss", "test_loss"}),
        (CLOSED, "e3/sgd", {"train_loss", "clarke_distance", "artificial_distance", "touched", "trapped"}),
    ],
)
def test_one_run_per_setting_and_a_diverged_one_ends_early(tmp_path, computed, overrides, group, metrics):
    cell, store = computed(overrides)
    assert set(store.members()["status"]) == {"done", "diverged"}
    assert log(tmp_path, cell, store) == []
    done, diverged = sorted(read_runs(tmp_path).values(), key=lambda run: run["summary"]["n_diverged"])
    assert done["group"] == diverged["group"] == group
    assert {name for name in done["summary"] if not name.startswith("_")} == {*metrics, "n_seeds", "n_diverged"}
    assert diverged["summary"]["n_diverged"] == diverged["summary"]["n_seeds"] == done["summary"]["n_seeds"]
    assert not metrics & set(diverged["summary"])
    assert len(diverged["history"]) < len(done["history"]) == 5
    names = [{name.split("/")[0] for row in run["history"] for name in row} for run in (done, diverged)]
    assert {"step"} < names[1] <= names[0] == {"step", "batch_loss", *metrics}
    assert all(math.isfinite(value) for run in (done, diverged) for row in run["history"] for value in row.values())


def test_a_diverged_seed_counts_as_the_worst_value():
    def rows(member, losses, accuracies):
        return [
            {"member_id": member, "step": step, "val_loss": loss, "val_accuracy": accuracy}
            for step, (loss, accuracy) in enumerate(zip(losses, accuracies))
        ]

    curves = pl.DataFrame(
        [*rows("a", [4, 2], [0.1, 0.6]), *rows("b", [5, 3], [0.2, 0.8]), *rows("c", [6], [0.3])], schema=CURVE_SCHEMA
    )
    first, second = seed_quantiles(curves)
    assert first["val_loss/median"] == 5
    assert second == {
        "step": 1,
        "val_loss/min": 2,
        "val_loss/q25": 2,  # every quantile is a seed's value, as on the page
        "val_loss/median": 3,  # of 2, 3, inf; q75 and max are infinite
        "val_accuracy/min": 0,
        "val_accuracy/q25": 0,
        "val_accuracy/median": pytest.approx(0.6),  # of 0, 0.6, 0.8
        "val_accuracy/q75": pytest.approx(0.8),
        "val_accuracy/max": 0.8,
    }
    assert seed_quantiles(curves.clear()) == []


def test_the_summary_of_partly_diverged_seeds_agrees_with_the_leaderboard(computed):
    _, store = computed(CLASSES)
    members = store.members().with_columns(
        val_loss=pl.Series([1.0, 3.0, None]),
        val_accuracy=pl.Series([0.5, 0.7, None]),
        test_loss=pl.Series([1.0, None, None]),
        status=pl.Series(["done", "done", "diverged"]),
    )
    summary = seed_summary(members)
    assert (summary["val_loss"], summary["val_accuracy"]) == (3.0, 0.5)
    assert "test_loss" not in summary and "clarke_distance" not in summary
    assert (summary["n_seeds"], summary["n_diverged"]) == (3, 1)


def test_failed_members_are_not_counted(tmp_path, computed):
    cell, store = computed(CLASSES)
    failed = Store(tmp_path / "store")
    failed.write(failed_rows(cell, [2], "out of memory"), [])
    members = pl.concat([store.members().filter(pl.col("member_id") != cell.ids[2]), failed.members()])
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), pytest.fail)
    logger.cell(cell, members, store.curves(cell.ids[:2]), role="cell")
    (run,) = read_runs(tmp_path).values()
    assert run["summary"]["n_seeds"] == 2 and run["config"]["seeds"] == [0, 1]
    logger.cell(cell, failed.members(), store.curves([]), role="cell")
    assert len(read_runs(tmp_path)) == 1


def test_per_seed_adds_a_run_with_the_curve_of_every_seed(tmp_path, computed):
    cell, store = computed(REGRESSION)
    log(tmp_path, cell, store, per_seed=True)
    runs = read_runs(tmp_path)
    seeds = [run for run in runs.values() if run["job_type"] == "seed"]
    assert len(runs) == 2 + 6 and len(seeds) == 6
    by_id = {run["config"]["member_id"]: run for run in seeds}
    for row in store.members().iter_rows(named=True):
        run = by_id[row["member_id"]]
        assert run["group"] == "diabetes/mlp/sgd" and run["name"].endswith(f"seed={row['seed']}")
        assert run["config"]["seed"] == row["seed"]
        assert (run["summary"]["status"], run["summary"]["diverged_step"]) == (row["status"], row["diverged_step"])
        assert run["summary"].get("test_loss") == row["test_loss"]
        curve = store.curves([row["member_id"]])
        expected = [(r["step"], r["val_loss"]) for r in curve.iter_rows(named=True)]
        assert [(r["step"], r.get("val_loss")) for r in run["history"]] == expected
    assert "per_seed" not in runs["sgd lr=0.01"]["config"]


def test_tuning_is_logged_only_if_asked_for(tmp_path, computed, monkeypatch):
    cell, store = computed(CLASSES)
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "init", no_init)
        assert log(tmp_path, cell, store, role="tuning") == []
    assert not list(tmp_path.rglob("*.wandb"))
    log(tmp_path, cell, store, role="evaluation")
    log(tmp_path, cell, store, role="tuning", tuning=True)
    wandb.teardown()
    runs = [read_run(path) for path in tmp_path.glob("wandb/*/*.wandb")]
    assert sorted(run["job_type"] for run in runs) == ["evaluation", "tuning"]
    assert {run["config"]["role"] for run in runs} == {"evaluation", "tuning"}


def test_a_repeated_command_gives_the_same_run_id_and_other_members_another(tmp_path, computed):
    cell, store = computed(CLASSES)
    ids = []
    for name, members in (("a", store.members()), ("b", store.members()), ("c", store.members().head(2))):
        logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path / name)}), pytest.fail)
        logger.cell(cell, members, store.curves(cell.ids), role="cell")
        ids += [run["id"] for run in read_runs(tmp_path / name).values()]
    assert ids[0] == ids[1] != ids[2]


def test_the_leaderboard_is_a_table(tmp_path):
    shared = dict.fromkeys(COLUMNS) | {"problem": "digits/mlp", "n_seeds": 4, "coverage": 1.0, "space": {"lr": {}}}
    rows = [
        {**shared, "optimizer": "sgd", "metric": "test_accuracy", "median": 0.9, "ci_low": 0.8, "tie_group": 1}
        | {"n_diverged": 0, "hyperparameters": {"lr": 0.1}},
        {**shared, "optimizer": "adam", "metric": "train_loss", "median": None, "ci_low": None, "ci_high": None}
        | {"n_diverged": 4, "hyperparameters": None, "coverage": 0.5},
    ]
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(tmp_path)}), pytest.fail)
    logger.leaderboard(SuitePlan("smoke", 2, "", (), 4, 2, 4, 0), rows)
    logger.close()
    (run,) = read_runs(tmp_path).values()
    assert (run["group"], run["job_type"], run["name"]) == ("leaderboard", "leaderboard", "leaderboard smoke v2")
    assert {name: run["config"][name] for name in ("suite", "suite_version", "complete")} == {
        "suite": "smoke",
        "suite_version": 2,
        "complete": False,
    }
    (logged,) = run["history"]
    assert logged["leaderboard/_type"] == "table-file"
    table = json.loads((run["path"].parent / "files" / logged["leaderboard/path"]).read_text())
    assert table["columns"] == list(COLUMNS)
    expected = [[row[name] for name in COLUMNS[:-1]] for row in rows]
    assert [row[:-1] for row in table["data"]] == expected
    assert [json.loads(row[-1]) for row in table["data"]] == [{"lr": 0.1}, None]
