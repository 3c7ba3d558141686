"""An experiment: a named measurement of many seeds, computed once and stored as ensembles.

A measure is a function `(settings, seeds) -> {column: [n] or [n, width]}` whose row i depends on `settings` and
`seeds[i]` only. An ensemble is a block of consecutive seeds of one experiment: the unit that is computed, stored
and resumed; its identity is a hash of measure, settings and seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.store.environment import environment
from bench.store.identity import canonical, identity
from bench.store.store import Store
from shb.errors import choose

Columns = dict[str, np.ndarray]  # name -> [n] or [n, width], one row per seed
MeasureFunction = Callable[[Mapping[str, Any], np.ndarray], Mapping[str, Any]]

CHUNK = 16_384  # seeds of one ensemble, unless the experiment says otherwise


@dataclass(frozen=True)
class Measure:
    """A function with the version of its numbers (raised when a change of code changes what it returns)."""

    function: MeasureFunction
    version: int


MEASURES: dict[str, Measure] = {}


def measure(name: str, version: int = 1) -> Callable[[MeasureFunction], MeasureFunction]:
    """Decorator that registers a measure under `name`."""

    def register(function: MeasureFunction) -> MeasureFunction:
        if name in MEASURES:
            raise KeyError(f"two measures called {name}")
        MEASURES[name] = Measure(function, version)
        return function

    return register


@dataclass(frozen=True)
class Experiment:
    """`measure` with `settings`, for the seeds first_seed .. first_seed + seeds - 1.

    Args:
        measure: a name in MEASURES.
        settings: JSON-like; everything but the seed that determines the result.
        seeds: number of seeds, the unit of replication.
        chunk: seeds of one ensemble; a run of more seeds reuses the ensembles of a shorter one that are full.
        seconds: expected time of all seeds, for the time left.
    """

    measure: str
    settings: Mapping[str, Any]
    seeds: int = 1
    first_seed: int = 0
    chunk: int = CHUNK
    seconds: float = field(default=1.0, compare=False)

    def __post_init__(self) -> None:
        choose("measure", self.measure, MEASURES)

    def blocks(self) -> list[tuple[int, int]]:
        """[start, stop) of the seeds of each ensemble."""
        stop = self.first_seed + self.seeds
        return [(start, min(start + self.chunk, stop)) for start in range(self.first_seed, stop, self.chunk)]

    def spec(self, start: int, stop: int) -> dict[str, Any]:
        """What the identity of an ensemble is the hash of."""
        version = MEASURES[self.measure].version
        return {"measure": self.measure, "version": version, "settings": self.settings, "seeds": [start, stop]}

    def ensemble_id(self, start: int, stop: int) -> str:
        return identity(self.spec(start, stop))

    def missing(self, store: Store) -> list[tuple[int, int]]:
        """Blocks of seeds that the store lacks."""
        known = store.ensemble_ids()
        return [block for block in self.blocks() if self.ensemble_id(*block) not in known]

    def compute(self, store: Store, finished: Callable[[float], None] = lambda seconds: None) -> None:
        """Compute and store what the store lacks; `finished(expected seconds)` after each ensemble."""
        for start, stop in self.missing(store):
            clock = time.monotonic()
            seeds = np.arange(start, stop)
            columns = {
                name: np.asarray(values, np.float64)
                for name, values in MEASURES[self.measure].function(self.settings, seeds).items()
            }
            for name, values in columns.items():
                if values.shape[0] != len(seeds) or values.ndim > 2:
                    raise ValueError(f"measure {self.measure}: column {name} {values.shape} for {len(seeds)} seeds")
            store.write_ensemble(
                columns,
                ensemble_id=self.ensemble_id(start, stop),
                measure=self.measure,
                spec=canonical(self.spec(start, stop)),
                seed_start=start,
                seed_stop=stop,
                seconds=time.monotonic() - clock,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                **environment("cuda" if self.settings.get("device") == "cuda" else "cpu"),
            )
            finished(self.seconds * (stop - start) / self.seeds)

    def load(self, store: Store) -> Columns:
        """The stored columns of all seeds, in the order of the seeds."""
        parts = [store.ensemble(self.ensemble_id(*block)) for block in self.blocks()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
