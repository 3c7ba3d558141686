"""What is damaged, gone or foreign in a store is set aside with its reason; what it held counts as lacking."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bench.command import run_command
from bench.leaderboard.__main__ import main as leaderboard_main
from bench.run import main as run_main
from bench.store.schema import CURVE_SCHEMA, MEMBER_SCHEMA
from bench.store.store import Store
from shb.errors import ConfigurationError
from tests.bench.planted import curve_of
from tests.bench.shards import write_shard

DONE = {"status": "done", "created": "2026-01-01T00:00:00+00:00"}


def put(store, *ids):
    for member_id in ids:
        rows = [{"member_id": member_id, **DONE}]
        store.write(rows, curve_of(rows))


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "results")
    put(made, "a", "b")
    return made


def curve_shard(store, member_id):
    frames = Store(store.folder).shards("curves")
    return next(path for path, frame in frames.items() if member_id in frame["member_id"])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_a_member_without_its_curve_is_lacking(store, harm):
    harm(curve_shard(store, "a"))
    for reader in (store, Store(store.folder)):  # the first has read it before
        reader._cache.clear()
        assert reader.members()["member_id"].to_list() == ["b"] and reader.computed() == {"b"}
        assert reader.without_curve == {"a"}
        assert f"1 members are stored without their curves, and count as lacking: {store.folder}" in reader.faults()
    put(store, "a")
    assert store.computed() == {"a", "b"} and store.members()["member_id"].n_unique() == len(store.members()) == 2
    assert not store.without_curve


def test_a_failed_member_needs_no_curve(store):
    store.write([{"member_id": "c", **DONE, "status": "failed"}], [])
    assert store.members()["status"].to_list() == ["done", "done", "failed"] and not store.faults()


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_a_board_with_damaged_curves_is_incomplete_and_a_run_repairs_it(
    tiny_suite, finished_copy, finished, harm, capsys
):
    paths = sorted((finished_copy / "curves").iterdir())
    for path in paths[: 2 * len(paths) // 3]:
        harm(path)
    assert run_command(leaderboard_main, tiny_suite) == 1
    out = capsys.readouterr().out
    assert "members are stored without their curves, and count as lacking" in out
    assert "INCOMPLETE" in out
    assert '"complete": false' in (finished_copy / "leaderboard.json").read_text()
    lost = Store(finished_copy)
    count = 72 - len(lost.members())
    assert count == len(lost.without_curve) > 0
    assert run_command(run_main, tiny_suite) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "what this command needs of it is computed again" in out and " 0 members to compute" not in out
    assert '"complete": true' in (finished_copy / "leaderboard.json").read_text()
    assert len(Store(finished_copy).members()) == 72
    assert (finished_copy / "leaderboard.csv").read_bytes() == (finished / "leaderboard.csv").read_bytes()


def refused(*arguments, **options):
    raise PermissionError(errno.EACCES, "Permission denied")


def a_folder(store, path):
    path.unlink()
    path.mkdir()


def a_dangling_link(store, path):
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(a_folder, "Is a directory"), (a_dangling_link, "a link to what does not exist")],
)
@pytest.mark.parametrize("kind", ["members", "curves"])
def test_what_cannot_be_read_is_set_aside(store, kind, harm, reason):
    path = sorted((store.folder / kind).iterdir())[0]
    harm(store, path)
    fresh = Store(store.folder)
    assert len(fresh.members()) == 1 and fresh.set_aside == {path: reason}
    assert f"damaged shard, ignored: {path} ({reason})" in fresh.faults()
    assert path.is_symlink() or path.exists()  # never deleted


def test_a_shard_without_permission_is_set_aside(store, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", refused)
    fresh = Store(store.folder)
    assert fresh.members().is_empty() and set(fresh.set_aside.values()) == {"Permission denied"}
    assert len(fresh.set_aside) == 4


def test_a_folder_without_permission_is_no_empty_store(store, monkeypatch):
    monkeypatch.setattr(os, "listdir", refused)
    fresh = Store(store.folder)
    assert fresh.members().is_empty()
    assert fresh.set_aside == dict.fromkeys(
        (store.folder / kind for kind in ("members", "curves")), "Permission denied"
    )


@pytest.mark.parametrize(("times", "read"), [(1, 2), (2, 1)])
def test_a_stale_handle_is_tried_once_more(store, monkeypatch, times, read):
    original, left = Path.read_bytes, [times]

    def stale(path):
        if path.parent.name == "members" and left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    fresh = Store(store.folder)
    assert len(fresh.members()) == read
    assert list(fresh.set_aside.values()) == ["Stale file handle"] * (2 - read)


def test_a_shard_that_vanishes_after_the_listing_is_not_there(store, monkeypatch):
    original = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [*original(folder), "0" * 32 + ".parquet"])
    fresh = Store(store.folder)
    assert len(fresh.members()) == 2 and not fresh.faults()


CURVE = {"member_id": "x", "step": 0}
FOREIGN = {
    "without a row": ("members", pl.DataFrame(schema=MEMBER_SCHEMA)),
    "no shard of members: without a column member_id": ("members", pl.DataFrame()),
    "no shard of curves: without a column step": ("curves", pl.DataFrame({"member_id": ["x"], "cats": [3]})),
    "column member_id is of type Int64, not String": ("curves", pl.DataFrame([{**CURVE, "member_id": 3}])),
    "column val_loss is of type String, not Float64": ("curves", pl.DataFrame([{**CURVE, "val_loss": "low"}])),
    "column schema_version is of type String, not Int64": (
        "members",
        pl.DataFrame([{**DONE, "member_id": "x", "schema_version": "9"}]),
    ),
    "an ensemble of another size than its seeds": (
        "ensembles",
        pl.DataFrame(
            [{"ensemble_id": "e", "column": "gap", "width": 0, "values": [1.0], "seed_start": 0, "seed_stop": 2}],
            schema_overrides={"values": pl.List(pl.Float64)},
        ),
    ),
}


@pytest.mark.parametrize("reason", FOREIGN)
def test_a_shard_of_its_own_hash_with_foreign_content_is_set_aside(store, reason):
    kind, frame = FOREIGN[reason]
    path = write_shard(store.folder / kind, frame)
    fresh = Store(store.folder)
    assert len(fresh.members()) == 2 and fresh.ensemble_ids() == set()
    assert fresh.set_aside == {path: reason}


def test_a_file_of_its_own_hash_that_is_no_parquet_is_set_aside(store):
    content = b"PAR1 cats PAR1"
    path = store.folder / "curves" / f"{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    path.write_bytes(content)
    fresh = Store(store.folder)
    assert len(fresh.members()) == 2 and "no Parquet file" in fresh.set_aside[path]


def test_an_unset_schema_version_is_an_old_one(store):
    for kind, schema in (("curves", CURVE_SCHEMA), ("members", MEMBER_SCHEMA)):
        write_shard(
            store.folder / kind,
            pl.DataFrame([{"member_id": "x", "step": 0, **DONE}]).select(
                pl.col(n) if n in ("member_id", "status", "step") else pl.lit(None).alias(n) for n in schema
            ),
        )
    assert len(Store(store.folder).members()) == 3


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_an_ensemble_that_is_gone_is_missing(store, harm):
    facts = {"measure": "m", "spec": "{}", "seed_start": 0, "seed_stop": 2}
    for name in "ef":
        store.write_ensemble({"gap": np.array([1.0, 2.0])}, ensemble_id=name, **facts)
    shards = Store(store.folder).shards("ensembles")
    harm(next(path for path, frame in shards.items() if frame["ensemble_id"][0] == "e"))
    assert Store(store.folder).ensemble_ids() == {"f"}


@pytest.mark.parametrize("make", [lambda p: p.write_text(""), lambda p: p.symlink_to("nowhere")])
@pytest.mark.parametrize("kind", ["", "members", "curves", "ensembles"])
def test_a_file_or_a_dangling_link_is_no_folder_to_write_to(tmp_path, make, kind):
    folder = tmp_path / "r"
    if kind:
        folder.mkdir()
    make(folder / kind)
    with pytest.raises(ConfigurationError, match=r"results_dir=.*allowed is a"):
        Store(folder).check()
