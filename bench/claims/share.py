"""The three predictions on the share of runs that something happens to: never, always, and with a known probability."""

from __future__ import annotations

from typing import Any

from bench.claims.claim import Control, Observed, Part
from bench.claims.experiment import Columns
from bench.statistics.estimates import Proportion, upper_bound
from bench.statistics.inference import Region

RARE = 1e-3  # largest share that counts as "none", theory.md 5.0
RESOLUTION = 0.02  # largest half-width of an interval that confirms a probability


def count(columns: Columns, name: str) -> int:
    """Runs whose column `name` (0 or 1) is 1."""
    return int(columns[name].sum())


def share_of(columns: Columns, name: str) -> Proportion:
    """Share of the runs whose column `name` is 1."""
    return Proportion(count(columns, name), len(columns[name]))


def shown(hits: int, n: int, what: str) -> str:
    """ "3 of 1000 trapped", with the upper bound that no hit leaves."""
    return f"{hits} of {n} {what}" + ("" if hits else f" (95 % upper bound {upper_bound(n):.1e})")


def never(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control | Observed, ...],
    *,
    what: str = "trapped",
    most: float = RARE,
    note: str = "",
) -> Part:
    """The part "share < most": a bound, because 0 of n shows no more than that."""
    note = " ".join([f"{shown(hits, n, what)}.", note]).strip()
    region = Region(0.0, most)
    return _part(part, title, source, hits, n, controls, "tost", f"share {what} < {most:g}", note, region=region)


def always(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control | Observed, ...],
    *,
    what: str = "frozen",
    least: float = 1 - RARE,
    note: str = "",
) -> Part:
    """The part "share > least": a bound, because n of n shows no more than that."""
    predicted = f"share {what} > {least:g}"
    return _part(part, title, source, hits, n, controls, "tost", predicted, note, region=Region(least, 1.0))


def probability(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control | Observed, ...],
    target: float,
    *,
    what: str = "trapped",
    predicted: str = "",
    note: str = "",
) -> Part:
    """The part "share = target", known to RESOLUTION; `predicted` replaces the words of the prediction."""
    predicted = predicted or f"share {what} = {target:g}"
    point = {"target": target, "resolution": RESOLUTION}
    return _part(part, title, source, hits, n, controls, "contains", predicted, note, **point)


def _part(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control | Observed, ...],
    rule: str,
    predicted: str,
    note: str,
    **prediction: Any,
) -> Part:
    return Part(
        part,
        title,
        source,
        predicted,
        Proportion(hits, n),
        rule,
        controls,
        unit="share",
        note=note,
        **prediction,
    )
