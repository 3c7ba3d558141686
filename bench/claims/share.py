"""Predictions on the share of runs that something happens to: never, always, and with a known probability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.claims.experiment import Columns
from bench.claims.prediction import Prediction, point, tost
from bench.statistics.estimates import Proportion, upper_bound
from bench.statistics.inference import Region

RARE = 1e-3  # largest share that counts as "none", theory.md 5.0
RESOLUTION = 0.02  # of a probability


def count(columns: Columns, name: str) -> int:
    """Runs whose column `name` (0 or 1) is 1."""
    return int(columns[name].sum())


def share_of(columns: Columns, name: str) -> Proportion:
    """Share of the runs whose column `name` is 1."""
    return of_runs(columns[name])


def of_runs(hits: np.ndarray) -> Proportion:
    """Share of the runs [n] for which `hits` is true."""
    return Proportion(int(hits.sum()), len(hits))


def counted(share: Proportion, what: str) -> str:
    """ "3 of 1000 trapped", with the upper bound that no hit leaves."""
    bound = "" if share.hits else f" (95 % upper bound {upper_bound(share.n):.1e})"
    return f"{share.hits} of {share.n} {what}{bound}"


def never(what: str = "trapped", most: float = RARE) -> Prediction:
    """Share < `most`: a bound, because 0 of n shows no more than that."""
    return replace(tost(f"share {what} < {most:g}", Region(0.0, most), "share"), counted=what)


def always(what: str = "frozen", least: float = 1 - RARE) -> Prediction:
    """Share > `least`: a bound, because n of n shows no more than that."""
    return replace(tost(f"share {what} > {least:g}", Region(least, 1.0), "share"), counted=what)


def probability(target: float, what: str = "trapped", words: str = "") -> Prediction:
    """Share = `target`, known to RESOLUTION; `words` replaces those of the prediction."""
    words = words or f"share {what} = {target:g}"
    return replace(point(words, target, RESOLUTION, "share"), counted=what)
