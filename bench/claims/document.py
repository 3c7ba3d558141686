"""claims.json: the document of a run of claims, read without computing anything."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from shb.errors import ConfigurationError

SCHEMA_VERSION = 1


def read_claims(path: Path) -> dict[str, Any] | None:
    """The document of a run of claims; None if there is none.

    Raises:
        ConfigurationError: it is damaged or of a newer schema.
    """
    if not path.exists():
        return None
    try:
        claims = json.loads(path.read_text())
        version, _ = claims["schema_version"], claims["claims"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError("claims.json", path, f"a file that `make claims` wrote ({error!r})") from None
    if version > SCHEMA_VERSION:
        allowed = f"schema_version <= {SCHEMA_VERSION} (this one has {version}: update the code)"
        raise ConfigurationError("claims.json", path, allowed)
    return claims


def counted_verdicts(claims: dict[str, Any]) -> dict[str, int]:
    """Verdict -> parts that count: tests of the theory, repeated numbers once. Documents of older code: all parts."""
    if "counts" in claims:
        return dict(claims["counts"]["verdicts"])
    return dict(Counter(entry["verdict"] for entry in claims["claims"]))


def apart_text(entry: dict[str, Any]) -> str:
    """Why a part does not count, in words; "" if it does."""
    status = entry.get("status", "TEST")
    words = [] if status == "TEST" else [status.lower()]
    return ", ".join([*words, *([f"as {entry['repeats']}"] if entry.get("repeats") else [])])


def measured_text(value: float, ends: tuple[float, float] | None, n: int, unit: str) -> str:
    """A measured value as text; `ends` of its 95 % interval, None for an exact number."""
    unit = f" {unit}" if unit else ""
    if ends is None:
        return f"{value:.3g}{unit} (exact, n = {n})"
    value, low, high = _digits(value, *ends)
    return f"{value}{unit} [{low}, {high}], n = {n}"


def _digits(value: float, low: float, high: float) -> list[str]:
    """The three numbers with as many decimals as the width of the interval supports (two digits of it)."""
    width = high - low
    if not (math.isfinite(width) and width > 0 and 0.01 <= abs(value) < 1e4):
        return [f"{number:.3g}" for number in (value, low, high)]
    decimals = max(0, 1 - math.floor(math.log10(width)))
    return [f"{number:.{decimals}f}" for number in (value, low, high)]
