"""`python -m bench.status`: what a suite has, lacks, diverged and failed."""

import pytest

from bench.command import run_command
from bench.execution.record import failed_rows
from bench.plan.coverage import coverage
from bench.status import main
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import SUITE_SIZE
from tests.bench.planted import curve_of


@pytest.fixture
def finished(finished_eager):
    return finished_eager


@pytest.fixture
def suite():
    return load_suite("smoke", SUITE_SIZE)


def counts(row):
    return [getattr(row, name) for name in ("planned", "done", "diverged", "failed", "missing")]


def test_of_an_empty_store(suite, tiny_suite, tmp_path, capsys):
    rows = coverage(suite.plan(Store(tmp_path / "results").members()), Store(tmp_path / "results"))
    assert [counts(row) for row in rows] == [[8, 0, 0, 0, 8], [4, 0, 0, 0, 4]] * 6
    assert run_command(main, tiny_suite) == 1
    assert "planned 72, done 0, diverged 0, failed 0, missing 72" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_of_a_finished_store(suite, tiny_suite, finished_copy, capsys, contents):
    before = contents(finished_copy)
    rows = coverage(suite.plan(Store(finished_copy).members()), Store(finished_copy))
    assert [(row.planned, row.missing, row.stored) for row in rows] == [(8, 0, 8), (4, 0, 4)] * 6
    assert run_command(main, tiny_suite) == 0
    assert "missing 0" in capsys.readouterr().out
    assert contents(finished_copy) == before


def test_failed_members_are_counted_and_listed(suite, tiny_suite, tmp_path, capsys):
    store = Store(tmp_path / "results")
    cell = suite.tuning_cell("digits/mlp", "shb")
    rows = failed_rows(cell, range(6), "ValueError: [bold] fault")
    for row in rows[:2]:
        row |= {"status": "done", "error": None}
    rows[2] |= {"status": "diverged", "error": None}
    store.write(rows, curve_of(rows))
    tuning = next(
        row for row in coverage(suite.plan(store.members()), store) if (row.optimizer, row.phase) == ("shb", "tuning")
    )
    assert counts(tuning) == [8, 2, 1, 3, 5]
    assert run_command(main, tiny_suite) == 1
    out = capsys.readouterr().out
    assert "failed: digits/mlp shb tuning: ValueError: [bold] fault" in out
    assert "planned 72, done 2, diverged 1, failed 3, missing 69" in out


def test_a_failure_that_was_repaired_is_forgotten(suite, tiny_suite, tmp_path, capsys):
    store = Store(tmp_path / "results")
    cell = suite.tuning_cell("digits/mlp", "shb")
    rows = failed_rows(cell, range(8), "x")
    store.write(rows, [])
    repaired = [{**row, "status": "done", "error": None} for row in rows]
    store.write(repaired, curve_of(repaired))
    assert run_command(main, tiny_suite) == 1  # the others lack
    assert "done 8, diverged 0, failed 0, missing 64" in capsys.readouterr().out


def test_a_damaged_shard_is_listed(tiny_suite, finished_copy, capsys):
    path = next((finished_copy / "members").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    assert run_command(main, tiny_suite) == 1
    out = capsys.readouterr().out
    assert "damaged shard, ignored" in out and path.name in out.replace("\n", "")
