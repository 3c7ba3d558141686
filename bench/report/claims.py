"""Claims as the page shows them: families with their rows and figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.claims.claim import FAMILIES
from bench.claims.document import apart_text, measured_text
from bench.report.columns import pack
from bench.report.data import Report

MOST_FIGURE_BYTES = 2_500_000  # of all figures together, compressed


def fitting_figures(figures: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The figures that fit, smallest first, and the names of those that do not."""
    kept: dict[str, str] = {}
    used = 0
    for name, text in sorted(figures.items(), key=lambda item: (len(item[1]), item[0])):
        used += len(pack(text))
        if used <= MOST_FIGURE_BYTES:
            kept[name] = text
    return kept, sorted(set(figures) - set(kept))


def families(report: Report, figures: Mapping[str, str]) -> list[dict[str, Any]]:
    """Families of claims with their rows, in the order of `FAMILIES`; families of other code come last."""
    entries = report.claims["claims"] if report.claims else []
    present = {entry["family"] for entry in entries}
    names = [*(name for name in FAMILIES if name in present), *sorted(present - set(FAMILIES))]
    result = []
    for name in names:
        rows = [
            {**entry, "measured_text": _measured(entry), "apart": apart_text(entry)}
            for entry in entries
            if entry["family"] == name
        ]
        result.append(
            {
                "name": name,
                "title": FAMILIES.get(name, name),
                "rows": rows,
                "verdicts": Counter(row["verdict"] for row in rows),
                "figure": name in figures,
            }
        )
    return result


def _measured(entry: Mapping[str, Any]) -> str:
    """As in claims.md; an end that JSON could not hold is infinite."""
    if entry["measured"] is None:
        return "-"
    low = -math.inf if entry["ci_low"] is None else entry["ci_low"]
    high = math.inf if entry["ci_high"] is None else entry["ci_high"]
    ends = None if entry["rule"] == "exact" else (low, high)
    return measured_text(entry["measured"], ends, entry["n"], entry["unit"])
