"""What an archive holds: members, curves, tables, report, configuration, and a manifest of them (docs/results.md)."""

from __future__ import annotations

import hashlib
import json
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.exchange.citation import Citation, citation_of
from bench.exchange.zip_reader import PLAIN, is_plain
from bench.leaderboard.document import computed_with, leaderboard, write_leaderboard
from bench.plan.plan import SuitePlan
from bench.plan.stored import write_plan
from bench.store.environment import CONF, ROOT, code_version
from bench.store.schema import SCHEMA_VERSION as STORE_SCHEMA_VERSION
from bench.store.store import Store
from shb.errors import ConfigurationError
from shb.files import TEMPORARY, replacing

FORMAT, SCHEMA_VERSION = "shb-bench archive", 1
MANIFEST = "manifest.json"
FROM_ROOT = ("CITATION.cff", "LICENSE", "requirements.lock")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can say: a time would change the bytes


def pack(plan: SuitePlan, store: Store) -> tuple[Citation, dict[str, bytes]]:
    """All files of the archive: path -> content, the manifest among them."""
    citation = citation_of(plan, store)
    files = {f"conf/{path.relative_to(CONF).as_posix()}": path.read_bytes() for path in sorted(CONF.rglob("*.yaml"))}
    files |= {name: (ROOT / name).read_bytes() for name in FROM_ROOT if (ROOT / name).is_file()}
    files["citation.txt"] = f"{citation.text()}\n\n{citation.bibtex()}\n".encode()
    files |= _results(store, citation)
    files |= _report(store.folder / "report")
    files[MANIFEST] = (json.dumps(manifest(citation, files), indent=1, sort_keys=True) + "\n").encode()
    return citation, files


def _results(store: Store, citation: Citation) -> dict[str, bytes]:
    """One shard of members, one of curves, one of the plan, and the tables that follow from these and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        own = Store(folder)
        members = citation.members.sort("member_id")
        own.write_frame("curves", store.curves(members["member_id"].to_list()))
        own.write_frame("members", members)
        write_plan(own, citation.plan, created=str(members["created"].max()))  # no time of packing: equal bytes
        write_leaderboard(citation.plan, leaderboard(citation.plan, own), own)
        return _files_below(Path(folder), "")


def _report(folder: Path) -> dict[str, bytes]:
    return _files_below(folder, "report/") if folder.is_dir() else {}


def _files_below(folder: Path, prefix: str) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix != TEMPORARY)  # which a killed process left
    for path in paths:
        if path.is_symlink():
            raise ConfigurationError("archive", path, "files, no symbolic links")
        if not is_plain(path.relative_to(folder).as_posix()):
            raise ConfigurationError("archive", path, PLAIN)
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def manifest(citation: Citation, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What is in the archive; every file but the manifest itself, with its size and checksum."""
    commit, dirty = code_version()
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "store_schema_version": STORE_SCHEMA_VERSION,
        "suite": citation.plan.suite,
        "suite_version": citation.plan.version,
        "overrides": list(citation.plan.changes),
        "complete": citation.complete,
        "members": len(citation.members),
        "planned": citation.planned,
        "content_hash": citation.content_hash,
        "environment": computed_with(citation.members),
        "packed_with": {"code_commit": commit, "code_dirty": dirty},
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        },
    }


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the zip file under a temporary name and rename it.

    Nothing is compressed (Parquet is, inside): compressors of different versions make different bytes.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content)
