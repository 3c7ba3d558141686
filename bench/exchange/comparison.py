"""Two sets of members compared: which changed bits, which cells differ beyond their noise.

A member asks a question (problem, optimizer, hyperparameters, seed) and says how it was answered (engine, numerics,
device), which decides its last bits. Members of both sides with the same question are a pair. Pairs with the same id
should have equal bits, if one kind of machine computed both. Pairs of a cell (a question without its seed) are tested
together: where last bits alone differ, training may amplify them, but without preference for one side.

Per cell and loss: p-value of "the mean difference b - a over the same seeds is at most MARGIN", from Student's t
interval (Welch's, where the sides have no two seeds in common). Per cell: Fisher's exact test of the diverged seeds.
All p-values of a comparison are corrected by Holm (1979), at level ALPHA. A cell whose common seeds all diverge on
one side and none on the other differs, whatever a test of two or three seeds can say. A cell of one seed has no noise
to be compared with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bench.statistics.estimates import Mean, MeanDifference
from bench.statistics.inference import ALPHA, Region, fisher_exact, holm, p_outside
from bench.store.environment import TIED_TO
from bench.store.schema import METRICS
from shb.errors import ConfigurationError, shown

MARGIN = 1e-5  # of the mean of a: what rounding does to every seed alike
LOSSES = ("train_loss", "test_loss")  # accuracies of few seeds differ by the same number of samples by chance
_RESULTS = ("status", "diverged_step", *METRICS)


@dataclass(frozen=True)
class Pair:
    """The same question on both sides; rows of MEMBER_SCHEMA."""

    a: Mapping[str, Any]
    b: Mapping[str, Any]

    @property
    def same_id(self) -> bool:
        return self.a["member_id"] == self.b["member_id"]

    @property
    def same_machine(self) -> bool:
        """The same id, and a CPU of the same type with as many threads and the same torch: bits must be equal."""
        return self.same_id and self.a["device"] == "cpu" and all(self.a[name] == self.b[name] for name in TIED_TO)

    @property
    def changed(self) -> str:
        """The first result in which they differ, "" if every bit is equal."""
        return next((name for name in _RESULTS if repr(self.a[name]) != repr(self.b[name])), "")


@dataclass(frozen=True)
class CellTest:
    """One test of one cell: `difference` is mean b - mean a (of diverged: shares), `p` the value before Holm.

    `flipped`: every common seed diverged on one side and none on the other.
    """

    problem: str
    optimizer: str
    hyperparameters: str
    what: str
    seeds: int
    a: float
    difference: float
    p: float
    flipped: bool = False
    p_holm: float = math.nan

    @property
    def differs(self) -> bool:
        return self.flipped or self.p_holm < ALPHA


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common, and what not.

    Attributes:
        pairs: the same question on both sides.
        only_a, only_b: rows whose question the other side lacks.
        tests: one per cell and loss, and one for the diverged seeds where there are any.
        untested: cells with one seed on a side.
    """

    pairs: Sequence[Pair]
    only_a: Sequence[Mapping[str, Any]]
    only_b: Sequence[Mapping[str, Any]]
    tests: Sequence[CellTest]
    untested: int

    @property
    def broken(self) -> list[Pair]:
        """Other bits on the same kind of machine."""
        return [pair for pair in self.pairs if pair.same_machine and pair.changed]

    @property
    def differing(self) -> list[CellTest]:
        return sorted((test for test in self.tests if test.differs), key=lambda test: test.p)

    @property
    def equal(self) -> bool:
        """Nothing differs but, perhaps, last bits of other machines, engines or numerics."""
        return not (self.only_a or self.only_b or self.broken or self.differing)


def compare(a: pl.DataFrame, b: pl.DataFrame) -> Comparison:
    """Compare the computed members `a` with `b` (rows of MEMBER_SCHEMA; failed ones do not count)."""
    sides = [_by_question(frame) for frame in (a, b)]
    common = [question for question in sides[0] if question in sides[1]]
    pairs = [_pair(sides[0][question], sides[1][question]) for question in common]
    only = [
        [_first(rows) for question, rows in mine.items() if question not in other]
        for mine, other in (sides, sides[::-1])
    ]
    cells: list[dict[str, list]] = [{}, {}]
    for mine, cell_rows in zip(sides, cells):
        for question, rows in mine.items():
            cell_rows.setdefault(question[0], []).append((question[1], _first(rows)))
    paired: dict[str, list[Pair]] = {}
    for question, pair in zip(common, pairs):
        paired.setdefault(question[0], []).append(pair)
    tests, untested = [], 0
    for cell in [cell for cell in cells[0] if cell in cells[1]]:
        if len(paired.get(cell, ())) >= 2:
            tests += _tests([p.a for p in paired[cell]], [p.b for p in paired[cell]], paired=True)
        elif min(len(cells[0][cell]), len(cells[1][cell])) >= 2:
            tests += _tests(*([row for _, row in side[cell]] for side in cells), paired=False)
        else:
            untested += 1
    adjusted = holm([test.p for test in tests]) if tests else []
    tests = [CellTest(**{**vars(test), "p_holm": float(p)}) for test, p in zip(tests, adjusted)]
    return Comparison(pairs, *only, tests, untested)


def _by_question(members: pl.DataFrame) -> dict[tuple[str, int], dict[str, Mapping[str, Any]]]:
    """(cell, seed) -> id -> the member that was created first."""
    found: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in members.filter(pl.col("status") != "failed").sort("created", maintain_order=True).iter_rows(named=True):
        try:
            spec = json.loads(row["spec"])
            problem = {name: value for name, value in spec["problem"].items() if name != "device"}
            question = {n: v for n, v in spec.items() if n not in ("numerics", "engine", "seed")} | {"problem": problem}
        except (TypeError, ValueError, KeyError, AttributeError):
            raise ConfigurationError("spec", shown(row["spec"]), f"that of member {row['member_id']}") from None
        found.setdefault((json.dumps(question, sort_keys=True), row["seed"]), {}).setdefault(row["member_id"], row)
    return found


def _first(rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(iter(rows.values()))


def _pair(a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]) -> Pair:
    """The same id on both sides, if there is one."""
    same = next((member_id for member_id in a if member_id in b), None)
    return Pair(_first(a), _first(b)) if same is None else Pair(a[same], b[same])


def _tests(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], *, paired: bool) -> list[CellTest]:
    """Of one cell: rows of both sides, `paired` if they have the same seeds in the same order."""
    shared = {name: a[0][name] for name in ("problem", "optimizer", "hyperparameters")}
    tests = []
    lost = [sum(row["status"] == "diverged" for row in side) for side in (a, b)]
    if any(lost):
        p = fisher_exact(lost[0], len(a), lost[1], len(b))
        shares = lost[0] / len(a), lost[1] / len(b)
        counted = {"what": "diverged", "seeds": len(a), "a": shares[0], "difference": shares[1] - shares[0], "p": p}
        tests.append(CellTest(**shared, **counted, flipped=paired and set(shares) == {0.0, 1.0}))
    for loss in LOSSES:
        if paired:
            both = [(x[loss], y[loss]) for x, y in zip(a, b) if _is_finite(x[loss]) and _is_finite(y[loss])]
            values = [[pair[i] for pair in both] for i in (0, 1)]
        else:
            values = [[row[loss] for row in side if _is_finite(row[loss])] for side in (a, b)]
        if min(map(len, values)) < 2:
            continue
        mean = sum(values[0]) / len(values[0])
        estimate = Mean([y - x for x, y in zip(*values)]) if paired else MeanDifference(values[1], values[0])
        margin = MARGIN * abs(mean)
        p = p_outside(estimate, Region(-margin, margin))
        tests.append(CellTest(**shared, what=loss, seeds=len(values[0]), a=mean, difference=estimate.value, p=p))
    return tests


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
