"""Stores of several machines become one: nothing lost, nothing twice, contradictions refused, inputs untouched."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import bench.exchange.merging
from bench.command import run_command
from bench.exchange.merging import merge
from bench.merge import main
from bench.store.identity import canonical, identity
from bench.store.store import Store
from shb.errors import ConfigurationError
from tests.bench.conftest import ROOT
from tests.bench.store.test_store import flip_a_byte

HERE = {"cpu": "A", "torch": "2.14", "threads": 1, "device_name": "cpu", "device": "cpu"}
THERE = {**HERE, "cpu": "B"}


def member(seed, loss=1.0, day=1, machine=HERE, **values):
    spec = {"seed": seed}
    return {
        "member_id": identity(spec),
        "spec": canonical(spec),
        "seed": seed,
        "status": "done",
        "train_loss": loss,
        "created": f"2026-01-{day:02}T00:00:00+00:00",
        "code_commit": f"commit{day}",
        **machine,
        **values,
    }


def curve(row, loss=None):
    return [
        {"member_id": row["member_id"], "step": 0, "val_loss": 2.0},
        {"member_id": row["member_id"], "step": 9, "train_loss": row["train_loss"] if loss is None else loss},
    ]


@pytest.fixture
def make(tmp_path):
    """Writes a store of rows, one shard of members and one of curves."""

    def write(name, *rows, curves=None):
        store = Store(tmp_path / name)
        rows = list(rows)
        store.write(rows, [point for row in rows for point in curve(row)] if curves is None else curves)
        return store

    return write


@pytest.fixture
def target(tmp_path):
    return tmp_path / "merged"


def ids(store):
    return sorted(store.members()["member_id"])


def test_disjoint_stores_are_copied_shard_by_shard(make, target, contents):
    a, b = make("a", member(1), member(2)), make("b", member(3, machine=THERE))
    before = contents(a.folder), contents(b.folder)
    merged = merge([a, b], target)
    assert contents(target) == {**before[0], **before[1]} and (contents(a.folder), contents(b.folder)) == before
    assert merged.ids == {"members": 3, "curves": 3, "ensembles": 0, "plans": 0} and merged.double == 0
    assert Store(target).curves(ids(Store(target))).height == 6


def test_equal_members_are_there_once(make, target):
    a, b = make("a", member(1), member(2)), make("b", member(2, day=2), member(3, day=2))
    merged = merge([a, b], target)
    store = Store(target)
    assert store.read("members").height == 3 and store.read("curves").height == 6
    assert (merged.double, merged.other_bits) == (1, 0)
    kept = store.members().filter(pl.col("seed") == 2)
    assert kept["code_commit"].to_list() == ["commit1"]


def test_a_store_with_itself_is_itself(make, target, contents):
    a = make("a", member(1), member(2))
    assert merge([a, a], target).double == 2
    assert contents(target) == contents(a.folder)


def test_the_first_that_was_created_stays_with_its_curve(make, target):
    """Whatever the order of the sources; other last bits of another machine are counted."""
    a, b = make("a", member(1, 1.0, day=5)), make("b", member(1, 1.5, day=2, machine=THERE))
    merged = merge([a, b], target)
    store = Store(target)
    assert (merged.double, merged.other_bits) == (1, 1)
    assert store.members()["train_loss"].to_list() == [1.5]
    assert store.curves(ids(store))["train_loss"].drop_nulls().to_list() == [1.5]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_computed_member_replaces_a_failed_one(make, target, order):
    stores = {
        "a": make("a", member(1, None, day=1, status="failed", error="memory"), curves=[]),
        "b": make("b", member(1, 2.0, day=3)),
    }
    merge([stores[name] for name in order], target)
    assert Store(target).read("members").select("status", "train_loss").rows() == [("done", 2.0)]


def test_members_that_failed_everywhere_stay(make, target):
    failed = [member(1, None, day=day, status="failed", error=f"e{day}") for day in (2, 1)]
    merge([make("a", failed[0], curves=[]), make("b", failed[1], curves=[])], target)
    assert Store(target).members()["error"].to_list() == ["e1"]


@pytest.mark.parametrize(
    "other",
    [
        {"loss": 1.0 + 2**-50},
        {"loss": None, "status": "diverged", "diverged_step": 3},
        {"val_loss": 0.5},
    ],
)
def test_contradictions_are_refused_with_both_sources(make, target, contents, tmp_path, other):
    a, b = make("a", member(1), member(2)), make("b", member(2, day=2, **other))
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        merge([a, b], target)
    message = str(caught.value)
    assert str(a.folder) in message and str(b.folder) in message and "commit1" in message and "commit2" in message
    assert member(2)["member_id"] in message and "\n" not in message
    assert contents(tmp_path) == before and not target.exists()


def test_contradictions_within_one_source_are_refused_too(make, target):
    a = make("a", member(1))
    a.write([member(1, 3.0, day=2)], [])
    with pytest.raises(ConfigurationError, match=r"train_loss is 1\.0 and 3\.0"):
        merge([a, make("b", member(2))], target)


def test_a_third_source_contradicts_the_second(make, target):
    """Also where the first, of another machine, hides neither."""
    sources = [
        make("a", member(1, 9.0, machine=THERE)),
        make("b", member(1, 1.0, day=2)),
        make("c", member(1, 1.1, day=3)),
    ]
    with pytest.raises(ConfigurationError, match=r"1\.0 and 1\.1"):
        merge(sources, target)


def test_equal_members_with_other_curves_contradict_each_other(make, target):
    a, row = make("a", member(1)), member(1, day=2)
    b = make("b", row, curves=[{"member_id": row["member_id"], "step": 0, "val_loss": 2.5}])
    with pytest.raises(ConfigurationError, match=r"val_loss at step 0 is 2\.0 and 2\.5"):
        merge([a, b], target)


def test_a_gpu_promises_no_bits(make, target):
    gpu = {**HERE, "device": "cuda", "device_name": "H100"}
    merged = merge([make("a", member(1, machine=gpu)), make("b", member(1, 1.1, day=2, machine=gpu))], target)
    assert (merged.double, merged.other_bits) == (1, 1)


def test_an_id_that_is_not_the_hash_of_its_spec_is_refused(make, target):
    with pytest.raises(ConfigurationError, match="hash of its spec"):
        merge([make("a", member(1)), make("b", {**member(2), "spec": '{"seed":3}'})], target)


def test_a_curve_comes_from_where_it_is(make, target):
    """The source of the member lost its curve; another one has it, with the same numbers."""
    a, b = make("a", member(1), curves=[]), make("b", member(1, day=2))
    merge([a, b], target)
    assert Store(target).curves([member(1)["member_id"]]).height == 2


def test_the_curve_is_that_of_the_row_that_stays(make, target):
    """Another machine ended with the same numbers, on a way with other last bits."""
    late, early = member(1, day=5), member(1, day=2, machine=THERE)
    a = make("a", late)
    b = make("b", early, curves=[{"member_id": early["member_id"], "step": 0, "val_loss": 2.0 + 2**-40}])
    merge([a, b], target)
    assert Store(target).read("curves")["val_loss"].to_list() == [2.0 + 2**-40]


def test_a_member_that_lost_its_curve_gives_way_to_one_with_it(make, target):
    """A curve of other bits is no curve of the member: row and curve are of one machine."""
    a, b = make("a", member(1, 1.0), curves=[]), make("b", member(1, 1.1, day=2, machine=THERE))
    merged = merge([a, b], target)
    assert Store(target).read("members")["train_loss"].to_list() == [1.1]
    assert Store(target).read("curves")["train_loss"].to_list() == [None, 1.1]
    assert merged.ids["members"] == 1 and "1 members are stored without their curves" in merged.faults[0]


def test_curves_without_a_member_are_kept(make, target):
    a, b = make("a", member(1)), make("b", member(2))
    b.write([], [{"member_id": "f" * 16, "step": 4, "val_loss": 1.0}])
    merge([a, b], target)
    assert Store(target).curves(["f" * 16])["step"].to_list() == [4]


def ensemble(store, value, day=1, machine=HERE, ensemble_id="e" * 16):
    facts = {name: machine[name] for name in ("cpu", "torch", "threads", "device_name")}
    columns = {"gap": np.array([value, 2.0]), "path": np.array([[1.0, value], [3.0, 4.0]])}
    created = f"2026-01-{day:02}T00:00:00+00:00"
    store.write_ensemble(
        columns, ensemble_id=ensemble_id, measure="m", spec="{}", seed_start=0, seed_stop=2, created=created, **facts
    )


def test_ensembles_are_joined_too(make, target):
    a, b = make("a", member(1)), make("b", member(2))
    ensemble(a, 1.0)
    ensemble(b, 1.0, day=2)
    ensemble(b, 7.0, ensemble_id="d" * 16)
    merged = merge([a, b], target)
    store = Store(target)
    assert merged.ids["ensembles"] == 2 and store.read("ensembles").height == 4
    assert store.ensemble("e" * 16)["path"].tolist() == [[1.0, 1.0], [3.0, 4.0]]


def test_ensembles_contradict_each_other(make, target):
    a, b = make("a", member(1)), make("b", member(2))
    ensemble(a, 1.0)
    ensemble(b, 1.5, day=2)
    with pytest.raises(ConfigurationError, match="ensemble_id=eeee"):
        merge([a, b], target)
    other = make("c", member(3))
    ensemble(other, 1.5, machine=THERE)
    merge([a, other], target)
    assert Store(target).ensemble("e" * 16)["gap"].tolist() == [1.0, 2.0]


@pytest.mark.slow
def test_a_real_store_loses_nothing(finished, tmp_path, target):
    """Two overlapping halves of the tiny suite give the whole."""
    whole = Store(finished)
    members = whole.members().sort("member_id")
    halves = []
    for name, part in (("a", members[:50]), ("b", members[30:])):
        store = Store(tmp_path / name)
        store.write_frame("curves", whole.curves(part["member_id"].to_list()))
        store.write_frame("members", part)
        halves.append(store)
    assert merge(halves, target).double == 20
    assert_frame_equal(Store(target).members().sort("member_id"), members, check_exact=True)
    every = members["member_id"].to_list()
    assert_frame_equal(Store(target).curves(every), whole.curves(every), check_exact=True)


def test_an_older_store_can_be_merged(target):
    first = Store(ROOT / "tests" / "bench" / "version_1")
    merge([first, Store(ROOT / "results" / "reference")], target)
    assert Store(target).members().height == 1164


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_merge_leaves_nothing(make, target, contents, tmp_path, monkeypatch, fault, capsys):
    make("a", member(1), member(2))
    make("b", member(2, day=2), member(3))
    before = contents(tmp_path)
    write = bench.exchange.merging._write

    def fails(sources, kind, kept, store):
        write(sources, kind, kept, store)
        if kind == "members":
            raise fault

    monkeypatch.setattr(bench.exchange.merging, "_write", fails)
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(target)]
    assert run_command(main, arguments) == (1 if isinstance(fault, OSError) else 130)
    assert "nothing was written" in capsys.readouterr().out
    assert contents(tmp_path) == before and {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_the_last_step_is_one_rename(make, target, contents, tmp_path, monkeypatch, capsys):
    """C is there whole or not at all."""
    make("a", member(1))
    make("b", member(2))
    before = contents(tmp_path)

    def fails(self, other):
        raise OSError("disk gone")

    monkeypatch.setattr(Path, "rename", fails)
    assert run_command(main, [str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(target)]) == 1
    assert "nothing was written (disk gone)" in capsys.readouterr().out
    assert contents(tmp_path) == before and not target.exists()


def test_the_command(make, target, capsys, tmp_path):
    make("a", member(1), member(2))
    damaged = make("b", member(2, 1.5, day=2, machine=THERE), member(3))
    damaged.write([member(4)], curve(member(4)))
    shards = {len(frame): path for path, frame in damaged.shards("members").items()}
    flip_a_byte(shards[1])
    assert run_command(main, [str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(target)]) == 1
    out = capsys.readouterr().out
    assert "3 members, 4 members with curves" in out and "1 of them with other last bits" in out
    assert "left out: damaged shard" in out and shards[1].name in out.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "b"], "-o C"),
        (["a", "-o", "c"], "-o C"),
        (["a", "b", "-o"], "-o C"),
        (["a", "nowhere", "-o", "c"], "a results folder"),
        (["a", "b", "-o", "b"], "does not exist yet"),
        (["a", "b", "-o", "a/members/c"], "is not changed"),
        (["a", "b", "output=c", "-o", "c"], "output"),
    ],
)
def test_bad_input_is_one_line(make, tmp_path, monkeypatch, capsys, arguments, words):
    make("a", member(1))
    make("b", member(2))
    monkeypatch.chdir(tmp_path)
    assert run_command(main, arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err and not (tmp_path / "c").exists()


def test_merging_is_associative(make, tmp_path):
    a, b, c = (make(name, member(seed), member(seed + 1, day=seed)) for name, seed in (("a", 1), ("b", 2), ("c", 3)))
    merge([a, b, c], tmp_path / "once")
    merge([a, b], tmp_path / "ab")
    merge([Store(tmp_path / "ab"), c], tmp_path / "twice")
    once, twice = (Store(tmp_path / name).members().sort("member_id") for name in ("once", "twice"))
    assert_frame_equal(once, twice, check_exact=True)
