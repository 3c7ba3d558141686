"""All claims by id, in the order of the catalogue (theory.md section 5)."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

from bench.claims.claim import FAMILIES, Claim


def _found() -> Iterator[Claim]:
    """The CLAIM of every module of a family's package."""
    for family in FAMILIES:
        package = importlib.import_module(f"bench.claims.{family}")
        for module in pkgutil.iter_modules(package.__path__):
            claim = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "CLAIM", None)
            if claim is not None:
                yield claim


def number(claim_id: str) -> int:
    """25 for CL25 and for CL25a."""
    return int(re.match(r"CL(\d+)", claim_id).group(1))


CLAIMS: dict[str, Claim] = {claim.id: claim for claim in sorted(_found(), key=lambda claim: number(claim.id))}
