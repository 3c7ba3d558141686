"""Where the time of a suite goes: one process of one thread runs it in a temporary store, with its parts timed.

python -m bench.speed.shares [suite]

A part's seconds are its own: those of a part inside it are not counted twice.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from rich.console import Console

import bench.execution.runner
import shb.training.evaluation
import shb.training.stack
from bench.cell.config import compose_config
from bench.command import make_console, run_command
from bench.run import print_failures, run_suite
from bench.store.environment import environment
from bench.store.store import Store
from bench.suite.suite import load_suite
from bench.terminal.tables import print_table
from shb.errors import ConfigurationError
from shb.problems import LearningProblem
from shb.training import Stack
from shb.training.step import Step

PARTS = {  # where it happens -> part of the time
    (Step, "__call__"): "steps",
    (shb.training.stack, "step_of"): "tracing",
    (shb.training.stack, "metrics_program"): "tracing",
    (shb.training.evaluation, "metrics_program"): "tracing",
    (LearningProblem, "samples_of"): "indices of mini-batches",
    (Stack, "advance"): "schedules, samples per step",
    (Stack, "_evaluate"): "evaluation",
    (Stack, "start"): "initialisation",
    (Stack, "_results"): "recording",
    (bench.execution.runner, "computed_rows"): "recording",
    (Store, "write"): "store",
}
REST = "the rest: composing, tuning, tables"
OVERHEAD = ("indices of mini-batches", "schedules, samples per step", "evaluation", "recording", "store")


class Clock:
    """Seconds of each part, of which the innermost one that runs is counted."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running = [REST]
        self._since = time.perf_counter()

    def switch(self) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, function: Callable, part: str) -> Callable:
        """`function`, whose time is that of `part`."""

        @functools.wraps(function)
        def run(*arguments: object, **options: object) -> object:
            self.switch()
            self._running.append(part)
            try:
                return function(*arguments, **options)
            finally:
                self.switch()
                self._running.pop()

        return run


@contextmanager
def clock() -> Iterator[Clock]:
    """A clock of everything that runs inside."""
    one, before = Clock(), {}
    for (owner, name), part in PARTS.items():
        before[owner, name] = getattr(owner, name)
        setattr(owner, name, one.timed(before[owner, name], part))
    try:
        yield one
    finally:
        one.switch()
        for (owner, name), function in before.items():
            setattr(owner, name, function)


def shares(name: str, overrides: Sequence[str] = ()) -> tuple[dict[str, float], int]:
    """Seconds of each part of the suite `name`, run now, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        suite = load_suite(name, [*overrides, f"results_dir={folder}", "workers=1", "threads=1"])
        config = compose_config([*next(iter(suite.problems.values())), *suite.overrides])
        with clock() as timed:
            failures = run_suite(suite, config)
        return dict(timed.seconds), print_failures(failures)


def print_shares(seconds: dict[str, float], title: str, console: Console) -> None:
    """A table of the parts, largest first."""
    total = sum(seconds.values())
    rows = [[part, f"{s:.2f}", f"{100 * s / total:.1f}"] for part, s in Counter(seconds).most_common()]
    print_table(console, title, ["part", "seconds", "% of the time"], rows, text=1)
    around = sum(seconds.get(part, 0.0) for part in OVERHEAD)
    console.print(f"{', '.join(OVERHEAD)}: {100 * around / total:.1f} % of {total:.1f} s", highlight=False)


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        raise ConfigurationError("arguments", " ".join(arguments), "python -m bench.speed.shares [suite]")
    name, threads = arguments[0] if arguments else "default", torch.get_num_threads()
    try:
        seconds, code = shares(name)
    finally:
        torch.set_num_threads(threads)
    where = environment("cpu")
    print_shares(seconds, f"Suite {name}, one thread of {where['cpu']}, torch {where['torch']}", make_console())
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
