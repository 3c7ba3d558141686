"""An archive of somebody else, checked before anything in it is used (layout and manifest: docs/results.md).

The zip file is read entry by entry with limits on names, kinds and sizes, whatever its headers say; every file must
be in the manifest with its checksum, and nothing else may be there. Only the shards of members and curves are written
to disk, under names made here, and only after a process with little memory has read them
(bench/exchange/parquet_probe.py). Nothing is unpickled, imported or executed; reports and tables are not opened.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bench.cell.spec import MAX_TEXT
from bench.exchange import parquet_probe
from bench.exchange.packing import FORMAT, MANIFEST, SCHEMA_VERSION
from bench.exchange.zip_reader import read_files, refused
from bench.store.content_hash import content_hash
from bench.store.schema import CURVE_SCHEMA, MEMBER_SCHEMA, RENAMED_IN_2
from bench.store.store import Store
from shb.errors import ConfigurationError, shown

MAX_MANIFEST = 16 << 20
MAX_ROWS = {"members": 200_000, "curves": 5_000_000}
PROBE_BYTES, PROBE_SECONDS = 4 << 30, 60  # that reading the shards may take
_SHARD = re.compile(r"(members|curves)/([0-9a-f]{32})\.parquet")


@dataclass(frozen=True)
class Manifest:
    """The checked part of an archive's manifest, for people."""

    suite: str
    suite_version: int
    overrides: tuple[str, ...]
    complete: bool
    members: int
    content_hash: str

    def lines(self) -> list[str]:
        """What the archive says of itself; only `members` and the hash have been checked."""
        changes = f" CHANGED by {' '.join(map(shown, self.overrides))}" if self.overrides else ""
        state = "complete" if self.complete else "INCOMPLETE"
        return [
            f"archive of suite {shown(self.suite)} v{self.suite_version}{changes}, {state} by its own account",
            f"{self.members:,} members; every checksum agrees, content SHA-256 {self.content_hash}",
        ]


def unpack(archive: Path, folder: Path) -> tuple[Store, Manifest]:
    """Check the zip file, and write its members and curves to `folder`, an empty one.

    Raises:
        ConfigurationError: the archive is refused; one line says why.
    """
    files = read_files(archive)
    content = _json(files.pop(MANIFEST, None))
    _check_manifest(content, files)
    shards = _write_shards(files, folder)
    _check_shards(shards)
    store = Store(folder)
    store.check_schema()
    members = _check_members(store.read("members"))
    if store.faults():
        raise ConfigurationError(
            "archive", shown(store.faults()[0]), "undamaged shards, and every member with its curve"
        )
    manifest = Manifest(
        *(content[name] for name in ("suite", "suite_version")),
        tuple(content["overrides"]),
        *(content[name] for name in ("complete", "members", "content_hash")),
    )
    if len(members) != manifest.members:
        raise ConfigurationError("manifest.members", manifest.members, f"{len(members)}, the number in its shards")
    if content_hash(members) != manifest.content_hash:
        raise ConfigurationError("manifest.content_hash", shown(manifest.content_hash), "that of its members")
    return store, manifest


def _json(content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise ConfigurationError("archive", MANIFEST, "there")
    if len(content) > MAX_MANIFEST:
        raise ConfigurationError("archive", MANIFEST, f"at most {MAX_MANIFEST:,} bytes")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("archive", MANIFEST, f"JSON ({shown(str(error))})") from None
    if not isinstance(parsed, dict):
        raise ConfigurationError("archive", MANIFEST, "a JSON object")
    return parsed


def _check_manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """A schema that is known, fields of the right type, and exactly these files with these checksums."""
    if manifest.get("format") != FORMAT:
        raise ConfigurationError("manifest.format", shown(manifest.get("format")), FORMAT)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        allowed = f"{SCHEMA_VERSION}: no other is known here, a newer one needs newer code"
        raise ConfigurationError("manifest.schema_version", shown(version), allowed)
    types = {
        "suite": str,
        "suite_version": int,
        "overrides": list,
        "complete": bool,
        "members": int,
        "content_hash": str,
        "files": dict,
    }
    for name, kind in types.items():
        if not isinstance(manifest.get(name), kind):
            raise ConfigurationError(f"manifest.{name}", shown(manifest.get(name)), kind.__name__)
    listed = manifest["files"]
    for name in sorted(listed.keys() ^ files.keys()):
        where = "in the manifest too" if name in files else "in the archive too"
        raise refused(name, f"a file that is {where}")
    for name, content in files.items():
        facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if listed[name] != facts:
            raise refused(name, f"the size and the checksum of the manifest, {shown(listed[name])}")


def _write_shards(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """The shards on disk, and no other file."""
    paths = []
    for name, data in files.items():
        match = _SHARD.fullmatch(name)
        if match is None:
            if name.split("/")[0] in MAX_ROWS:
                raise refused(name, "a shard named members/ or curves/ and 32 hexadecimal digits .parquet")
            continue
        kind, digits = match.groups()
        if hashlib.sha256(data).hexdigest()[:32] != digits:
            raise refused(name, "a shard whose name is its checksum")
        path = folder / kind / f"{digits}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def _check_shards(paths: Sequence[Path]) -> None:
    """They can be read with little memory, and their columns are those of the store, or of an older one."""
    limits = [MAX_TEXT, PROBE_BYTES, PROBE_SECONDS]
    rows = [argument for path in paths for argument in (path, MAX_ROWS[path.parent.name])]
    probe = [sys.executable, "-P", parquet_probe.__file__, *map(str, [*limits, *rows])]
    try:  # without memory the reader may also wait for ever
        done = subprocess.run(probe, capture_output=True, text=True, timeout=2 * PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise refused("shards", f"readable within {PROBE_SECONDS} s and {PROBE_BYTES >> 20} MiB") from None
    if done.returncode:
        said = (done.stdout.strip().splitlines() or ["damaged, or more than the memory allowed"])[-1]
        raise ConfigurationError("archive", ascii(said)[:200], "Parquet files of this store")
    schemas = {"members": MEMBER_SCHEMA, "curves": CURVE_SCHEMA}
    for path in paths:
        for column, dtype in pl.read_parquet_schema(path).items():
            if schemas[path.parent.name].get(RENAMED_IN_2.get(column, column)) != dtype:
                raise refused(path.name, f"columns of {path.parent.name}; {shown(column)} of type {dtype} is none")


def _check_members(members: pl.DataFrame) -> pl.DataFrame:
    ids = members["member_id"]
    if ids.null_count() or not ids.str.contains("^[0-9a-f]{16}$").all():
        raise ConfigurationError("archive", "members", "ids of 16 hexadecimal digits")
    if ids.n_unique() != len(ids):
        raise ConfigurationError("archive", "members", "every id once")
    unknown = set(members["status"].unique()) - {"done", "diverged"}
    if unknown:
        raise ConfigurationError("archive", f"status {shown(sorted(map(str, unknown)))}", "done or diverged")
    return members
