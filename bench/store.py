"""The store: append-only Parquet shards of members and curves, written whole or not at all (docs/results.md).

A shard's name is the SHA-256 of its bytes, so a torn or altered one is recognised, reported and ignored. A
shard is written to a temporary name and renamed; curves come before the members they belong to.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shb.errors import ConfigurationError
from shb.schedules import SCHEDULES

SCHEMA_VERSION = 2

METRICS = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "clarke_distance",
    "artificial_distance",
    "touched",
    "trapped",
)
_HYPERPARAMETERS = ("lr", "momentum", "dampening", "beta1", "beta2", "eps")
_SCHEDULE_PARAMETERS = (
    *(f"schedule_{name}" for schedule in SCHEDULES.values() for name in schedule.parameters),
    *(f"momentum_schedule_{name}" for schedule in SCHEDULES.values() for name in schedule.parameters),
    "momentum_schedule_r",
)
_ENVIRONMENT = {  # bench/environment.py
    "code_commit": pl.String,
    "code_dirty": pl.Boolean,
    "python": pl.String,
    "torch": pl.String,
    "platform": pl.String,
    "cpu": pl.String,
    "device_name": pl.String,
    "threads": pl.Int64,
}

MEMBER_SCHEMA: dict[str, Any] = {
    "member_id": pl.String,
    "problem": pl.String,
    "model": pl.String,
    "dataset": pl.String,
    "optimizer": pl.String,
    "seed": pl.Int64,
    "status": pl.String,
    "diverged_step": pl.Int64,
    "error": pl.String,
    "steps": pl.Int64,
    "batch_size": pl.Int64,
    **dict.fromkeys(_HYPERPARAMETERS, pl.Float64),
    "schedule": pl.String,
    "momentum_schedule": pl.String,
    **dict.fromkeys(_SCHEDULE_PARAMETERS, pl.Float64),
    "velocity_std": pl.Float64,
    "unstable_momentum": pl.Boolean,
    "init": pl.String,
    "init_std": pl.Float64,
    "init_value": pl.Float64,
    "loss": pl.String,
    "sampling": pl.String,
    "relu_derivative": pl.Float64,
    "relu_rule": pl.String,
    "dtype": pl.String,
    "device": pl.String,
    "engine": pl.String,
    **dict.fromkeys(METRICS, pl.Float64),
    "hyperparameters": pl.String,
    "spec": pl.String,
    "dataset_checksum": pl.String,
    **_ENVIRONMENT,
    "stack_members": pl.Int64,
    "stack_seconds": pl.Float64,
    "compile_seconds": pl.Float64,
    "member_steps_per_second": pl.Float64,
    "created": pl.String,
    "schema_version": pl.Int64,
}
CURVE_SCHEMA: dict[str, Any] = {
    "member_id": pl.String,
    "step": pl.Int64,
    "batch_loss": pl.Float64,
    **dict.fromkeys(METRICS, pl.Float64),
    "schema_version": pl.Int64,
}
RENAMED_IN_2 = {"relu_at_zero": "relu_derivative", "distance_to_clarke": "clarke_distance", "at_artificial": "trapped"}
ENSEMBLE_SCHEMA: dict[str, Any] = {  # one row per ensemble and column
    "ensemble_id": pl.String,
    "measure": pl.String,
    "spec": pl.String,
    "seed_start": pl.Int64,
    "seed_stop": pl.Int64,
    "column": pl.String,
    "width": pl.Int64,
    "values": pl.List(pl.Float64),
    "seconds": pl.Float64,
    **_ENVIRONMENT,
    "created": pl.String,
    "schema_version": pl.Int64,
}
SCHEMAS = {"members": MEMBER_SCHEMA, "curves": CURVE_SCHEMA, "ensembles": ENSEMBLE_SCHEMA}
_RANK = {"done": 0, "diverged": 0, "failed": 1}  # a failed member never hides a computed one


class Store:
    """Members and curves below `folder`, which is made at the first write.

    Attributes:
        damaged: shards that failed their checksum when last read.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.damaged: list[Path] = []
        self._cache: dict[Path, pl.DataFrame] = {}
        self._members: tuple[frozenset[Path], pl.DataFrame] | None = None  # shards, and the table they make

    def check(self) -> None:
        """Raise a ConfigurationError if the folder cannot be written or holds a newer schema."""
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
        """Raise a ConfigurationError if the folder holds a newer schema; fills `damaged`."""
        self.read("members")
        self.read("curves")

    def members(self) -> pl.DataFrame:
        """One row per member (computed before failed, first written first); columns MEMBER_SCHEMA."""
        paths = frozenset((self.folder / "members").glob("*.parquet"))
        if self._members is None or self._members[0] != paths:
            self._members = paths, self._unique_members()
        return self._members[1]

    def _unique_members(self) -> pl.DataFrame:
        frame = self.read("members")
        rank = pl.col("status").replace_strict(_RANK, default=1)
        return frame.sort(rank, "created", maintain_order=True).unique("member_id", keep="first", maintain_order=True)

    def curves(self, ids: Sequence[str]) -> pl.DataFrame:
        """Curve rows of the members `ids`, sorted by member and step; columns CURVE_SCHEMA."""
        frame = self.read("curves").filter(pl.col("member_id").is_in(list(ids)))
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
        for kind, rows in (("curves", curves), ("members", members)):
            if rows:
                schema = SCHEMAS[kind]
                unknown = {name for row in rows for name in row} - set(schema)
                if unknown:
                    raise KeyError(f"columns not in the schema of {kind}: {sorted(unknown)}")
                complete = [{"schema_version": SCHEMA_VERSION, **row} for row in rows]
                self._write_shard(kind, pl.DataFrame(complete, schema=schema))

    def write_frame(self, kind: str, frame: pl.DataFrame) -> None:
        """Append a shard of rows that a store has read; their schema_version stays that of the code that made them."""
        self._write_shard(kind, frame)

    def _write_shard(self, kind: str, frame: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        content = buffer.getvalue()
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.parquet"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, kind: str) -> pl.DataFrame:
        """Every row of a kind of shards ("members", "curves", "ensembles"), also what was computed twice."""
        frames = list(self.shards(kind).values())
        return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMAS[kind])

    def shards(self, kind: str) -> dict[Path, pl.DataFrame]:
        """The undamaged shards of a kind, in today's schema; fills `damaged` with the others."""
        self.damaged = [path for path in self.damaged if path.parent.name != kind]
        found = {}
        for path in sorted((self.folder / kind).glob("*.parquet")):
            if path not in self._cache:
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest()[:32] != path.stem:
                    self.damaged.append(path)
                    continue
                self._cache[path] = _current(pl.read_parquet(io.BytesIO(content)), kind, path)
            found[path] = self._cache[path]
        return found


def _current(frame: pl.DataFrame, kind: str, path: Path) -> pl.DataFrame:
    """The shard in today's schema: a newer one is refused, an older one gets null in the columns it lacks."""
    newest = frame["schema_version"].max() if "schema_version" in frame.columns else 0
    if newest > SCHEMA_VERSION:
        raise ConfigurationError(
            "results_dir",
            path,
            f"schema_version <= {SCHEMA_VERSION} (this one has {newest}: update the code)",
        )
    schema = SCHEMAS[kind]
    if newest < 2:
        frame = frame.rename({old: new for old, new in RENAMED_IN_2.items() if old in frame.columns})
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in schema.items()
    )


def member_spec(row: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a member's row: what its identity is the hash of."""
    return json.loads(row["spec"])
