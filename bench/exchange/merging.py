"""Several stores as one: members, curves, ensembles and plans, each once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bench.store.environment import TIED_TO
from bench.store.schema import CURVE_METRICS, METRICS, PLAN_SCHEMA, SCHEMAS
from bench.store.store import Store
from shb.errors import ConfigurationError

_KEY = {"members": "member_id", "curves": "member_id", "ensembles": "ensemble_id", "plans": "suite"}
_RESULTS = ("status", "diverged_step", *METRICS)
_PLACE = ("source", "shard", "row")  # of a row: number of its store, of its shard there, of the row there


@dataclass(frozen=True)
class Merged:
    """What happened: ids by kind, members that were there twice, those of them with other bits, what was left out."""

    ids: dict[str, int]
    double: int
    other_bits: int
    faults: tuple[str, ...]


def merge(sources: Sequence[Store], target: Path) -> Merged:
    """Write the store `target` (a new folder).

    Raises:
        ConfigurationError: `target` exists or lies in a source; or two sources contradict each other.
    """
    if target.exists() or target.is_symlink():
        raise ConfigurationError("-o", target, "a folder that does not exist yet")
    for source in sources:
        if target.resolve().is_relative_to(source.folder.resolve()):
            raise ConfigurationError("-o", target, f"a folder outside of {source.folder}, which is not changed")
    rows = {kind: _rows(sources, kind) for kind in SCHEMAS}
    rows["members"] = _with_curves(sources, rows["members"])
    _check_identities(sources, rows["members"])
    double, other_bits = _check_members(sources, rows["members"])
    _check_ensembles(sources, rows["ensembles"])
    members = _first(rows["members"], ["member_id"])
    kept = {
        "members": members,
        "curves": _curves(sources, rows, members),
        "ensembles": _first(rows["ensembles"], ["ensemble_id", "column"]),
        "plans": rows["plans"].unique(list(PLAN_SCHEMA), keep="first", maintain_order=True),
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for kind in ("plans", "curves", "members", "ensembles"):
            _write(sources, kind, kept[kind], Store(temporary))
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    ids = {kind: kept[kind][_KEY[kind]].n_unique() for kind in SCHEMAS}
    return Merged(ids, double, other_bits, tuple(line for source in sources for line in source.faults()))


def _rows(sources: Sequence[Store], kind: str) -> pl.DataFrame:
    """All rows of all sources, with their _PLACE."""
    frames = [
        frame.with_row_index("row").with_columns(pl.lit(i).alias("source"), pl.lit(j).alias("shard"))
        for i, source in enumerate(sources)
        for j, frame in enumerate(source.shards(kind).values())
    ]
    nothing = pl.DataFrame(schema={"row": pl.UInt32, **SCHEMAS[kind], "source": pl.Int32, "shard": pl.Int32})
    return pl.concat([nothing, *frames])


def _with_curves(sources: Sequence[Store], members: pl.DataFrame) -> pl.DataFrame:
    """The rows without those that count as lacking in their own store: another may have their curve."""
    for i, source in enumerate(sources):
        source.members()
        lacking = pl.col("member_id").is_in(list(source.without_curve)) & pl.col("status").is_in(["done", "diverged"])
        members = members.filter(~((pl.col("source") == i) & lacking))
    return members


def _first(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The row of each key that a store would show: computed before failed, then the first that was created."""
    order = [pl.col("status") == "failed"] if "status" in rows.columns else []
    return rows.sort(*order, "created", "source", maintain_order=True).unique(key, keep="first", maintain_order=True)


def _check_identities(sources: Sequence[Store], members: pl.DataFrame) -> None:
    """A member's id is the hash of its spec."""
    for member_id, spec, source in members.select("member_id", "spec", "source").iter_rows():
        if spec is None or hashlib.sha256(spec.encode()).hexdigest()[:16] != member_id:
            raise ConfigurationError("member", member_id, f"the hash of its spec (in {sources[source].folder})")


def _check_members(sources: Sequence[Store], members: pl.DataFrame) -> tuple[int, int]:
    """Refuse contradictions; the number of members that are there twice, and of those with other last bits."""
    double = other_bits = 0
    repeated = members.filter((pl.col("status") != "failed") & pl.struct("member_id").is_duplicated())
    for _, group in repeated.group_by("member_id", maintain_order=True):
        first, *others = group.iter_rows(named=True)
        double += bool(others)
        other_bits += any(_different(first, row, _RESULTS) for row in others)
        _refuse_contradictions(sources, group, _RESULTS)
    return double, other_bits


def _check_ensembles(sources: Sequence[Store], ensembles: pl.DataFrame) -> None:
    repeated = ensembles.filter(pl.struct("ensemble_id", "column").is_duplicated())
    for _, group in repeated.group_by("ensemble_id", "column", maintain_order=True):
        _refuse_contradictions(sources, group, ("width", "values"))


def _refuse_contradictions(sources: Sequence[Store], group: pl.DataFrame, columns: Sequence[str]) -> None:
    """No two rows of `group`, which have one id, may differ if one kind of machine computed both."""
    seen: dict[tuple, dict[str, Any]] = {}
    for row in group.iter_rows(named=True):
        if row["device_name"] != "cpu":
            continue
        machine = tuple(row[name] for name in TIED_TO)
        other = seen.setdefault(machine, row)
        column = _different(other, row, columns)
        if column:
            _refuse(sources, other, row, f"{column} is {_shown(other[column])} and {_shown(row[column])}")


def _different(one: dict[str, Any], other: dict[str, Any], columns: Sequence[str]) -> str:
    """The first column in which two rows differ (NaN equals NaN); "" if there is none."""
    return next((name for name in columns if repr(one[name]) != repr(other[name])), "")


def _refuse(sources: Sequence[Store], one: dict[str, Any], other: dict[str, Any], what: str) -> None:
    key = "member_id" if "member_id" in one else "ensemble_id"
    places = " and ".join(f"{sources[r['source']].folder} (code {r['code_commit']})" for r in (one, other))
    machine = ", ".join(f"{name} {one[name]}" for name in TIED_TO)
    raise ConfigurationError(
        key, one[key], f"the same numbers in {places}, both computed with {machine}; but {what}. Nothing was written"
    )


def _shown(value: Any) -> str:
    return str(value) if not isinstance(value, list) else f"a list of {len(value)} numbers"


def _curves(sources: Sequence[Store], rows: dict[str, pl.DataFrame], members: pl.DataFrame) -> pl.DataFrame:
    """Curve rows to keep: those of the member's own source, or else of one that has the same numbers.

    Curves without a member, which a killed run leaves, are kept from the first source that has them.
    """
    curves = rows["curves"].unique(["source", "member_id", "step"], keep="first", maintain_order=True)
    chosen = members.select("member_id", pl.col("source").alias("own"), *_RESULTS, *TIED_TO, "device_name")
    alike = rows["members"].join(chosen, on="member_id", suffix="_chosen", nulls_equal=True)
    alike = alike.filter(pl.all_horizontal(pl.col(n).eq_missing(pl.col(f"{n}_chosen")) for n in _RESULTS))
    _check_curves(sources, curves, alike)
    fitting = curves.join(alike.select("member_id", "source", "own").unique(), on=["member_id", "source"])
    orphans = curves.join(members.select("member_id"), on="member_id", how="anti").with_columns(own=pl.col("source"))
    candidates = pl.concat([fitting, orphans.select(fitting.columns)])
    best = (
        candidates.sort(pl.col("source") != pl.col("own"), "source", maintain_order=True)
        .unique("member_id", keep="first", maintain_order=True)
        .select("member_id", "source")
    )
    return candidates.join(best, on=["member_id", "source"])


def _check_curves(sources: Sequence[Store], curves: pl.DataFrame, alike: pl.DataFrame) -> None:
    """Equal members of one kind of machine have equal curves."""
    same = alike.filter(
        (pl.col("device_name") == "cpu")
        & pl.all_horizontal(pl.col(n).eq_missing(pl.col(f"{n}_chosen")) for n in (*TIED_TO, "device_name"))
    )
    where = same.select("member_id", "source", "code_commit", *TIED_TO).unique(["member_id", "source"])
    rows = curves.join(where, on=["member_id", "source"])
    repeated = rows.filter(pl.struct("member_id", "step").is_duplicated())
    for _, group in repeated.group_by("member_id", "step", maintain_order=True):
        first, *others = group.iter_rows(named=True)
        for row in others:
            if column := _different(first, row, CURVE_METRICS):
                _refuse(sources, first, row, f"{column} at step {row['step']} is {first[column]} and {row[column]}")


def _write(sources: Sequence[Store], kind: str, kept: pl.DataFrame, target: Store) -> None:
    """Copy the shards all of whose rows are kept, and write the kept rows of the others."""
    wanted = dict(kept.select(_PLACE).group_by("source", "shard"))
    for i, source in enumerate(sources):
        for j, (path, frame) in enumerate(source.shards(kind).items()):
            rows = wanted[i, j]["row"].sort() if (i, j) in wanted else []
            if len(rows) == len(frame):
                folder = target.folder / kind
                folder.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / path.name)
            elif len(rows):
                target.write_frame(kind, frame[rows])
