"""One zip file with a suite's results: complete, deterministic, and a results folder when it is unpacked."""

import hashlib
import json
import os
import stat
import zipfile

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from bench.archive import main
from bench.cell.config import CONF
from bench.command import run_command
from bench.exchange.packing import MANIFEST, pack, write_archive
from bench.store.content_hash import content_hash
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE


def suite_of(folder):
    return load_suite("smoke", [*SUITE_SIZE, f"results_dir={folder}"])


@pytest.fixture
def archive(capsys, tmp_path):
    """Packs a results folder with the command; returns the exit code, the path and what was printed."""

    def call(folder, *arguments, name="a.zip"):
        path = tmp_path / name
        code = run_command(main, ["suite=smoke", *SUITE_SIZE, f"results_dir={folder}", f"output={path}", *arguments])
        return code, path, "".join(capsys.readouterr())

    return call


def read(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_what_is_in_it(archive, finished):
    code, path, out = archive(finished)
    files = read(path)
    assert code == 0 and "72 members" in out and f"{len(files)} files" in out and "no report in it" in out
    conf = {f"conf/{p.relative_to(CONF)}": p.read_bytes() for p in CONF.rglob("*.yaml")}
    assert conf.items() <= files.items() and len(conf) > 50
    assert {"CITATION.cff", "LICENSE", "requirements.lock", "citation.txt", MANIFEST} < set(files)
    assert {name for name in files if name.startswith("leaderboard")} == {
        f"leaderboard.{s}" for s in ("md", "csv", "json")
    }
    assert files["leaderboard.json"] == (finished / "leaderboard.json").read_bytes()


def test_the_manifest_lists_every_other_file(archive, finished):
    files = read(archive(finished)[1])
    manifest = json.loads(files.pop(MANIFEST))
    facts = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
    assert manifest["files"] == facts
    members = Store(finished).members()
    assert manifest["content_hash"] == content_hash(members) and manifest["members"] == 72 == manifest["planned"]
    assert (manifest["suite"], manifest["suite_version"], manifest["complete"]) == ("smoke", 2, True)
    assert "steps=4" in manifest["overrides"] and manifest["schema_version"] == 1
    assert manifest["environment"]["torch"] == [members["torch"][0]] and manifest["packed_with"]["code_commit"]


def test_the_documents_explain_the_manifest(archive, finished):
    text = (ROOT / "docs" / "results.md").read_text().split("## Archives")[1]
    manifest = json.loads(read(archive(finished)[1])[MANIFEST])
    names = {*manifest, *manifest["environment"], *manifest["packed_with"], *manifest["files"]["LICENSE"]}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_unpacked_it_is_a_results_folder(archive, finished, tmp_path):
    with zipfile.ZipFile(archive(finished)[1]) as file:
        file.extractall(tmp_path / "out")
    own, other = Store(finished), Store(tmp_path / "out")
    members = own.members().sort("member_id")
    assert_frame_equal(other.members().sort("member_id"), members, check_exact=True)
    every = members["member_id"].to_list()
    assert_frame_equal(other.curves(every), own.curves(every), check_exact=True)
    assert not other.damaged


def test_only_members_of_the_suite_are_packed(archive, finished_copy):
    row = Store(finished_copy).members().row(0, named=True)
    Store(finished_copy).write([{**row, "member_id": "f" * 16}], [{"member_id": "f" * 16, "step": 0}])
    files = read(archive(finished_copy)[1])
    shards = {kind: [n for n in files if n.startswith(kind)] for kind in ("members", "curves")}
    assert [len(names) for names in shards.values()] == [1, 1]
    for (name,) in shards.values():
        assert "f" * 16 not in pl.read_parquet(files[name])["member_id"]


def test_the_same_results_give_the_same_bytes(archive, finished, finished_copy):
    """Also from other shards, in another order, and from a file system with other times."""
    first = archive(finished)[1].read_bytes()
    store = Store(finished_copy)
    members, curves = store.members(), store.read("curves")
    for path in [*finished_copy.glob("members/*"), *finished_copy.glob("curves/*")]:
        path.unlink()
    half = len(members) // 2
    for part in (members[half:].reverse(), members[:half]):
        store.write_frame("members", part)
    store.write_frame("curves", curves.reverse())
    assert len(list(finished_copy.glob("members/*"))) == 2
    assert archive(finished_copy, name="b.zip")[1].read_bytes() == first


def test_entries_have_no_time_and_are_ordinary_files(archive, finished):
    with zipfile.ZipFile(archive(finished)[1]) as file:
        entries = file.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {stat.S_IFREG | 0o644}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


def test_a_report_is_packed_if_there_is_one(archive, finished_copy):
    (finished_copy / "report" / "figures").mkdir(parents=True)
    (finished_copy / "report" / "index.html").write_text("<html>")
    (finished_copy / "report" / "figures" / "a.svg").write_text("<svg/>")
    _, path, out = archive(finished_copy)
    files = read(path)
    assert files["report/index.html"] == b"<html>" and files["report/figures/a.svg"] == b"<svg/>"
    assert "no report" not in out


def test_a_link_in_a_report_is_refused(archive, finished_copy):
    (finished_copy / "report").mkdir()
    os.symlink("/etc/passwd", finished_copy / "report" / "passwd")
    code, path, out = archive(finished_copy)
    assert code == 2 and "no symbolic links" in out and not path.exists()


@pytest.mark.parametrize("name", [".cache", "über.svg", "a..b"])
def test_a_name_that_no_reader_would_take_is_refused(archive, finished_copy, name):
    (finished_copy / "report").mkdir()
    (finished_copy / "report" / name).write_text("x")
    code, path, out = archive(finished_copy)
    assert code == 2 and "a relative path" in out and not path.exists()


def test_a_stale_leaderboard_is_not_packed(archive, finished_copy):
    (finished_copy / "leaderboard.json").write_text('{"rows": "old"}')
    assert b"old" not in read(archive(finished_copy)[1])["leaderboard.json"]


def test_an_incomplete_suite_is_packed_as_such(archive, finished_copy):
    next((finished_copy / "members").glob("*")).unlink()
    code, path, out = archive(finished_copy)
    manifest = json.loads(read(path)[MANIFEST])
    assert code == 1 and "INCOMPLETE" in out and not manifest["complete"] and manifest["members"] < 72
    assert "of 72 members" in read(path)["citation.txt"].decode()


def test_it_lands_in_the_results_folder(finished_copy, capsys):
    assert run_command(main, ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]) == 0
    (path,) = (finished_copy / "archive").iterdir()
    assert path.name == f"shb-bench-smoke-v2-{content_hash(Store(finished_copy).members())[:12]}.zip"
    assert path.name in capsys.readouterr().out.replace("\n", "")


def test_a_write_that_fails_leaves_nothing(finished, tmp_path, monkeypatch):
    store = Store(finished)
    _, files = pack(suite_of(finished).plan(store.members()), store)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_archive(tmp_path / "a" / "b.zip", files)
    assert not list((tmp_path / "a").iterdir())


def test_nothing_to_pack_is_one_line(archive, tmp_path):
    code, path, out = archive(tmp_path / "empty")
    assert code == 2 and out.count("\n") == 1 and not path.exists()


@pytest.mark.slow
def test_the_reference_fits_a_public_archive(tmp_path):
    store = Store(ROOT / "results" / "reference")
    suite = load_suite("default", ["device=cpu", f"results_dir={store.folder}"])
    _, files = pack(suite.plan(store.members()), store)
    assert sum(map(len, files.values())) < 2_000_000
