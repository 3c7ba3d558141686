"""What a set of members says, as one number: for citations, archives and comparisons (docs/results.md).

    SHA-256 of one line per member, sorted by id, each ended by a newline:
    ID STATUS STEP METRIC=BITS METRIC=BITS ...

STEP is the step of divergence, or "-"; METRICs are those that are not null, in alphabetical order; BITS are the 16
hexadecimal digits of the float64, most significant first. So the hash knows neither shards nor order, neither times nor
machines, and no member but these.
"""

from __future__ import annotations

import hashlib
import struct

import polars as pl

from bench.store.schema import METRICS


def content_hash(members: pl.DataFrame) -> str:
    """64 hexadecimal digits for the rows `members` (columns MEMBER_SCHEMA, one row per id)."""
    lines = []
    names = sorted(METRICS)
    for member_id, status, step, *values in members.select("member_id", "status", "diverged_step", *names).iter_rows():
        metrics = (f"{name}={number_bits(value)}" for name, value in zip(names, values) if value is not None)
        lines.append(" ".join([member_id, status, "-" if step is None else str(step), *metrics]) + "\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def number_bits(value: float | None) -> str | None:
    """The 64 bits of a float64 as 16 hexadecimal digits, most significant first."""
    return None if value is None else struct.pack(">d", value).hex()
