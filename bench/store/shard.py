"""One shard: a Parquet file that is named by the SHA-256 of its bytes, so that a torn or altered one is recognised."""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl

from bench.store.schema import RENAMED_IN_2, SCHEMA_VERSION, SCHEMAS
from shb.errors import ConfigurationError
from shb.files import write_whole

T = TypeVar("T")
_KEYS = {  # columns without which a shard is not ours
    "members": ("member_id", "status"),
    "curves": ("member_id", "step"),
    "ensembles": ("ensemble_id", "column", "width", "values", "seed_start", "seed_stop"),
    "plans": ("suite", "suite_version", "problem", "optimizer", "phase", "member_ids"),
}


class UnusableError(Exception):
    """Why a shard is set aside."""


def again(act: Callable[[], T]) -> T:
    """The result of `act`, which is tried once more where a file server has lost the file that it had named."""
    try:
        return act()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return act()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def read_shard(path: Path, kind: str) -> pl.DataFrame:
    """The rows of a shard in today's schema.

    Raises:
        FileNotFoundError: there is none.
        UnusableError: it cannot be read, or is altered, empty or foreign.
        ConfigurationError: it is of a newer schema.
    """
    try:
        content = again(path.read_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableError(error.strerror or str(error)) from None
    if _digest(content) != path.stem:
        raise UnusableError("altered or torn: its name is not the checksum of its bytes")
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise UnusableError(f"no Parquet file: {' '.join(str(error).split())[:100]}") from None
    frame = _current(frame, kind, path)
    if frame.is_empty():
        raise UnusableError("without a row")
    if kind == "ensembles":
        _check_sizes(frame)
    return frame


def _check_sizes(frame: pl.DataFrame) -> None:
    """Every column of an ensemble has `width` numbers (0: one) per seed."""
    seeds = pl.col("seed_stop") - pl.col("seed_start")
    fits = pl.col("values").list.len().cast(pl.Int64) == seeds * pl.max_horizontal("width", 1)
    if not frame.select(fits.fill_null(False).all()).item():
        raise UnusableError("an ensemble of another size than its seeds")


def _current(frame: pl.DataFrame, kind: str, path: Path) -> pl.DataFrame:
    """The shard in today's schema: a newer one is refused, an older one gets null in the columns it lacks."""
    versioned = "schema_version" in frame.columns and frame.schema["schema_version"].is_integer()
    newest = (frame.select(pl.max("schema_version")).item() or 0) if versioned else 0
    if newest > SCHEMA_VERSION:
        raise ConfigurationError(
            "results_dir",
            path,
            f"schema_version <= {SCHEMA_VERSION} (this one has {newest}: update the code)",
        )
    schema = SCHEMAS[kind]
    if newest < 2:
        renamed = {old: new for old, new in RENAMED_IN_2.items() if old in frame.columns and new not in frame.columns}
        frame = frame.rename(renamed)
    for name in _KEYS[kind]:
        if name not in frame.columns:
            raise UnusableError(f"no shard of {kind}: without a column {name}")
    for name, dtype in schema.items():
        if name in frame.columns and frame.schema[name] not in (dtype, pl.Null):
            raise UnusableError(f"column {name} is of type {frame.schema[name]}, not {dtype}")
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in schema.items()
    )


def write_shard(folder: Path, frame: pl.DataFrame) -> None:
    """Write the rows of a shard into a folder, whole or not at all."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    content = buffer.getvalue()
    write_whole(folder / f"{_digest(content)}.parquet", content)
