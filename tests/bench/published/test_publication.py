"""Published beside measured: statistics on planted stores, the files of conf/published, the committed comparison."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy import stats

import bench.cell.problem
import bench.published.__main__
import bench.published.publication
import bench.published.table
from bench.cell.config import CONF, entries
from bench.command import run_command
from bench.execution.record import failed_rows
from bench.published.publication import Measurement, Publication, load_publication, published_rows
from bench.published.table import summary
from bench.statistics.inference import ALPHA, holm
from bench.store.store import Store
from bench.suite.suite import load_suite
from shb.errors import ConfigurationError
from shb.optimizers.conversions import torch_to_polyak
from tests.bench.conftest import SUITE_SIZE
from tests.bench.planted import curve_of

PROBLEM = "digits/mlp"
SETTINGS = {
    "sgd": {"lr": 0.1},
    "shb": {"lr": 0.05, "momentum": 0.5},
    "adam": {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
}
RESULTS = Path(__file__).parents[3] / "results" / "published"


@pytest.fixture
def no_files(monkeypatch):
    """The suites of conf/published without the files of their data: the checksum is that of the committed members."""
    known = set(Store(RESULTS).members()["dataset_checksum"])
    (checksum,) = known or {"none"}
    monkeypatch.setattr(bench.cell.problem, "check_files", lambda *arguments: None)
    monkeypatch.setattr(bench.cell.problem, "load_dataset", lambda *arguments: types.SimpleNamespace(checksum=checksum))


@pytest.fixture
def suite(write_suite):
    settings = dict.fromkeys((PROBLEM, "diabetes/mlp"), SETTINGS)
    write_suite("given", trials=0, tuning_seeds=0, tuning_evaluations=None, settings=settings)
    return load_suite("given", SUITE_SIZE)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def plant(suite, store, values, metric="test_loss", optimizer="sgd"):
    """Store members of one pair; None is a diverged seed."""
    cell = suite.evaluation_cell(PROBLEM, optimizer, SETTINGS[optimizer])
    rows = failed_rows(cell, range(len(values)), "")
    for row, value in zip(rows, values):
        row |= {"error": None, "status": "diverged" if value is None else "done", metric: value}
    store.write(rows, curve_of(rows))
    return cell


def publication(values, metric="test_loss", step=None):
    """`values`: optimizer -> published values."""
    one = Measurement(metric, "planted", values, step)
    return Publication(
        "planted", "planted", "given", PROBLEM, {"numbers": "here"}, {}, {key: {} for key in values}, [one]
    )


def test_a_row_is_welchs_test_of_both_samples(suite, store):
    published, measured = [1.0, 1.2, 1.1, 1.3, 0.9], [1.4, 1.1, 1.6, 1.2]
    plant(suite, store, measured)
    (row,) = published_rows(publication({"sgd": published}), suite.plan(store.members()), store)
    test = stats.ttest_ind(measured, published, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert row["difference"] == pytest.approx(np.mean(measured) - np.mean(published))
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert row["p_value"] == row["p_holm"] == pytest.approx(test.pvalue)
    assert row["published_mean"] == pytest.approx(1.1) and row["published_sd"] == pytest.approx(0.025**0.5)
    assert (row["measured_sd"], row["measured_n"]) == (pytest.approx(np.std(measured, ddof=1)), 4)
    size = abs(row["difference"]) / np.std(published, ddof=1)
    assert row["verdict"] == f"agrees ({size:.1f} sd)"


def test_p_values_are_corrected_over_all_rows_and_seen_differences_are_named(suite, store):
    published = {"sgd": [1.0, 1.1, 0.9, 1.05], "shb": [2.0, 2.1, 1.9, 2.05], "adam": [3.0, 3.1, 2.9, 3.05]}
    plant(suite, store, [1.0, 1.1, 0.9, 1.02])
    plant(suite, store, [1.0, 1.1, 0.9, 1.05], optimizer="shb")  # 1.0 lower
    plant(suite, store, [3.17, 3.27, 3.07, 3.22], optimizer="adam")  # seen alone, not among three
    rows = {row["optimizer"]: row for row in published_rows(publication(published), suite.plan(store.members()), store)}
    p = [rows[name]["p_value"] for name in ("sgd", "shb", "adam")]
    assert p[1] < 0.001 and 0.025 < p[2] < 0.05 < p[0]
    assert rows["shb"]["p_holm"] == pytest.approx(3 * p[1]) and rows["adam"]["p_holm"] == pytest.approx(2 * p[2])
    assert rows["shb"]["verdict"] == "differs: lower by 11.7 sd"
    assert rows["adam"]["verdict"] == "agrees (2.0 sd)" and rows["sgd"]["verdict"].startswith("agrees (0.1 sd)")
    text = summary(list(rows.values()))
    assert text.startswith("1 of 3 comparisons differ") and "2 of the 3 intervals leave out 0" in text


def test_missing_partial_and_diverged_seeds_say_so(suite, store):
    published = {key: [1.0, 1.1, 0.9] for key in SETTINGS}
    plant(suite, store, [1.0, 1.1, None, 0.9])
    plant(suite, store, [1.0, 1.1, 0.95], optimizer="shb")
    rows = {row["optimizer"]: row for row in published_rows(publication(published), suite.plan(store.members()), store)}
    assert rows["sgd"]["verdict"] == "1 of 4 diverged" and rows["sgd"]["p_holm"] is None
    assert rows["shb"]["verdict"].endswith("3 of 4 seeds") and rows["shb"]["p_holm"] == rows["shb"]["p_value"]
    assert rows["adam"]["verdict"] == "not measured (0 of 4 seeds)"
    assert "INCOMPLETE: 2 rows" in summary(list(rows.values()))


def test_equal_numbers_without_spread_agree_and_others_differ(suite, store):
    plant(suite, store, [1.0] * 4)
    rows = published_rows(publication({"sgd": [1.0, 1.0]}), suite.plan(store.members()), store)
    assert rows[0]["p_holm"] == 1 and rows[0]["verdict"] == "agrees (0)"
    rows = published_rows(publication({"sgd": [2.0, 2.0]}), suite.plan(store.members()), store)
    assert rows[0]["p_holm"] == 0 and rows[0]["verdict"] == "differs: lower by 1"


def test_a_step_of_the_curve_is_compared(suite, store):
    cell = plant(suite, store, [1.0, 1.1, 0.9, 1.2])
    curves = [
        {"member_id": member_id, "step": step, "batch_loss": 10.0 * step + i}
        for i, member_id in enumerate(cell.ids)
        for step in (2, 4)
    ]
    store.write([], curves)
    published = publication({"sgd": [41.0, 42.0, 41.0, 42.0]}, "batch_loss", 4)
    (row,) = published_rows(published, suite.plan(store.members()), Store(store.folder))
    assert row["measured_mean"] == pytest.approx(41.5) and row["label"] == "batch loss to step 4"


def test_where_nothing_differs_at_most_five_percent_of_reports_say_so():
    """500 reports of 36 rows with ten seeds a side: Holm keeps the share of reports with a false alarm at 5 %."""
    draws = np.random.default_rng(0).standard_normal((2, 500, 36, 10))
    p = stats.ttest_ind(*draws, axis=-1, equal_var=False).pvalue
    alarms = sum(holm(row).min() < ALPHA for row in p)
    assert alarms / 500 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert (p.min(1) < 0.05).mean() > 0.7  # what the correction is for


@pytest.mark.parametrize("name", entries("published"))
def test_a_publication_names_its_source_and_the_suite_runs_its_settings(no_files, name):
    """The suite's numbers are the published ones in Polyak's form (theory.md section 1)."""
    published = load_publication(name)
    suite = load_suite(published.suite, [f"results_dir={RESULTS}"])
    assert {"numbers", "licence"} <= set(published.source) and "commit" in published.source["numbers"]
    assert set(published.optimizers) == set(suite.optimizers)
    for optimizer, entry in published.optimizers.items():
        numbers = {key: value for key, value in entry.items() if key not in ("published", "rule")}
        if optimizer == "shb":
            alpha, beta = torch_to_polyak(np.full(5, numbers["lr"]), numbers["momentum"])
            assert (alpha == alpha[0]).all() and (beta[1:] == beta[1]).all()
            numbers = {"lr": alpha[0], "momentum": beta[1]}
        assert suite.settings[published.problem][optimizer] == numbers
        cell = suite.evaluation_cell(published.problem, optimizer, numbers)
        steps = {one.step for one in published.measurements if one.step is not None}
        assert steps <= set(cell.plan.evaluate_at)
        seeds = {len(one.values[optimizer]) for one in published.measurements}
        assert max(seeds) <= len(cell.ids)  # at least as many as published


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["measurements"][0].update(metric="test_acuracy"), "did you mean test_accuracy"),
        (lambda raw: raw["measurements"][3].update(metric="val_loss"), "val_loss: allowed is one of batch_loss"),
        (lambda raw: raw["measurements"][0]["values"].update(sgd=[1.0]), "one value per seed, at least two"),
        (lambda raw: raw["measurements"][0]["values"].update(adamm=[1.0, 2.0]), "did you mean adam"),
    ],
)
def test_a_wrong_file_is_refused(write_suite, monkeypatch, change, message):
    conf = bench.cell.config.CONF
    monkeypatch.setattr(bench.published.publication, "CONF", conf)
    raw = OmegaConf.to_container(OmegaConf.load(CONF / "published" / "deepobs.yaml"))
    change(raw)
    OmegaConf.save(OmegaConf.create(raw), conf / "published" / "deepobs.yaml")
    with pytest.raises(ConfigurationError, match=message):
        load_publication("deepobs")


def test_a_suite_that_reproduces_nothing_is_refused(tmp_path, capsys):
    assert run_command(bench.published.__main__.main, ["suite=smoke", f"results_dir={tmp_path}"]) == 2
    assert "suite=smoke: allowed is published" in " ".join(capsys.readouterr().err.split())
    assert run_command(bench.published.__main__.main, ["suite=none", f"results_dir={tmp_path}"]) == 2


def momentum_of_tensorflow(gradient, w, lr, momentum, steps):
    accumulator, path = 0.0, []
    for _ in range(steps):
        accumulator = momentum * accumulator + gradient(w)
        w -= lr * accumulator
        path.append(w)
    return np.array(path)


def polyak(gradient, w, alpha, beta, steps):
    previous, path = w, []
    for _ in range(steps):
        previous, w = w, w - alpha * gradient(w) + beta * (w - previous)
        path.append(w)
    return np.array(path)


def test_the_conversion_of_the_published_momentum_is_exact_and_another_convention_is_not():
    entry = load_publication("deepobs").optimizers["shb"]
    lr, momentum = entry["lr"], entry["momentum"]

    def gradient(w):
        return 3 * w + np.sign(w)

    theirs = momentum_of_tensorflow(gradient, 2.0, lr, momentum, 400)
    np.testing.assert_allclose(polyak(gradient, 2.0, lr, momentum, 400), theirs, rtol=0, atol=1e-12)
    averaged = polyak(gradient, 2.0, (1 - momentum) * lr, momentum, 400)  # if it were an average of gradients
    assert np.abs(averaged - theirs).max() > 1


@pytest.mark.skipif(not list(RESULTS.glob("published_*.json")), reason="no committed comparison")
def test_the_committed_comparison_follows_from_the_committed_members(no_files):
    for name in entries("published"):
        published = load_publication(name)
        suite, store = load_suite(published.suite, [f"results_dir={RESULTS}", "device=cpu"]), Store(RESULTS)
        rows = published_rows(published, suite.plan(store.members()), store)
        stored = json.loads((RESULTS / f"published_{name}.json").read_text())
        assert stored["complete"] and json.loads(json.dumps(rows)) == stored["rows"]
        assert bench.published.table.markdown(published, rows) == (RESULTS / f"published_{name}.md").read_text()


@pytest.mark.skipif(not (RESULTS / "members").is_dir(), reason="no committed members")
def test_the_document_shows_the_committed_table():
    committed = set((RESULTS / "published_deepobs.md").read_text().splitlines())
    lines = (RESULTS.parents[1] / "docs" / "published.md").read_text().splitlines()
    shown = [line for line in lines if line.count("|") == 8]
    assert len(shown) == 17 and set(shown) <= committed
