"""What the report shows, gathered from the plan and the store; nothing is computed that is not stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from bench.claims.document import read_claims
from bench.leaderboard.entry import Entry, entries
from bench.plan.coverage import Coverage, coverage
from bench.plan.plan import SuitePlan
from bench.report.curves import Curves, make_curves
from bench.store.store import Store


@dataclass(frozen=True)
class Seeds:
    """The value of every evaluation seed behind one row of the leaderboard.

    `values` are None for a diverged seed (then `diverged` has its step) and for a missed target.
    """

    problem: str
    optimizer: str
    metric: str
    seeds: list[int]
    values: list[float | None]
    diverged: list[int | None]


@dataclass
class Report:
    """Everything on the page.

    Attributes:
        document: what leaderboard.json holds; sections and fields that it lacks are left out of the page.
        members: all member rows of the store, with the column `phase`: evaluation, tuning, other (not of the suite).
        coverage: of every phase of every pair.
        claims: claims.json, or None where no claims were run.
        figures: family of claims -> its SVG.
        faults: a line for everything in the store that was left out.
    """

    plan: SuitePlan
    folder: Path
    document: Mapping[str, Any]
    members: pl.DataFrame
    coverage: list[Coverage]
    seeds: list[Seeds]
    curves: list[Curves]
    claims: dict | None
    figures: dict[str, str]
    faults: list[str] = field(default_factory=list)

    @property
    def planned(self) -> int:
        return sum(one.planned for one in self.coverage)

    @property
    def stored(self) -> int:
        return sum(one.stored for one in self.coverage)

    @property
    def optimizers(self) -> list[str]:
        return self.plan.optimizers

    @property
    def sensitivity(self) -> list[dict[str, Any]]:
        """Entries of `sensitivity` in the document that have points, which are in the order of x."""
        entries = self.document.get("sensitivity") or ()
        return [{**s, "points": sorted(s["points"], key=lambda point: point["x"])} for s in entries if s["points"]]

    def rows(self, problem: str, metric: str | None = None) -> list[dict]:
        """Leaderboard rows of a problem, and of a metric."""
        own = (row for row in self.document["rows"] if row["problem"] == problem)
        return [row for row in own if metric in (None, row["metric"])]


def gather(plan: SuitePlan, store: Store, document: Mapping[str, Any]) -> Report:
    """Collect the report of `document`, which `bench.leaderboard.document.leaderboard` made from the same plan and
    store.

    Raises:
        ConfigurationError: claims.json is damaged or of a newer schema.
    """
    members = store.members()
    phases: dict[str, str] = {}
    names: dict[str, str] = {}  # of problems in the suite, which may be others than those of their members
    seeds, curves = [], []
    for entry in (entry for found in entries(plan, store).values() for entry in found):
        pair = plan.pair(entry.problem, entry.optimizer)
        for phase, ids in (("tuning", pair.tuning_ids), ("evaluation", pair.evaluation_ids(members))):
            phases.update(dict.fromkeys(ids, phase))
            names.update(dict.fromkeys(ids, entry.problem))
        if entry.hyperparameters:
            seeds += [_seeds(entry, metric) for metric in entry.values]
            stored = store.curves(entry.evaluation["member_id"].to_list())
            curves += make_curves(entry.problem, entry.optimizer, entry.evaluation, stored)
    roles = [phases.get(member_id, "other") for member_id in members["member_id"]]
    problem = [names.get(*pair) for pair in members.select("member_id", "problem").iter_rows()]
    claims = read_claims(store.folder / "claims" / "claims.json")
    return Report(
        plan=plan,
        folder=store.folder,
        document=document,
        members=members.with_columns(
            pl.Series("phase", roles, dtype=pl.String), pl.Series("problem", problem, dtype=pl.String)
        ),
        coverage=coverage(plan, store),
        seeds=seeds,
        curves=curves,
        claims=claims,
        figures=_figures(store.folder / "claims" / "figures", claims),
        faults=store.faults(),
    )


def _seeds(entry: Entry, metric: str) -> Seeds:
    diverged = entry.evaluation["diverged_step"].to_list()
    values = [
        None if step is not None or not math.isfinite(value) else value
        for step, value in zip(diverged, entry.values[metric])
    ]
    return Seeds(entry.problem, entry.optimizer, metric, entry.evaluation["seed"].to_list(), values, diverged)


def _figures(folder: Path, claims: Mapping[str, Any] | None) -> dict[str, str]:
    """SVG of every family that the claims name and that was drawn."""
    families: Sequence[str] = list(dict.fromkeys(entry["family"] for entry in claims["claims"])) if claims else ()
    known = {path.stem: path for path in sorted(folder.glob("*.svg"))}
    return {family: known[family].read_text() for family in families if family in known}
