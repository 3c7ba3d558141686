"""`make verify`: a random sample of stored members, each computed again; what is not checked does not pass for it."""

import json

import polars as pl
import pytest

import bench.reproduction.reproduction
import bench.verify
from bench.command import run_command
from bench.exchange.packing import pack, write_archive
from bench.store.identity import canonical, identity
from bench.store.store import Store
from bench.suite.suite import load_suite
from bench.verify import main, sample
from tests.bench.conftest import ROOT, SUITE_SIZE
from tests.bench.planted import curve_of


@pytest.fixture
def verify(capsys):
    def call(*arguments):
        code = run_command(main, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_three_members_of_the_reference_are_reproduced(verify, monkeypatch):
    """What `make verify N=3` does, on whatever machine this is."""
    monkeypatch.chdir(ROOT)
    code, out, _ = verify("n=3")
    assert code == 0 and "3 of 1160 members in results/reference" in out and "3 of 3 checked" in out


def test_a_store_computed_here_is_equal_to_the_bit(verify, finished):
    code, out, _ = verify(f"results_dir={finished}", "n=5")
    assert code == 0 and "5 of 5 checked: 5 equal to the bit" in out


def with_rows(folder, rows):
    """A store of these rows, with curves of one point."""
    Store(folder).write(rows, curve_of(rows))
    return f"results_dir={folder}"


@pytest.fixture
def row(finished):
    return Store(finished).members().row(0, named=True)


def test_a_changed_member_is_found(verify, finished_copy):
    (path,) = [p for p in (finished_copy / "members").glob("*") if pl.read_parquet(p)["optimizer"][0] == "adam"][:1]
    frame = pl.read_parquet(path)
    path.unlink()
    other = frame.with_columns(train_loss=pl.col("train_loss") + 1e-9)
    Store(finished_copy).write_frame("members", other)
    code, out, _ = verify(f"results_dir={finished_copy}", "n=100")
    assert code == 1 and f"{len(frame)} DIFFERENT" in out and "the last value of the curve" in out


def test_only_unchecked_members_are_no_success(verify, tmp_path, row):
    spec = json.loads(row["spec"])
    spec["problem"]["dataset"] = "cifar10"
    spec["problem"]["loss"] = "cross_entropy"
    row = {**row, "spec": canonical(spec), "member_id": identity(spec)}
    code, out, _ = verify(with_rows(tmp_path / "s", [row]), f"data_root={tmp_path}")
    assert code == 1 and "0 of 1 checked: none" in out and "not checked" in out


def test_members_that_cannot_be_checked_do_not_hide_the_others(verify, finished_copy, row, tmp_path):
    spec = json.loads(row["spec"])
    spec["problem"] |= {"dataset": "cifar10", "loss": "cross_entropy"}
    with_rows(finished_copy, [{**row, "spec": canonical(spec), "member_id": identity(spec)}])
    code, out, _ = verify(f"results_dir={finished_copy}", "n=100", f"data_root={tmp_path}")
    assert code == 0 and "72 of 73 checked: 72 equal to the bit" in out


def test_what_fails_to_run_is_no_accusation_and_no_success(verify, finished, monkeypatch):
    def second_fails(cell):
        calls.append(cell)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(cell)

    calls, original = [], bench.reproduction.reproduction.alone
    monkeypatch.setattr(bench.reproduction.reproduction, "alone", second_fails)
    code, out, _ = verify(f"results_dir={finished}", "n=3")
    assert code == 1 and "2 of 3 checked: 2 equal to the bit; 1 could not be run here" in out
    assert "DIFFERENT" not in out and "No space left on device" in out


def test_failed_members_are_not_drawn(verify, tmp_path, row):
    code, _, err = verify(with_rows(tmp_path / "s", [{**row, "status": "failed"}]))
    assert code == 2 and "computed members" in err


def test_an_interruption_shows_what_was_checked(verify, finished, monkeypatch):
    done = []

    def reproduce(row, curve, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(row)
        return original(row, curve, **options)

    original = bench.verify.reproduce
    monkeypatch.setattr(bench.verify, "reproduce", reproduce)
    code, out, _ = verify(f"results_dir={finished}", "n=5")
    assert code == 130 and "2 of 2 checked" in out and "interrupted after 2 of 5" in out


def test_the_sample_is_seeded_and_grows():
    ids = [f"{i:016x}" for i in range(100)]
    assert sample(ids, 5, 0) == sample(ids[::-1], 20, 0)[:5] != sample(ids, 5, 1)
    assert sorted(sample(ids, 1000, 3)) == ids
    drawn = {i for seed in range(200) for i in sample(ids, 5, seed)}
    assert len(drawn) == 100  # every member can be drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["n=0"], "whole number >= 1"),
        (["seed=-1"], "whole number >= 0"),
        (["N=3"], "did you mean n"),
        (["file.zip"], "archive="),
        (["archive=nowhere.zip"], "a file"),
        (["archive=a.zip", "results_dir=b"], "left out"),
        (["results_dir=nowhere"], "results folder"),
        (["limit=nan"], "a number"),
    ],
)
def test_bad_input_is_one_line(verify, arguments, words):
    code, _, err = verify(*arguments)
    assert code == 2 and err.count("\n") == 1 and words in err


def test_an_archive_is_checked_and_its_members_computed_again(verify, finished, tmp_path):
    suite = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished}"])
    citation, files = pack(suite.plan(Store(finished).members()), Store(finished))
    write_archive(tmp_path / "a.zip", files)
    code, out, _ = verify(f"archive={tmp_path / 'a.zip'}", "n=4")
    assert code == 0 and "4 of 4 checked: 4 equal to the bit" in out
    assert citation.content_hash in out and "CHANGED by" in out and "complete by its own account" in out
    assert str(tmp_path / "a.zip") in out.replace("\n", "")
