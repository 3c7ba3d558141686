"""Archives of strangers: a good one passes, and every trick that is known here is refused in one line, before harm."""

import copy
import hashlib
import io
import json
import pickle
import stat
import struct
import zipfile

import polars as pl
import pytest

import bench.exchange.unpacking
import bench.exchange.zip_reader
from bench.command import run_command
from bench.exchange.packing import MANIFEST, pack, write_archive
from bench.exchange.unpacking import unpack
from bench.exchange.zip_reader import read_files
from bench.store.content_hash import content_hash
from bench.store.identity import canonical, identity
from bench.store.store import Store
from bench.suite.suite import load_suite
from bench.verify import main
from shb.errors import ConfigurationError
from tests.bench.conftest import SUITE_SIZE


@pytest.fixture(scope="module")
def good(finished):
    """The files of an honest archive."""
    suite = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished}"])
    return pack(suite.plan(Store(finished).members()), Store(finished))[1]


@pytest.fixture
def refused(tmp_path, contents):
    """Unpacks an archive that must be refused; nothing may be written outside of the folder made for it."""

    def check(path, words):
        folder = tmp_path / "unpacked"
        folder.mkdir()
        before = contents(tmp_path)
        with pytest.raises(ConfigurationError) as caught:
            unpack(path, folder)
        message = str(caught.value)
        assert words in message and "\n" not in message and "\x1b" not in message, message
        assert {n: c for n, c in contents(tmp_path).items() if not n.startswith("unpacked")} == before
        return message

    return check


@pytest.fixture
def archive(tmp_path):
    """Writes files (name -> content, or (ZipInfo, content)) to a zip file."""

    def write(files, method=zipfile.ZIP_STORED, name="bad.zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", method) as file:
            for entry, content in files.items() if isinstance(files, dict) else files:
                file.writestr(entry, content)
        return path

    return write


def listed(contents, **changes):
    """The files with a manifest that fits them, then changed."""
    files = {name: content for name, content in contents.items() if name != MANIFEST}
    manifest = json.loads(GOOD[MANIFEST]) | {
        "files": {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
    }
    manifest |= changes
    return {**files, MANIFEST: json.dumps(manifest).encode()}


GOOD = {}


@pytest.fixture(autouse=True)
def _known(good):
    GOOD.update(good)


def test_an_honest_archive_passes(good, tmp_path):
    write_archive(tmp_path / "good.zip", good)
    (tmp_path / "out").mkdir()
    store, manifest = unpack(tmp_path / "good.zip", tmp_path / "out")
    assert store.members().height == manifest.members == 72 and content_hash(store.members()) == manifest.content_hash
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"members", "curves"}  # and nothing else


def test_so_does_a_compressed_one(good, archive, tmp_path):
    (tmp_path / "out").mkdir()
    unpack(archive(good, zipfile.ZIP_DEFLATED), tmp_path / "out")


# -- zip files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "members/../../evil.txt",
        "/etc/evil",
        "C:\\evil",
        "..\\evil",
        "a//b",
        "./a",
        ".hidden",
        "a/.ssh",
        "members/",
        "a" * 300,
        "a/b/c/d/e/f/g/h/i/j/k/l",
        "\x1b[31mred",
        "naïve",
        "a\x00.txt",
        "~root/x",
        "con:aux",
    ],
)
def test_names_that_lead_elsewhere(good, archive, refused, tmp_path, name):
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name
    message = refused(archive([*good.items(), (entry, b"evil")]), "a relative path")
    assert len(message) < 300 and not (tmp_path.parent / "evil.txt").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices(good, archive, refused, kind):
    entry = zipfile.ZipInfo("report/link")
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    refused(archive([*good.items(), (entry, b"/etc/passwd")]), "an ordinary file")


@pytest.mark.parametrize("name", ["LICENSE", "license"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(good, archive, refused, name):
    refused(archive([*good.items(), (name, b"other")]), "a name that is there once")


def test_other_compressions_and_encryption(good, archive, refused, tmp_path):
    refused(archive(good, zipfile.ZIP_LZMA), "stored or deflated")


def test_encryption(good, archive, refused):
    path = archive(good)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 8] |= 1
    path.write_bytes(content)
    refused(path, "not encrypted")


def test_a_bomb(good, archive, refused):
    """200 MB of zeros in 200 kB."""
    refused(
        archive(listed({**good, "report/zeros": bytes(200 << 20)}), zipfile.ZIP_DEFLATED), "packed at most 100 times"
    )


def lie(path, name, size):
    """Say in both headers that the file `name` has another size."""
    content = bytearray(path.read_bytes())
    for signature, at, length_at in ((b"PK\x03\x04", 22, 26), (b"PK\x01\x02", 24, 28)):
        place = -1
        while (place := content.find(signature, place + 1)) >= 0:
            start = place + (30 if at == 22 else 46)
            (length,) = struct.unpack_from("<H", content, place + length_at)
            if content[start : start + length] == name.encode():
                struct.pack_into("<I", content, place + at, size)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_bomb_that_lies_about_its_size(good, archive, refused, size):
    path = archive(listed({**good, "report/zeros": bytes(50 << 20)}), zipfile.ZIP_DEFLATED)
    lie(path, "report/zeros", size)
    refused(path, "undamaged zip file")


def test_reading_stops_at_the_limit_whatever_headers_say(monkeypatch, archive, tmp_path):
    """A reader that returns more than the header says is stopped while it reads, not after."""
    monkeypatch.setattr(bench.exchange.zip_reader, "MAX_BYTES", 4 << 20)
    path, given = archive({"a": b"1"}), []

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert 0 <= size <= (4 << 20) + 1
            given.append(size)
            return bytes(size)

    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, entry, **options: Endless())
    with pytest.raises(ConfigurationError, match="bytes"):
        read_files(path)
    assert sum(given) <= (4 << 20) + 2


def test_many_files_that_are_small_each(monkeypatch, archive, refused, good):
    monkeypatch.setattr(bench.exchange.zip_reader, "MAX_FILES", 100)
    refused(archive({**good, **{f"report/{i}": b"" for i in range(100)}}), "at most 100")


def test_files_that_are_too_large_together(monkeypatch, archive, refused, good):
    monkeypatch.setattr(bench.exchange.zip_reader, "MAX_BYTES", 1 << 20)
    extra = {f"report/{i}": bytes(range(256)) * 1000 for i in range(5)}
    refused(archive({**good, **extra}, zipfile.ZIP_DEFLATED), "unpacked")
    path = archive({**good, **extra}, name="stored.zip")
    with pytest.raises(ConfigurationError, match="at most 1,048,576 bytes"):
        read_files(path)


def test_files_that_share_bytes(good, archive, refused):
    """A quoted bomb: many entries of one piece of data."""
    path = archive(good)
    content = bytearray(path.read_bytes())
    places = [i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"]
    (first,) = struct.unpack_from("<I", content, places[0] + 42)
    struct.pack_into("<I", content, places[1] + 42, first)
    path.write_bytes(content)
    refused(path, "no two files may share bytes")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: b"", "zip file"),
        (lambda content: b"not a zip file", "zip file"),
        (lambda content: content[:-30], "zip file"),
        (lambda content: content + b"trailing", "without comment"),
        (lambda content: content[:-2] + b"\x05\x00notes", "without comment"),
        (lambda content: content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:], "64-bit"),
        (lambda content: content[:-10] + b"\xff\xff\xff\x7f" + content[-6:], "list of entries"),
        (lambda content: content[:200] + bytes(300) + content[500:], ""),
    ],
)
def test_what_is_no_plain_zip_file(good, archive, refused, damage, words):
    path = archive(good)
    path.write_bytes(damage(path.read_bytes()))
    refused(path, words)


def test_every_flipped_byte_of_a_small_archive_is_noticed(archive, tmp_path):
    """Or changes nothing that is read: contents come out as they were, or not at all."""
    files = {"a.txt": b"hello", "b/c.txt": b"world" * 3}
    path = archive(files)
    whole = path.read_bytes()
    refusals = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            found = read_files(path)
        except ConfigurationError:
            refusals += 1
        else:
            assert set(found.values()) <= set(files.values())  # one fewer: the manifest will miss it
    assert refusals > len(whole) // 3


# -- manifest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 2}, "no other is known here"),
        ({"schema_version": "1"}, "no other is known here"),
        ({"schema_version": True}, "no other is known here"),
        ({"format": "tar"}, "shb-bench archive"),
        ({"suite": 3}, "str"),
        ({"members": "72"}, "int"),
        ({"members": 71}, "72, the number in its shards"),
        ({"content_hash": "0" * 64}, "that of its members"),
        ({"complete": "yes"}, "bool"),
        ({"overrides": None}, "list"),
        ({"files": []}, "dict"),
        ({"files": {}}, "in the manifest too"),
    ],
)
def test_a_manifest_that_does_not_fit(good, archive, refused, changes, words):
    refused(archive(listed(good, **changes)), words)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"a":' + b"9" * 5000 + b"}"])
def test_a_manifest_that_is_no_json_object(good, archive, refused, content):
    refused(archive({**good, MANIFEST: content}), MANIFEST)


def test_a_manifest_of_many_megabytes(good, archive, refused, monkeypatch):
    monkeypatch.setattr(bench.exchange.unpacking, "MAX_MANIFEST", 1000)
    refused(archive(good), "at most 1,000 bytes")


def test_no_manifest(good, archive, refused):
    refused(archive({name: content for name, content in good.items() if name != MANIFEST}), MANIFEST)


def test_files_beside_the_manifest(good, archive, refused):
    refused(archive({**good, "report/extra.html": b"x"}), "in the manifest too")
    manifest = json.loads(good[MANIFEST])
    manifest["files"]["report/absent.html"] = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}


def test_files_that_are_only_in_the_manifest(good, archive, refused):
    manifest = json.loads(good[MANIFEST])
    manifest["files"]["report/absent.html"] = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    refused(archive({**good, MANIFEST: json.dumps(manifest).encode()}), "in the archive too")


@pytest.mark.parametrize("name", ["leaderboard.md", "LICENSE"])
def test_a_file_that_was_changed(good, archive, refused, name):
    refused(archive({**good, name: good[name][:-1] + b"?"}), "checksum")


# -- shards -------------------------------------------------------------------------------------------------


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def with_shard(good, kind, content, name=None):
    """The archive with another shard, and a manifest that fits."""
    files = {n: c for n, c in good.items() if not n.startswith(f"{kind}/")}
    return listed({**files, name or f"{kind}/{hashlib.sha256(content).hexdigest()[:32]}.parquet": content})


def shard(good, kind):
    (content,) = (content for name, content in good.items() if name.startswith(f"{kind}/"))
    return pl.read_parquet(content)


class Touch:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_never_loaded(good, archive, refused, tmp_path):
    content = pickle.dumps(Touch(tmp_path / "loaded"))
    refused(archive(with_shard(good, "members", content)), "Parquet files of this store")
    with_report = listed({**good, "report/state.pkl": content, "conf/evil.yaml": content})
    (tmp_path / "out").mkdir()
    unpack(archive(with_report, name="report.zip"), tmp_path / "out")
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    "name", ["members/a.parquet", "members/x/y.parquet", "curves/data.pkl", "members/SHARD.parquet"]
)
def test_shards_of_other_names(good, archive, refused, name):
    content = parquet(shard(good, name.split("/")[0]))
    refused(archive(with_shard(good, name.split("/")[0], content, name)), "a shard named")


def test_a_shard_whose_name_is_not_its_checksum(good, archive, refused):
    refused(
        archive(with_shard(good, "members", parquet(shard(good, "members")), f"members/{'0' * 32}.parquet")), "checksum"
    )


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("members", lambda f: f.with_columns(evil=pl.lit(1)), "'evil'"),
        ("members", lambda f: f.with_columns(pl.col("train_loss").cast(pl.String)), "'train_loss'"),
        ("members", lambda f: f.with_columns(pl.lit(3, pl.Int64).alias("schema_version")), "update the code"),
        ("members", lambda f: f.with_columns(pl.lit("a").alias("member_id")), "16 hexadecimal digits"),
        ("members", lambda f: f.with_columns(pl.lit(None, pl.String).alias("member_id")), "16 hexadecimal digits"),
        ("members", lambda f: pl.concat([f, f[:1]]), "every id once"),
        ("members", lambda f: f.with_columns(pl.lit("failed").alias("status")), "done or diverged"),
        ("members", lambda f: f.with_columns(pl.lit("x" * 2_000_000).alias("error")), "characters"),
        ("members", lambda f: f[:70], "70, the number in its shards"),
        ("members", lambda f: f.with_columns(pl.col("train_loss") + 1e-9), "that of its members"),
        ("curves", lambda f: f.with_columns(pl.col("step").cast(pl.Float64)), "'step'"),
    ],
)
def test_shards_of_another_schema(good, archive, refused, kind, change, words):
    refused(archive(with_shard(good, kind, parquet(change(shard(good, kind))))), words)


@pytest.mark.parametrize("kind", ["members", "curves"])
def test_a_shard_of_too_many_rows(good, archive, refused, monkeypatch, kind):
    """Ten million equal rows are some kilobytes; how many there are is known before they are read."""
    monkeypatch.setitem(bench.exchange.unpacking.MAX_ROWS, kind, 50)
    refused(archive(with_shard(good, kind, parquet(shard(good, kind)))), "rows, more than 50")


@pytest.mark.slow
def test_a_text_that_memory_cannot_hold_is_refused(good, archive, refused, monkeypatch):
    """200 MB of one letter are 7 kB of Parquet; the process that reads them may use 1 GiB of address space."""
    monkeypatch.setattr(bench.exchange.unpacking, "PROBE_BYTES", 1 << 30)
    monkeypatch.setattr(bench.exchange.unpacking, "PROBE_SECONDS", 10)
    content = parquet(pl.DataFrame({"error": ["x" * (200 << 20)]}))
    assert len(content) < 1 << 20
    refused(archive(with_shard(good, "members", content)), "allowed is")


# -- members ------------------------------------------------------------------------------------------------


def forged(good, change):
    """The archive whose every member has another spec, honestly hashed and listed."""
    frame = shard(good, "members")
    rows = []
    for row in frame.iter_rows(named=True):
        spec = json.loads(row["spec"])
        change(spec)
        rows.append({**row, "spec": canonical(spec), "member_id": identity(spec)})
    members = pl.DataFrame(rows, schema=frame.schema).unique("member_id")
    curves = pl.concat([shard(good, "curves")])
    old = dict(zip(frame["member_id"], [row["member_id"] for row in rows]))
    curves = curves.with_columns(pl.col("member_id").replace(old)).unique(["member_id", "step"])
    files = with_shard(with_shard(good, "members", parquet(members)), "curves", parquet(curves))
    return listed(files, members=len(members), content_hash=content_hash(members))


def set_field(*path, value):
    def change(spec):
        target = spec
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_field("optimizer", value="__import__('os').system('touch /x')"), "letters, digits"),
        (set_field("optimizer", value="lion"), "one of adam"),
        (set_field("problem", "model", "name", value="resnet"), "one of adapter, cnn, lenet, mlp, transformer, vgg"),
        (set_field("problem", "dataset", value="../../etc/passwd"), "letters, digits"),
        (set_field("steps", value=10**12), "as its other fields say"),
        (set_field("extra", value=1), "no such field"),
        (set_field("hyperparameters", "lr", value=0.123456), "as the spec says"),
    ],
)
def test_members_of_a_forged_spec_are_different_and_not_run(good, archive, capsys, monkeypatch, change, words):
    monkeypatch.setattr("bench.reproduction.reproduction.alone", lambda cell: pytest.fail("run"))
    path = archive(forged(good, change))
    assert run_command(main, [f"archive={path}", "n=2"]) == 1
    out = capsys.readouterr().out.replace("\n", " ")
    assert "2 DIFFERENT" in out and words in out


def trillion(spec):
    """As many evaluations as before: a trial has fewer than a winner, and which is drawn depends on the engine."""
    spec |= {"steps": 10**12, "evaluate_at": [k * (10**12 // spec["steps"]) for k in spec["evaluate_at"]]}


def test_members_of_a_trillion_steps_are_asked_for(good, archive, capsys, monkeypatch):
    """A spec that is valid, with a row and a curve that fit it."""
    monkeypatch.setattr("bench.reproduction.reproduction.alone", lambda cell: pytest.fail("run"))
    files = forged(good, trillion)
    members = shard(files, "members").with_columns(pl.lit(10**12, pl.Int64).alias("steps"))
    curves = shard(files, "curves").with_columns(pl.col("step") * (10**12 // 4))
    files = with_shard(with_shard(files, "members", parquet(members)), "curves", parquet(curves))
    files = listed(files, content_hash=content_hash(members), members=len(members))
    assert run_command(main, [f"archive={archive(files)}", "n=2"]) == 1
    out = capsys.readouterr().out
    assert "0 of 2 checked: none" in out and "predicted to take" in out and "limit=" in out


def test_a_forged_number_is_found(good, archive, capsys):
    """Metrics and curve changed alike, hashes and checksums all right: only computing again shows it."""
    better = pl.col("test_loss") * 0.9
    members = shard(good, "members").with_columns(better)
    files = with_shard(
        with_shard(good, "members", parquet(members)), "curves", parquet(shard(good, "curves").with_columns(better))
    )
    files = listed(files, content_hash=content_hash(members))
    assert run_command(main, [f"archive={archive(files)}", "n=2"]) == 1
    assert "2 DIFFERENT" in capsys.readouterr().out


def test_a_refused_archive_is_one_line(archive, capsys):
    path = archive({"../evil": b"x"})
    assert run_command(main, [f"archive={path}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "a relative path" in err


def test_the_honest_archive_is_not_changed_by_these_tests(good):
    assert good == GOOD and copy.deepcopy(good) == good
