"""Optimizers at comparable steps, and the two predictions on shares that this family makes: never, and always."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Control, Part
from bench.claims.experiment import Columns
from bench.estimates import Proportion, upper_bound
from bench.inference import Region

RARE = 1e-3  # largest share that counts as "none", theory.md 5.0
OPTIMIZERS: Mapping[str, tuple[str, ...]] = {  # one effective step, 0.2, for the first three
    "sgd": ("optimizer=sgd", "optimizer.lr=0.2"),
    "shb": ("optimizer=shb", "optimizer.lr=0.02", "optimizer.momentum=0.9"),
    "nesterov": ("optimizer=nesterov", "optimizer.lr=0.02", "optimizer.momentum=0.9"),
    "adam": ("optimizer=adam", "optimizer.lr=0.01"),
}


def count(columns: Columns, name: str) -> int:
    """Runs whose column `name` (0 or 1) is 1."""
    return int(columns[name].sum())


def shown(hits: int, n: int, what: str) -> str:
    """ "3 of 1000 trapped", with the upper bound that no hit leaves."""
    return f"{hits} of {n} {what}" + ("" if hits else f" (95 % upper bound {upper_bound(n):.1e})")


def frozen(columns: Columns) -> np.ndarray:
    """bool [n]: a run from w_0 = 0 all of whose iterates were exactly 0."""
    return (columns["sup_norm"] == 0) & (columns["diverged"] == 0)


def never(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control, ...],
    *,
    what: str = "trapped",
    most: float = RARE,
    note: str = "",
) -> Part:
    """The part "share < most": a bound, because 0 of n shows no more than that."""
    return Part(
        part,
        title,
        source,
        f"{what} share < {most:g}",
        Proportion(hits, n),
        "tost",
        controls,
        region=Region(0.0, most),
        unit="share",
        note=" ".join([f"{shown(hits, n, what)}.", note]).strip(),
    )


def always(
    part: str,
    title: str,
    source: str,
    hits: int,
    n: int,
    controls: tuple[Control, ...],
    *,
    what: str = "frozen",
    note: str = "",
) -> Part:
    """The part "share > 1 - RARE"."""
    return Part(
        part,
        title,
        source,
        f"{what} share > {1 - RARE:g}",
        Proportion(hits, n),
        "tost",
        controls,
        region=Region(1 - RARE, 1.0),
        unit="share",
        note=note,
    )
