"""The store: what was written is read, by any reader; what is torn, newer, older or double does no harm."""

import os
import subprocess
import sys
import tempfile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from bench.cell.cell import build_cell
from bench.command import run_command
from bench.execution.engine import settle
from bench.run import main
from bench.store.schema import CURVE_SCHEMA, MEMBER_SCHEMA, SCHEMA_VERSION
from bench.store.store import Store, member_spec
from shb.errors import ConfigurationError
from tests.bench.conftest import ROOT
from tests.bench.planted import curve_of
from tests.bench.shards import write_shard

ISSUE_COLUMNS = (  # fixed names: what others build on
    "member_id",
    "problem",
    "optimizer",
    "seed",
    "status",
    "train_loss",
    "val_accuracy",
    "test_accuracy",
    "test_loss",
    "lr",
    "momentum",
)
VALUES = {
    pl.String: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Float64: st.floats(allow_nan=True, allow_infinity=True),
    pl.Boolean: st.booleans(),
}


def rows_of(schema, **fixed):
    columns = {name: st.none() | VALUES[dtype] for name, dtype in schema.items() if name != "schema_version"}
    return st.fixed_dictionaries(fixed, optional={n: s for n, s in columns.items() if n not in fixed})


def member(member_id, status="done", **values):
    return {"member_id": member_id, "status": status, "created": "2026-01-01T00:00:00+00:00", **values}


def put(store, *rows):
    """Write members with the curves that they need to count."""
    store.write(rows, curve_of(rows))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def shards(store, kind="members"):
    return sorted((store.folder / kind).glob("*.parquet"))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        rows_of(MEMBER_SCHEMA, member_id=VALUES[pl.String], status=st.sampled_from(["done", "diverged", "failed"])),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row["member_id"],
    )
)
def test_member_rows_round_trip(rows):
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).write(rows, curve_of(rows))
        read = Store(folder).members()
    complete = [{"schema_version": SCHEMA_VERSION, **row} for row in rows]
    expected = pl.DataFrame(complete, schema=MEMBER_SCHEMA).sort("member_id")
    assert_frame_equal(read.sort("member_id"), expected, check_exact=True)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        rows_of(CURVE_SCHEMA, member_id=st.sampled_from("ab"), step=st.integers(0, 20)),
        min_size=1,
        max_size=8,
        unique_by=lambda row: (row["member_id"], row["step"]),
    )
)
def test_curve_rows_round_trip(rows):
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).write([], rows)
        read = Store(folder).curves(["a"])
    complete = [{"schema_version": SCHEMA_VERSION, **row} for row in rows if row["member_id"] == "a"]
    assert_frame_equal(read, pl.DataFrame(complete, schema=CURVE_SCHEMA).sort("step"), check_exact=True)


def test_an_empty_store_has_all_columns_and_makes_no_folder(store):
    assert store.members().schema == pl.Schema(MEMBER_SCHEMA) and store.members().is_empty()
    assert store.curves(["a"]).schema == pl.Schema(CURVE_SCHEMA)
    store.check()
    assert not store.folder.exists()


def test_an_unknown_column_is_an_error(store):
    with pytest.raises(KeyError, match="val_los"):
        put(store, member("a", val_los=1.0))
    assert not store.folder.exists()


def test_one_line_reads_the_members(tiny, tiny_config):
    """What docs promise: polars alone reads the store, one row per member, under fixed names."""
    assert run_command(main, tiny) == 0
    frame = pl.read_parquet(f"{tiny_config.results_dir}/members/*.parquet")
    assert set(ISSUE_COLUMNS) < set(frame.columns) and frame.columns == list(MEMBER_SCHEMA)
    cell = settle(build_cell(tiny_config), tiny_config.results_dir)
    assert set(frame["member_id"]) == set(cell.ids)
    assert frame["problem"].to_list() == ["diabetes/mlp"] * 2
    assert set(frame["seed"]) == {0, 1} and set(frame["lr"]) == {0.1} and frame["momentum"].null_count() == 2
    assert set(frame["status"]) == {"done"} and frame["train_loss"].is_finite().all()
    assert frame["val_accuracy"].null_count() == 2  # a regression
    assert [member_spec(row) for row in frame.sort("seed").iter_rows(named=True)] == list(cell.specs)


def test_a_curve_row_per_evaluation(tiny, tiny_config):
    assert run_command(main, tiny) == 0
    cell = settle(build_cell(tiny_config), tiny_config.results_dir)
    curves = Store(tiny_config.results_dir).curves(cell.ids)
    assert curves.group_by("member_id", maintain_order=True).agg("step")["step"].to_list() == [[0, 3, 6]] * 2
    final = curves.filter(pl.col("step") == 6).select("member_id", "val_loss", "test_loss").sort("member_id")
    members = Store(tiny_config.results_dir).members().select("member_id", "val_loss", "test_loss").sort("member_id")
    assert_frame_equal(final, members, check_exact=True)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, lambda path: path.write_bytes(b"")])
def test_a_damaged_shard_is_reported_ignored_and_recomputed(tiny, tiny_config, capsys, damage):
    assert run_command(main, tiny) == 0
    intact = Store(tiny_config.results_dir)
    expected = intact.members().drop("created", "stack_seconds", "member_steps_per_second").sort("member_id")
    (path,) = shards(intact)
    damage(path)
    torn = Store(tiny_config.results_dir)
    assert torn.members().is_empty() and torn.damaged == [path]
    capsys.readouterr()
    assert run_command(main, tiny) == 0
    out = capsys.readouterr().out
    assert "damaged shard, ignored" in out and path.name in out.replace("\n", "")
    assert "2 members to compute" in out
    again = Store(tiny_config.results_dir).members()
    assert_frame_equal(again.select(expected.columns).sort("member_id"), expected, check_exact=True)


def test_a_damaged_shard_hides_no_other(store):
    put(store, member("a"))
    put(store, member("b"))
    flip_a_byte(shards(store)[0])
    assert len(Store(store.folder).members()) == 1


def test_a_leftover_temporary_file_is_ignored(store):
    put(store, member("a"))
    (shards(store)[0].with_suffix(".123.tmp")).write_bytes(b"half a sha")
    fresh = Store(store.folder)
    assert fresh.members()["member_id"].to_list() == ["a"] and fresh.damaged == []


def test_no_temporary_file_is_left(store, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write([member("a")], [])
    assert not list((store.folder / "members").iterdir())


def test_curves_come_first(store, monkeypatch):
    """A kill between the two shards leaves a curve without its member, never a member without its curve."""
    kinds = []
    monkeypatch.setattr(store, "_write_shard", lambda kind, frame: kinds.append(kind))
    store.write([member("a")], [{"member_id": "a", "step": 0}])
    assert kinds == ["curves", "members"]


def test_failed_members_are_not_computed(store):
    put(store, member("a", "failed", error="x"), member("b", "diverged"), member("c"))
    assert store.computed() == {"b", "c"}


@pytest.mark.parametrize("order", [("done", "failed"), ("failed", "done"), ("failed", "diverged")])
def test_a_failed_member_hides_no_computed_one(store, order):
    for day, status in enumerate(order, 1):
        put(store, member("a", status) | {"created": f"2026-01-0{day}T00:00:00+00:00"})
    assert store.members()["status"].to_list() == [next(s for s in order if s != "failed")]


def test_duplicates_count_once_and_the_first_stays(store):
    for day, lr in ((2, 0.2), (1, 0.1), (3, 0.3)):
        store.write(
            [member("a", lr=lr) | {"created": f"2026-01-0{day}T00:00:00+00:00"}],
            [{"member_id": "a", "step": 0, "val_loss": 1.0}, {"member_id": "a", "step": day}],
        )
    assert store.members()["lr"].to_list() == [0.1]
    assert store.curves(["a"])["step"].to_list() == [0, 1, 2, 3]


def test_an_older_shard_reads_with_null(store):
    older = {n: t for n, t in MEMBER_SCHEMA.items() if n not in ("engine", "schema_version")}
    write_shard(store.folder / "members", pl.DataFrame([member("old", lr=0.5)], schema=older))
    store.write([], curve_of([member("old")]))
    put(store, member("new", lr=0.25, engine="eager"))
    read = store.members().sort("member_id")
    assert read.schema == pl.Schema(MEMBER_SCHEMA)
    assert read["engine"].to_list() == ["eager", None] and read["lr"].to_list() == [0.25, 0.5]


VERSION_1_NAMES = {
    "relu_derivative": "relu_at_zero",
    "clarke_distance": "distance_to_clarke",
    "trapped": "at_artificial",
}
NEW_IN_2 = {"relu_rule", "artificial_distance", "touched"}


def version_1(schema):
    """The columns of a schema as version 1 had them."""
    return {VERSION_1_NAMES.get(name, name): dtype for name, dtype in schema.items() if name not in NEW_IN_2}


def test_a_shard_of_version_1_reads_under_the_new_names(store):
    values = {"relu_at_zero": 0.25, "distance_to_clarke": 0.5, "at_artificial": 1.0, "train_loss": 2.0}
    rows = [member("old", **values, schema_version=1)]
    write_shard(store.folder / "members", pl.DataFrame(rows, schema=version_1(MEMBER_SCHEMA)))
    rows = [{"member_id": "old", "step": 3, "distance_to_clarke": 0.75, "at_artificial": 0.0, "schema_version": 1}]
    write_shard(store.folder / "curves", pl.DataFrame(rows, schema=version_1(CURVE_SCHEMA)))
    put(store, member("new", relu_derivative=1.0, trapped=0.0, relu_rule="chain"))
    new, old = store.members().sort("member_id").iter_rows(named=True)
    assert list(old) == list(MEMBER_SCHEMA)
    assert (old["relu_derivative"], old["clarke_distance"], old["trapped"], old["train_loss"]) == (0.25, 0.5, 1.0, 2.0)
    assert {old[name] for name in NEW_IN_2} == {None}
    assert old["schema_version"] == 1
    assert (new["relu_derivative"], new["trapped"], new["relu_rule"], new["schema_version"]) == (1.0, 0.0, "chain", 2)
    (point,) = store.curves(["old"]).iter_rows(named=True)
    assert list(point) == list(CURVE_SCHEMA)
    assert (point["step"], point["clarke_distance"], point["trapped"], point["touched"]) == (3, 0.75, 0.0, None)


def test_a_store_that_version_1_wrote_is_read():
    """Shards that the code of the commit before version 2 wrote: E1 started in its trap, a network on diabetes."""
    store = Store(ROOT / "tests" / "bench" / "version_1")
    members = store.members().sort("problem", "seed")
    assert not store.damaged and members.schema == pl.Schema(MEMBER_SCHEMA)
    assert members.select("member_id", "problem", "schema_version", "clarke_distance", "trapped").rows() == [
        ("b3bebf275a122efc", "diabetes/mlp", 1, None, None),
        ("46630da13bfe34c4", "diabetes/mlp", 1, None, None),
        ("2ec5e214b5673161", "e1", 1, 1.0, 1.0),
        ("5fb6a42d7c4e9541", "e1", 1, 1.0, 1.0),
    ]
    assert members["relu_derivative"].to_list() == [0.25, 0.25, 0.0, 0.0]
    assert members["train_loss"].to_list() == [0.5131120722161224, 0.48868187656727374, 0.0, 0.0]
    assert members.select(NEW_IN_2).null_count().row(0) == (4,) * len(NEW_IN_2)
    curves = store.curves(["2ec5e214b5673161", "b3bebf275a122efc"])
    assert curves.schema == pl.Schema(CURVE_SCHEMA)
    assert curves.select("step", "trapped", "val_loss").rows() == [
        *((step, 1.0, None) for step in (0, 4, 8)),
        *((0, None, 0.5522063681773816), (3, None, 0.502536229072231), (6, None, 0.4706778994615478)),
    ]


def test_rows_of_version_1_can_be_written_again(store):
    """As `bench.merge` and `bench.archive` do: under the new names; their specs are still those of version 1."""
    old = Store(ROOT / "tests" / "bench" / "version_1")
    store.write_frame("curves", old.read("curves"))
    store.write_frame("members", old.members())
    assert_frame_equal(Store(store.folder).members(), old.members(), check_exact=True)


@pytest.mark.parametrize(("kind", "schema"), [("members", MEMBER_SCHEMA), ("curves", CURVE_SCHEMA)])
def test_a_shard_of_a_newer_version_is_refused(store, kind, schema):
    path = write_shard(
        store.folder / kind, pl.DataFrame([{"member_id": "a", "schema_version": SCHEMA_VERSION + 1}], schema=schema)
    )
    with pytest.raises(
        ConfigurationError, match=rf"schema_version <= {SCHEMA_VERSION} \(this one has 3: update"
    ) as error:
        store.check()
    assert error.value.value == path
    write_shard(
        store.folder / kind, pl.DataFrame([{"member_id": "b", "schema_version": SCHEMA_VERSION}], schema=schema)
    )
    path.unlink()
    Store(store.folder).check()


def test_shards_of_another_process_appear(store):
    assert store.computed() == set()
    put(Store(store.folder), member("a"))
    assert store.computed() == {"a"}


WRITER = """
import sys
from bench.store.store import Store
store = Store(sys.argv[1])
for i in range(30):
    own, shared = f"{sys.argv[2]}-{i}", f"shared-{i}"
    rows = [{"member_id": member_id, "status": "done", "created": ""} for member_id in (own, shared)]
    for row in rows:
        store.write([row], [{"member_id": row["member_id"], "step": 0}])
"""


@pytest.mark.slow
def test_concurrent_writers_lose_nothing(store):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.folder), name], env=environment) for name in "xy"
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    expected = {f"{name}-{i}" for name in ("x", "y", "shared") for i in range(30)}
    members = store.members()
    assert set(members["member_id"]) == expected and len(members) == 90 and store.damaged == []
    assert set(store.curves(list(expected))["member_id"]) == expected
    assert not list(store.folder.rglob("*.tmp"))
