"""The pairs (problem, optimizer) of a suite in several processes of one thread each, which write into one store.

Two stacks of one thread each are faster than one of two threads: threads wait for each other at every small operation.
A member's bits do not depend on it.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from bench.cell.cell import Cell
from bench.cell.config import Config
from bench.cell.memory import room_for_workers
from bench.execution.processes import CONTEXT, worker_pool
from bench.execution.runner import Failure, run_cell
from bench.plan.stored import write_plan
from bench.store.store import Store
from bench.suite.suite import Suite, load_suite
from bench.terminal.progress import Reporter

WORTH = 1e12  # work (bench/cell/cost.py) from which starting processes pays: about 20 s on two cores


@dataclass(frozen=True)
class PairResult:
    """What became of a pair: the engine of its cells, and their failures."""

    engine: str
    failures: Sequence[Failure]


def run_pair(
    suite: Suite, problem: str, optimizer: str, store: Store, reporter: Reporter, memory: float | None
) -> PairResult:
    """Tune, then evaluate the winner (or the given setting); what is stored is not computed again.

    The pair's plan is stored before each of the two, under the engine that is chosen for it then.
    """

    def planned(cell: Cell) -> None:
        suite.settle(problem, cell)
        write_plan(store, suite.plan(store.members(), [(problem, optimizer)]))

    tuning, failure = run_cell(suite.tuning_cell(problem, optimizer), store, reporter, memory, planned)
    planned(tuning)
    failures = [failure]
    evaluation = suite.evaluation(problem, optimizer, store.members())
    if evaluation is not None:  # else the tuning failed
        given = None if tuning.ids else lambda cell: planned(tuning.under(cell.engine))  # which has chosen the engine
        evaluation, failure = run_cell(evaluation, store, reporter, memory, given)
        failures.append(failure)
        tuning = tuning if tuning.ids else tuning.under(evaluation.engine)
        suite.settle(problem, tuning)
    return PairResult(tuning.engine, [failure for failure in failures if failure])


def worker_count(config: Config, pairs: int, amount: float) -> int:
    """Processes for `pairs` that are `amount` of work: one per thread, on a CPU, where that pays and has room."""
    if config.workers is not None:
        return max(1, min(config.workers, pairs))
    if amount < WORTH or config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available()):
        return 1
    return max(1, min(config.threads or torch.get_num_threads(), pairs, room_for_workers()))


def run_pairs(suite: Suite, config: Config, reporter: Reporter, count: int) -> Iterator[tuple[str, str, PairResult]]:
    """Run all pairs of `suite` in `count` processes; yield each as it ends.

    Raises:
        WorkerError: a process was killed (memory?); what it had finished is stored.
    """
    events = CONTEXT.Queue()
    threads = config.threads or torch.get_num_threads()
    options = (suite.name, list(suite.overrides), config.results_dir, config.memory, events)
    with worker_pool(count, threads, _start, *options) as pool:
        waiting: dict[tuple[str, str], Future] = {pair: pool.submit(_run, *pair) for pair in suite.pairs()}
        while waiting:
            _forward(events, reporter)
            for pair in [pair for pair, future in waiting.items() if future.done()]:
                result = waiting.pop(pair).result()
                _forward(events, reporter, wait=0.0)
                yield *pair, result


def _forward(events: Any, reporter: Reporter, wait: float = 0.2) -> None:
    """Pass what the processes report on to the display, waiting at most `wait` seconds for the first."""
    try:
        while True:
            method, argument = events.get(timeout=wait) if wait else events.get_nowait()
            method(reporter, argument)
            wait = 0.0
    except queue.Empty:
        pass


class RemoteReporter:
    """What a Reporter has, but that it happens in the process that started this one."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def describe(self, text: str) -> None:
        self._events.put((Reporter.describe, text))

    def work(self, amount: float) -> None:
        self._events.put((Reporter.work, amount))

    def members(self, count: int) -> None:
        self._events.put((Reporter.members, count))

    def line(self, text: str) -> None:
        self._events.put((Reporter.line, text))


_state: dict[str, Any] = {}


def _start(name: str, overrides: list[str], folder: str, memory: float | None, events: Any) -> None:
    """In a new process: one suite, one store."""
    _state.update(
        suite=load_suite(name, overrides), store=Store(folder), memory=memory, reporter=RemoteReporter(events)
    )


def _run(problem: str, optimizer: str) -> PairResult:
    return run_pair(_state["suite"], problem, optimizer, _state["store"], _state["reporter"], _state["memory"])
