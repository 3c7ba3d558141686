"""What a suite has planned: its pairs, the ids of their members, and what a reader of the results must know of them.

Made by a run (`bench.suite.suite.Suite.plan`) and kept in the store (`bench.plan.stored`), so that results are read
without composing configurations: every name and number here is as it was when the members were planned.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from bench.plan.winner import Winner, winner
from bench.store.store import rows_of

NEUTRAL = (
    "results_dir",
    "threads",
    "memory",
    "workers",
    "data_root",
    "download",
    "device",
    "engine",
    "logger",
    "plugins",
)  # fields that make no other suite


def changes_of(overrides: Sequence[str]) -> list[str]:
    """Those of the overrides that make it another suite than the one of its name."""
    return [one for one in overrides if one.lstrip("+~").split("=")[0].split(".")[0] not in NEUTRAL]


def suite_hash(raw: Mapping[str, object]) -> str:
    """Hash of what a suite measures: everything in its file but its name, its version and the record of hashes."""
    content = {key: value for key, value in raw.items() if key not in ("name", "version", "frozen")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def setting_key(hyperparameters: Mapping[str, float]) -> str:
    """The text by which a setting is found: JSON with sorted names, as in the column `hyperparameters` of members."""
    return json.dumps(dict(hyperparameters), sort_keys=True)


@dataclass(frozen=True)
class Target:
    """What "steps to target" means on one problem: the first evaluated step at which `metric` reaches `value`."""

    metric: str
    value: float


@dataclass(frozen=True)
class Pair:
    """One optimizer on one problem.

    Attributes:
        score: the validation metric that chooses among trials.
        target: of the problem, if the suite has one.
        space: search space, hyperparameter -> low, high, scale; {} if there is nothing to tune.
        engine, device: what its members are computed with.
        position: its place in the suite, from 0.
        setting: the given setting of a suite that does not tune; else None.
        trials: `setting_key` of every trial -> ids of its members, one per tuning seed.
        evaluations: `setting_key` of a winner -> ids of its members, one per evaluation seed. A winner is known when
            every trial is stored; several are there when the trials have been computed again with other bits.
    """

    problem: str
    optimizer: str
    score: str
    target: Target | None = None
    space: Mapping[str, Mapping] = field(default_factory=dict)
    engine: str = ""
    device: str = ""
    position: int = 0
    setting: Mapping[str, float] | None = None
    trials: Mapping[str, Sequence[str]] = field(default_factory=dict)
    evaluations: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def tuning_ids(self) -> list[str]:
        """Ids of the members of all trials."""
        return [one for ids in self.trials.values() for one in ids]

    def winner(self, members: pl.DataFrame) -> Winner | None:
        """The winning trial among stored `members`, or None while any trial is missing; the given setting, if any."""
        if self.setting is not None:
            return Winner(self.setting, math.nan, 0)
        ids = self.tuning_ids
        tuning = rows_of(members, ids).filter(pl.col("status") != "failed")
        return winner(tuning, self.score) if len(tuning) == len(set(ids)) else None

    def evaluation_ids(self, members: pl.DataFrame) -> list[str]:
        """Ids of the evaluation of the winner among stored `members`; [] while it is not known or not planned."""
        won = self.winner(members)
        return list(self.evaluations.get(setting_key(won.hyperparameters), ())) if won else []


@dataclass(frozen=True)
class SuitePlan:
    """A suite as it was planned.

    Attributes:
        suite, version: its name and version.
        content: `suite_hash` of its file.
        changes: overrides that make it another suite than the one of its name.
        trials, tuning_seeds: of every pair; 0 for a suite with given settings.
        evaluation_seeds: of every pair.
        count: number of pairs of the suite.
        pairs: in the order in which they run, by problem, and within it by optimizer; all, but where said otherwise.
    """

    suite: str
    version: int
    content: str
    changes: tuple[str, ...]
    trials: int
    tuning_seeds: int
    evaluation_seeds: int
    count: int
    pairs: tuple[Pair, ...] = ()

    @property
    def problems(self) -> list[str]:
        return list(dict.fromkeys(pair.problem for pair in self.pairs))

    @property
    def optimizers(self) -> list[str]:
        return list(dict.fromkeys(pair.optimizer for pair in self.pairs))

    @property
    def targets(self) -> dict[str, Target]:
        """Problem -> its target, where it has one."""
        return {pair.problem: pair.target for pair in self.pairs if pair.target is not None}

    @property
    def tunes(self) -> bool:
        """Whether settings are searched, not given."""
        return self.trials > 0

    @property
    def size(self) -> int:
        """Number of planned members."""
        return sum(len(pair.tuning_ids) + self.evaluation_seeds for pair in self.pairs)

    @property
    def title(self) -> str:
        """Name and version, and what was changed: a table must not pass for the suite if it is not."""
        changes = f" CHANGED by {' '.join(self.changes)}" if self.changes else ""
        return f"{self.suite} v{self.version}{changes}"

    @property
    def protocol(self) -> str:
        """What every optimizer got, in words."""
        if not self.tunes:
            return f"one given setting, not tuned, on {self.evaluation_seeds} seeds"
        return (
            f"{self.trials} Sobol trials x {self.tuning_seeds} tuning seeds scored on the validation part, then the "
            f"best setting on {self.evaluation_seeds} fresh seeds"
        )

    def pair(self, problem: str, optimizer: str) -> Pair:
        """The pair of these names; KeyError if there is none."""
        for pair in self.pairs:
            if (pair.problem, pair.optimizer) == (problem, optimizer):
                return pair
        raise KeyError((problem, optimizer))

    def ids(self, members: pl.DataFrame) -> list[str]:
        """Ids of the planned members: every trial, and the evaluation of each winner that stored `members` know."""
        found = (one for pair in self.pairs for one in (*pair.tuning_ids, *pair.evaluation_ids(members)))
        return list(dict.fromkeys(found))
