"""Tables as the page carries them: columns, dictionary-encoded, as compressed text."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

DIGITS = 6  # significant digits of measured numbers on the page; the store has all


def column(values: Sequence[Any]) -> dict[str, list]:
    """A column as JSON: {"values": [...]}, or {"entries": [...], "codes": [...]} where values repeat (null: code -1).

    Non-finite numbers become null.
    """
    values = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    entries: dict[Any, int] = {}
    codes = [-1 if v is None else entries.setdefault(v, len(entries)) for v in values]
    if len(entries) > len(values) // 4 + 1:
        return {"values": values}
    return {"entries": list(entries), "codes": codes}


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """`values` with DIGITS significant digits; None stays."""
    return [None if v is None else float(f"{v:.{DIGITS}g}") for v in values]


def pack(content: Any) -> str:
    """JSON, gzip, base64. The text has no character that means anything in HTML, whatever the content holds.

    Equal contents give equal texts. Raises ValueError for NaN and infinity, which JSON lacks.
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def unpack(text: str) -> Any:
    """The inverse of `pack`."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
