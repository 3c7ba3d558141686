"""The identity of what is stored: a hash of the text of its spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(spec: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no blanks: the text whose hash is an identity."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def identity(spec: Mapping[str, Any]) -> str:
    """The first 16 digits of the SHA-256 of a spec's canonical text."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()[:16]
