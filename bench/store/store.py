"""The store: append-only Parquet shards of members and curves, written whole or not at all (docs/results.md).

A shard's name is the SHA-256 of its bytes, so a torn or altered one is recognised. What is altered, cannot be read or
is no shard of ours is set aside: reported with its reason and ignored, never deleted. A shard is written to a temporary
name and renamed; curves come before the members they belong to, and a member without its curve counts as lacking.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.store.schema import ENSEMBLE_SCHEMA, MEMBER_SCHEMA, SCHEMA_VERSION, SCHEMAS
from bench.store.shard import UnusableError, again, read_shard, write_shard
from shb.errors import ConfigurationError

_RANK = {"done": 0, "diverged": 0, "failed": 1}  # a failed member never hides a computed one


class StoreWriteError(RuntimeError):
    """The store could not be written (disk full, folder gone): nothing else can be saved either.

    `number` is the errno of the system's error, for the advice.
    """

    def __init__(self, text: str, number: int | None = errno.ENOSPC) -> None:
        super().__init__(text)
        self.number = number

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.number)


class Store:
    """Members and curves below `folder`, which is made at the first write.

    Attributes:
        set_aside: shards (and folders of shards) that could not be used when their kind was last read -> why.
        without_curve: ids of the computed members that the last reading left out, for their curve is not stored.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.set_aside: dict[Path, str] = {}
        self.without_curve: frozenset[str] = frozenset()
        self._cache: dict[Path, pl.DataFrame] = {}
        self._members: tuple[frozenset[Path], pl.DataFrame] | None = None  # shards, and the table they make

    @property
    def damaged(self) -> list[Path]:
        """What is set aside."""
        return list(self.set_aside)

    def faults(self) -> list[str]:
        """A line for everything that was left out when the store was last read."""
        lines = [f"damaged shard, ignored: {path} ({reason})" for path, reason in self.set_aside.items()]
        if count := len(self.without_curve):
            lines.append(f"{count:,} members are stored without their curves, and count as lacking: {self.folder}")
        return lines

    def check(self) -> None:
        """Raise a ConfigurationError if the folder cannot be written or holds a newer schema."""
        for path in (self.folder, *(self.folder / kind for kind in SCHEMAS)):
            self._check_folder(path)
        existing = self.folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise ConfigurationError(
                "results_dir", self.folder, f"a writable folder ({error.strerror}: {existing})"
            ) from None
        self.check_schema()

    def check_schema(self) -> None:
        """Raise a ConfigurationError if the folder is none or holds a newer schema; finds out what is set aside."""
        self._check_folder(self.folder)
        self.members()

    @staticmethod
    def _check_folder(path: Path) -> None:
        try:
            there = path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                raise ConfigurationError("results_dir", path, "a folder, no link to what does not exist") from None
        except OSError as error:
            raise ConfigurationError("results_dir", path, f"a writable folder ({error.strerror})") from None
        else:
            if not stat.S_ISDIR(there.st_mode):
                raise ConfigurationError("results_dir", path, "a writable folder (this is a file)")

    def members(self) -> pl.DataFrame:
        """One row per member (computed before failed, first written first); columns MEMBER_SCHEMA.

        A computed member whose curve is not stored is left out: without it nobody could say when it reached a target.
        """
        shards = self.shards("members")  # before the curves, which are written first
        curves = self.shards("curves")
        paths = frozenset([*shards, *curves])
        if self._members is None or self._members[0] != paths:
            self._members = paths, self._unique_members(shards, curves)
        return self._members[1]

    def _unique_members(self, shards: Mapping[Path, pl.DataFrame], curves: Mapping[Path, pl.DataFrame]) -> pl.DataFrame:
        frame = pl.concat(shards.values()) if shards else pl.DataFrame(schema=MEMBER_SCHEMA)
        frame, self.without_curve = complete(frame, curves.values())
        rank = pl.col("status").replace_strict(_RANK, default=1)
        return frame.sort(rank, "created", maintain_order=True).unique("member_id", keep="first", maintain_order=True)

    def curves(self, ids: Sequence[str]) -> pl.DataFrame:
        """Curve rows of the members `ids`, sorted by member and step; columns CURVE_SCHEMA."""
        frame = rows_of(self.read("curves"), ids)
        return frame.unique(["member_id", "step"], keep="first").sort("member_id", "step")

    def computed(self) -> set[str]:
        """Ids of the members that are done or diverged; failed ones are computed again."""
        return set(self.members().filter(pl.col("status") != "failed")["member_id"])

    def ensemble_ids(self) -> set[str]:
        """Ids of the stored ensembles."""
        return set(self.read("ensembles")["ensemble_id"])

    def ensemble_seconds(self, ids: Sequence[str]) -> float:
        """Wall time that the stored ensembles among `ids` took, in seconds."""
        frame = self.read("ensembles").filter(pl.col("ensemble_id").is_in(list(ids)))
        return float(frame.unique("ensemble_id")["seconds"].sum())

    def ensemble(self, ensemble_id: str) -> dict[str, np.ndarray]:
        """Columns of one ensemble: name -> float64 [seeds], or [seeds, width]."""
        frame = self.read("ensembles").filter(pl.col("ensemble_id") == ensemble_id).unique("column", keep="first")
        columns = {}
        for name, width, values in zip(frame["column"], frame["width"], frame["values"]):
            numbers = values.to_numpy()
            columns[name] = numbers if width == 0 else numbers.reshape(-1, width)
        return columns

    def write_ensemble(self, columns: Mapping[str, np.ndarray], **facts: Any) -> None:
        """Store the `columns` ([seeds] or [seeds, width]) of an ensemble; `facts` are the other columns."""
        rows = [
            {
                **facts,
                "column": name,
                "width": 0 if values.ndim == 1 else values.shape[1],
                "values": values.ravel(),
                "schema_version": SCHEMA_VERSION,
            }
            for name, values in columns.items()
        ]
        self._write_shard("ensembles", pl.DataFrame(rows, schema=ENSEMBLE_SCHEMA))

    def write(self, members: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> None:
        """Append rows (missing columns are null); curves first, so that a listed member has its curve."""
        frames = {}
        for kind, rows in (("curves", curves), ("members", members)):
            if rows:
                schema = SCHEMAS[kind]
                unknown = {name for row in rows for name in row} - set(schema)
                if unknown:
                    raise KeyError(f"columns not in the schema of {kind}: {sorted(unknown)}")
                complete_rows = [{"schema_version": SCHEMA_VERSION, **row} for row in rows]
                frames[kind] = pl.DataFrame(complete_rows, schema=schema)
        for kind, frame in frames.items():
            self._write_shard(kind, frame)

    def write_frame(self, kind: str, frame: pl.DataFrame) -> None:
        """Append a shard of rows that a store has read; their schema_version stays that of the code that made them."""
        self._write_shard(kind, frame)

    def _write_shard(self, kind: str, frame: pl.DataFrame) -> None:
        write_shard(self.folder / kind, frame)

    def read(self, kind: str) -> pl.DataFrame:
        """Every row of a kind of shards ("members", "curves", "ensembles", "plans"), also what was computed twice."""
        frames = list(self.shards(kind).values())
        return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMAS[kind])

    def shards(self, kind: str) -> dict[Path, pl.DataFrame]:
        """The usable shards of a kind, in today's schema; fills `set_aside` with the others."""
        folder = self.folder / kind
        self.set_aside = {p: why for p, why in self.set_aside.items() if folder not in (p, p.parent)}
        found = {}
        for path in self._listed(folder):
            if path not in self._cache:
                try:
                    self._cache[path] = read_shard(path, kind)
                except FileNotFoundError:
                    if path.is_symlink():
                        self.set_aside[path] = "a link to what does not exist"
                    continue  # removed since it was listed
                except UnusableError as error:
                    self.set_aside[path] = str(error)
                    continue
            found[path] = self._cache[path]
        return found

    def _listed(self, folder: Path) -> list[Path]:
        """The paths of the shards in a folder; [] if there is none."""
        try:
            names = again(lambda: os.listdir(folder))
        except FileNotFoundError:
            if folder.is_symlink():
                self.set_aside[folder] = "a link to what does not exist"
            return []
        except OSError as error:
            self.set_aside[folder] = error.strerror or str(error)
            return []
        return [folder / name for name in sorted(names) if name.endswith(".parquet") and not name.startswith(".")]


def rows_of(frame: pl.DataFrame, ids: Iterable[str]) -> pl.DataFrame:
    """The rows of members or curves that belong to the members `ids`, in the order of `frame`."""
    return frame.filter(pl.col("member_id").is_in(list(ids)))


def complete(members: pl.DataFrame, curves: Iterable[pl.DataFrame]) -> tuple[pl.DataFrame, frozenset[str]]:
    """The rows of `members` that failed or have a curve among `curves`, and the ids of the others."""
    columns = [frame.select("member_id").unique() for frame in curves]
    known = pl.concat(columns) if columns else pl.DataFrame(schema={"member_id": pl.String})
    computed = pl.col("status").is_in(["done", "diverged"])
    lacking = members.filter(computed).join(known, on="member_id", how="anti")["member_id"]
    if lacking.is_empty():
        return members, frozenset()
    return members.filter(~(computed & pl.col("member_id").is_in(lacking.implode()))), frozenset(lacking)


def member_spec(row: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a member's row: what its identity is the hash of."""
    return json.loads(row["spec"])
