"""One member from nothing but its id: equal to the bit here; a number that is not what its spec gives is found."""

import json

import polars as pl
import pytest

import bench.reproduction.rerun
from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.command import run_command
from bench.reproduce import main
from bench.reproduction.reproduction import reproduce, same_bits
from bench.reproduction.rerun import alone, stored_run
from bench.store.content_hash import number_bits
from bench.store.identity import canonical, identity
from bench.store.schema import METRICS
from bench.store.store import Store
from shb.errors import ConfigurationError
from shb.training import why_not
from tests.bench.conftest import ROOT
from tests.bench.planted import curve_of

CELLS = {
    "mlp": ["dataset=diabetes", "model.hidden=[4]", "optimizer=shb", "steps=70", "evaluations=3"],
    "cnn": ["dataset=digits", "model=cnn", "model.channels=[2]", "optimizer=adam", "steps=5", "evaluations=2"],
    "closed": ["problem=e1", "optimizer=shb", "schedule=power", "steps=200", "evaluations=4", "dtype=float64"],
    "velocity": ["problem=quadratic", "optimizer=shb", "velocity=normal", "velocity.std=1", "steps=50"],
    "reshuffle": ["dataset=diabetes", "model.hidden=[4]", "optimizer=nesterov", "sampling=reshuffle", "steps=30"],
    "diverging": ["dataset=diabetes", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=1e3", "steps=70"],
}


@pytest.fixture
def stored(computed):
    """Name of a cell -> its store and the row and curve of its second member, computed in a stack of three."""

    def find(name):
        cell, store = computed((*CELLS[name], "seeds=3", "device=cpu", "engine=eager", "logger=none"))
        row = store.members().row(by_predicate=pl.col("member_id") == cell.ids[1], named=True)
        return store, row, store.curves([row["member_id"]])

    return find


@pytest.fixture
def command(capsys):
    def call(*arguments):
        code = run_command(main, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name", CELLS)
def test_a_member_of_a_stack_is_the_same_to_the_bit_alone(stored, name):
    _, row, curve = stored(name)
    done = reproduce(row, curve)
    assert (done.result, done.exact, done.reason) == ("bits", True, "")
    assert (row["status"] == "diverged") == (name == "diverging")


def test_compiled_members_too(computed):
    if (reason := why_not()) is not None:
        pytest.skip(f"nothing can be compiled here: {reason}")
    cell = build_cell(compose_config([*CELLS["mlp"], "seeds=1", "device=cpu", "engine=compiled", "logger=none"]))
    run = alone(cell)
    _, store = computed((*CELLS["mlp"], "seeds=3", "device=cpu", "engine=eager", "logger=none"))
    row = store.members().row(0, named=True) | dict(run.metrics)
    row |= {"engine": "compiled", "spec": cell.spec_json(0), "member_id": cell.ids[0], "seed": 0}
    curve = pl.DataFrame({"member_id": [cell.ids[0]] * 4, **{n: list(v) for n, v in run.curve.items()}}, strict=False)
    assert reproduce(row, curve).result == "bits"


def test_the_command_needs_the_id_only(stored, command):
    store, row, _ = stored("mlp")
    code, out, _ = command(row["member_id"], f"results_dir={store.folder}")
    assert code == 0 and "bits" in out and row["member_id"] in out and f"spec: {row['spec']}" in out
    assert command(row["member_id"][:8], f"results_dir={store.folder}")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "MEMBER_ID"),
        (["0123", "4567"], "MEMBER_ID"),
        (["0" * 16], "an id"),
        ([""], "more digits"),
        (["0" * 16, "result_dir=x"], "did you mean results_dir"),
        (["0" * 16, "limit=soon"], "a number"),
        (["0" * 16, "results_dir=nowhere"], "results folder"),
        (["--fast"], "MEMBER_ID"),
    ],
)
def test_bad_input_is_one_line(stored, command, arguments, words):
    store, *_ = stored("mlp")
    folder = [] if any("dir=" in a for a in arguments) else [f"results_dir={store.folder}"]
    code, _, err = command(*arguments, *folder)
    assert code == 2 and err.count("\n") == 1 and words in err


METRIC_OF = {"mlp": "test_loss", "closed": "clarke_distance"}


@pytest.mark.parametrize("name", METRIC_OF)
def test_a_number_that_was_changed_is_found(stored, name):
    """In the last bit: on this machine nothing else can be right."""
    _, row, curve = stored(name)
    metric = METRIC_OF[name]
    other = row[metric] * (1 + 2**-52)
    last = pl.col("step") == row["steps"]
    forged = curve.with_columns(pl.when(last).then(other).otherwise(metric).alias(metric))
    done = reproduce({**row, metric: other}, forged)
    assert done.result == "different" and done.exact and "other bits (within rounding)" in done.agreement.reason
    halfway = curve.with_columns(pl.when(pl.col("step") == 0).then(9.0).otherwise(metric).alias(metric))
    assert reproduce(row, halfway).result == "different"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_loss": 0.5}, "the last value of the curve"),
        ({"lr": 0.5}, "as the spec says"),
        ({"optimizer": "sgd"}, "as the spec says"),
        ({"problem": "mnist/vgg"}, "as the spec says"),
        ({"unstable_momentum": True}, "as the spec says"),
        ({"dataset_checksum": "0" * 64}, "as the spec says"),
        ({"member_id": "0123456789abcdef"}, "as the spec says"),
        ({"member_id": None}, "as the spec says"),
        ({"status": "great"}, "done, diverged or failed"),
        ({"status": "diverged", "diverged_step": -3}, "0 .. 70"),
        ({"status": "diverged", "diverged_step": 10}, "rows"),
        ({"threads": 10**6}, "1 .. 1024"),
        ({"threads": None}, "1 .. 1024"),
        ({"spec": None}, "spec"),
        ({"spec": "{}"}, "missing"),
    ],
)
def test_a_row_that_contradicts_itself_is_different(stored, changes, words):
    _, row, curve = stored("mlp")
    done = reproduce({**row, **changes}, curve)
    assert done.result == "different" and words in done.agreement.reason


def test_a_curve_that_is_cut_is_found(stored):
    _, row, curve = stored("mlp")
    assert "3 rows: allowed is 4" in reproduce(row, curve[1:]).agreement.reason
    assert reproduce(row, curve[:0]).result == "different"


def test_another_machine_has_a_tolerance_and_no_more(stored):
    _, row, curve = stored("mlp")
    elsewhere = {**row, "cpu": "another processor"}
    done = reproduce(elsewhere, curve)
    assert done.result == "bits" and not done.exact
    shift = {name: row[name] * (1 + 1e-6) for name in ("train_loss", "val_loss", "test_loss")}
    shifted = curve.with_columns(pl.col(*shift) * (1 + 1e-6))
    values = shifted.filter(pl.col("step") == 70).select(*shift).row(0, named=True)
    done = reproduce({**elsewhere, **values}, shifted)
    assert (done.result, done.agreement.step) == ("rounding", 70) and done.agreement.distance == pytest.approx(
        1e-6, rel=0.1
    )
    far = curve.with_columns(pl.col(*shift) * 1.1)
    values = far.filter(pl.col("step") == 70).select(*shift).row(0, named=True)
    assert reproduce({**elsewhere, **values}, far).result == "different"


def test_older_numerics_are_compared_within_the_tolerance(stored, monkeypatch):
    _, row, curve = stored("mlp")
    monkeypatch.setitem(bench.reproduction.reproduction.NUMERICS, "eager", 2)
    monkeypatch.setitem(bench.cell.cell.NUMERICS, "eager", 2)
    done = reproduce(row, curve)
    assert done.result == "bits" and not done.exact and "numerics 1, this code has 2" in done.agreement.reason


def test_compiled_members_run_eager_where_nothing_can_be_compiled(stored, monkeypatch):
    _, row, curve = stored("mlp")
    spec = {**json.loads(row["spec"]), "engine": "compiled", "numerics": bench.cell.cell.NUMERICS["compiled"]}
    row = {**row, "engine": "compiled", "spec": canonical(spec), "member_id": identity(spec)}
    monkeypatch.setattr(bench.reproduction.reproduction, "why_not", lambda: "no compiler")
    done = reproduce(row, curve)
    assert done.result == "bits" and not done.exact and "runs eager" in done.agreement.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"status": "failed"}, "failed when it was computed"), ({"schema_version": 1}, "older schema")],
)
def test_what_has_no_result_is_not_checked(stored, changes, words):
    _, row, curve = stored("mlp")
    done = reproduce({**row, **changes}, curve)
    assert done.result == "not checked" and words in done.reason


def test_a_store_of_version_1_is_not_checked():
    """Its specs have other fields: the same settings have another identity today."""
    store = Store(ROOT / "tests" / "bench" / "version_1")
    for row in store.members().iter_rows(named=True):
        done = reproduce(row, store.curves([row["member_id"]]))
        assert done.result == "not checked" and "another identity" in done.reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("no such\nkernel"), "RuntimeError: no such kernel"),
        (AssertionError("Artifact of type=precompile already registered"), "AssertionError: Artifact"),
        (NotADirectoryError(20, "Not a directory", "/dev/null/.cache"), "NotADirectoryError"),
        (MemoryError(), "MemoryError"),
        (ConfigurationError("data_root", "gone", "a folder"), "data_root=gone"),
    ],
)
def test_a_member_that_cannot_be_run_is_not_checked_and_not_called_different(
    stored, command, monkeypatch, error, words
):
    def broken(cell):
        raise error

    store, row, curve = stored("mlp")
    monkeypatch.setattr(bench.reproduction.reproduction, "alone", broken)
    done = reproduce(row, curve)
    assert (done.result, done.broken) == ("not checked", True) and words in done.reason
    code, out, _ = command(row["member_id"], f"results_dir={store.folder}")
    assert code == 1 and "not checked" in out and "different" not in out


def test_data_that_are_absent_are_no_failure(stored, command, tmp_path):
    _, row, curve = stored("mlp")
    spec = json.loads(row["spec"])
    spec["problem"] |= {"dataset": "fashion_mnist", "loss": "cross_entropy"}
    row = {**row, "spec": canonical(spec), "member_id": identity(spec)}
    done = reproduce(row, curve, data_root=str(tmp_path))
    assert done.result == "not checked" and str(tmp_path) in done.reason
    other = Store(tmp_path / "results")
    other.write([row], curve_of([row]))
    code, out, _ = command(row["member_id"], f"results_dir={other.folder}", f"data_root={tmp_path}")
    assert code == 1 and "not checked" in out


@pytest.mark.parametrize(
    ("change", "words"), [({"steps": 10**12, "evaluate_at": [0, 10**12]}, "predicted to take"), ({}, "")]
)
def test_a_member_that_costs_too_much_is_asked_for(stored, monkeypatch, change, words):
    _, row, curve = stored("closed")
    spec = {**json.loads(row["spec"]), **change}
    row = {**row, "spec": canonical(spec), "member_id": identity(spec), "steps": spec["steps"]}
    if change:
        monkeypatch.setattr(bench.reproduction.reproduction, "alone", lambda cell: pytest.fail("run"))
        monkeypatch.setattr(bench.reproduction.reproduction, "_check_curve", lambda stored, cell: None)
    done = reproduce(row, curve)
    assert words in done.reason and (done.result == "not checked") == bool(change)


def test_a_member_that_needs_too_much_memory_is_not_run(stored, monkeypatch):
    _, row, curve = stored("mlp")
    spec = json.loads(row["spec"])
    spec["problem"]["model"]["hidden"] = [1000000, 100000]
    spec |= {"steps": 1, "evaluate_at": [0, 1]}
    row = {**row, "spec": canonical(spec), "member_id": identity(spec), "steps": 1}
    monkeypatch.setattr(bench.reproduction.reproduction, "_check_curve", lambda stored, cell: None)
    monkeypatch.setattr(bench.reproduction.reproduction, "alone", lambda cell: pytest.fail("run"))
    done = reproduce(row, curve, limit=1e9)
    assert done.result == "not checked" and "GiB" in done.reason


def test_bits_are_bits(stored):
    _, row, curve = stored("mlp")
    run = stored_run(row, curve)
    assert same_bits(run, run) and number_bits(1.0) == "3ff0000000000000" and number_bits(None) is None
    assert number_bits(0.0) != number_bits(-0.0)
    for metric in (name for name in METRICS if row[name] is not None):
        assert not same_bits(run, stored_run({**row, metric: row[metric] * (1 + 2**-52)}, curve))
    assert not same_bits(run, stored_run({**row, "status": "diverged"}, curve))
    assert not same_bits(run, stored_run(row, curve.with_columns(pl.col("batch_loss") * (1 + 2**-52))))
