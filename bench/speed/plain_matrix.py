"""How long would a suite take as plain torch.optim runs, one member after the other, the way most people write them?

python -m bench.speed.plain_matrix [suite] [--sample N] [--results DIR | --rerun]

A seeded random sample of each tuning cell is trained with torch's own layers and optimizers: one process, eager,
batches indexed from tensors in memory, the step size set at every step, the same evaluations as in the suite. It is
timed with all threads and with one, and per problem the faster counts. The mean seconds of a cell's sample times its
members, summed, is an extrapolation to the matrix, not a measurement of it. Not timed, in the loop's favour: making
the model, and a warm-up of a few steps.

A plain user writes shb as torch.optim.SGD with momentum. Under a step size that varies, this is another sequence than
the heavy ball (shb/optimizers/conversions.py); it takes the same time, which is all that is asked here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console

from bench.cell.bounds import BOUNDS
from bench.cell.config import compose_config
from bench.command import make_console, run_command
from bench.reproduction.plain_loop import check_plain, train_plain
from bench.run import print_failures, run_suite
from bench.statistics.bootstrap import stratified_mean_interval
from bench.store.environment import environment
from bench.store.store import Store, rows_of
from bench.suite.suite import Suite, load_suite
from bench.terminal.tables import print_table
from shb.errors import ConfigurationError
from shb.files import write_whole
from shb.training import Plan

OUTPUT = Path("results/local/plain_matrix.json")
SCHEMA_VERSION = 1
SEED = 0  # of the sample
WARM_UP = 20  # steps


@dataclass(frozen=True)
class Timing:
    """The sample of one problem and optimizer.

    Attributes:
        members: number of members that the sample stands for.
        seconds: number of threads -> seconds of each sampled member.
        sampled: indices of those members in the tuning cell.
    """

    problem: str
    optimizer: str
    members: int
    seconds: Mapping[int, Sequence[float]]
    sampled: Sequence[int] = ()


@dataclass(frozen=True)
class Stacked:
    """What the stacked run of a suite left in a store.

    Attributes:
        planned: members of the suite.
        found: (problem, optimizer) -> members found.
        seconds: their share of the seconds of their stacks.
        engines, threads: with which they were computed.
    """

    planned: int
    found: Mapping[tuple[str, str], int]
    seconds: float
    engines: Sequence[str]
    threads: Sequence[int]


def time_suite(suite: Suite, sample: int) -> Iterator[Timing]:
    """Time `sample` members of every tuning cell, with all threads of this process and with one."""
    pairs, generator, threads = suite.pairs(), np.random.default_rng(SEED), torch.get_num_threads()
    for pair in pairs:
        check_plain(suite.tuning_cell(*pair))
    for problem, optimizer in pairs:
        cell = suite.tuning_cell(problem, optimizer)
        count = min(sample, len(cell.members))
        chosen = sorted(generator.choice(len(cell.members), count, replace=False).tolist())
        seconds: dict[int, list[float]] = {number: [] for number in dict.fromkeys((threads, 1))}
        try:
            for index, number in itertools.product(chosen, seconds):
                torch.set_num_threads(number)
                warm_up = Plan(min(WARM_UP, cell.plan.steps), schedule=cell.plan.schedule)
                train_plain(replace(cell, plan=warm_up), cell.members[index])
                seconds[number].append(train_plain(cell, cell.members[index]).seconds)
        finally:
            torch.set_num_threads(threads)
        yield Timing(problem, optimizer, len(cell.members) + suite.evaluation_seeds, seconds, chosen)


def faster_threads(timings: Sequence[Timing]) -> dict[str, int]:
    """Per problem the number of threads with which its samples took less time, all optimizers together."""
    best = {}
    for problem in dict.fromkeys(t.problem for t in timings):
        own = [t for t in timings if t.problem == problem]
        best[problem] = min(own[0].seconds, key=lambda number: sum(sum(t.seconds[number]) for t in own))
    return best


def extrapolate(timings: Sequence[Timing], members: Mapping[tuple[str, str], int] | None = None) -> list[float]:
    """Seconds of each cell: mean of its sample times its members (or `members`, by problem and optimizer)."""
    best = faster_threads(timings)
    return [float(np.mean(t.seconds[best[t.problem]])) * _count(t, members) for t in timings]


def total_interval(
    timings: Sequence[Timing], members: Mapping[tuple[str, str], int] | None = None
) -> tuple[float, float] | None:
    """95 % interval of the sum of `extrapolate`: members are resampled within cells, the threads stay as chosen.

    None if no cell has two members: one has no spread.
    """
    best = faster_threads(timings)
    sums = [len(timings) * _count(t, members) * np.asarray(t.seconds[best[t.problem]]) for t in timings]
    if max(map(len, sums)) < 2:
        return None
    _, low, high = stratified_mean_interval(sums)
    return low, high


def _count(timing: Timing, members: Mapping[tuple[str, str], int] | None) -> int:
    return timing.members if members is None else members[timing.problem, timing.optimizer]


def stacked_side(name: str, folder: Path | str) -> Stacked:
    """The members of the suite `name` in the store `folder`.

    A stack's seconds are repeated in the rows of all its members: each member counts its share of them.
    """
    suite, store = load_suite(name, [f"results_dir={folder}"]), Store(folder)
    store.check_schema()
    members, found, rows = store.members(), {}, []
    plan = suite.plan(members)
    for pair in plan.pairs:
        ids = [*pair.tuning_ids, *pair.evaluation_ids(members)]
        timed = (pl.col("status") != "failed") & pl.col("stack_seconds").is_not_null()
        rows.append(rows_of(members, ids).filter(timed))
        found[pair.problem, pair.optimizer] = len(rows[-1])
    own = pl.concat(rows)
    engines, threads = (own[column].unique().sort().to_list() for column in ("engine", "threads"))
    return Stacked(plan.size, found, float((own["stack_seconds"] / own["stack_members"]).sum()), engines, threads)


def rerun(name: str) -> tuple[Stacked, float, int]:
    """Run the suite now, in a temporary store; what it left, its wall time in seconds and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        suite = load_suite(name, [f"results_dir={folder}"])
        config = compose_config([*next(iter(suite.problems.values())), *suite.overrides])
        started = time.perf_counter()
        failures = run_suite(suite, config)
        seconds = time.perf_counter() - started
        return stacked_side(name, folder), seconds, print_failures(failures)


def print_plain(suite: Suite, timings: Sequence[Timing], console: Console) -> dict[str, Any]:
    """Print the table and the total; return what the file says of them."""
    best, seconds, lines = faster_threads(timings), extrapolate(timings), []
    for t, extrapolated in zip(timings, seconds):
        own = t.seconds[best[t.problem]]
        middle = f"{np.median(own):.3f} ({min(own):.3f} .. {max(own):.3f})"
        lines.append([t.problem, t.optimizer, f"{len(own)}", f"{best[t.problem]}", middle, f"{t.members}"])
        lines[-1].append(f"{extrapolated:.1f}")
    names = ["problem", "optimizer", "sampled", "threads", "s/member: median (range)", "members", "extrapolated s"]
    print_table(
        console,
        f"{suite.name} v{suite.version} as plain torch.optim runs, extrapolated from a sample",
        names,
        lines,
        text=2,
    )
    total, interval = sum(seconds), total_interval(timings)
    spread = "no interval from one member per cell" if interval is None else "95 % [{:.1f}, {:.1f}]".format(*interval)
    console.print(f"total, extrapolated: {total:.1f} s, {spread}; mean of the sample x members", highlight=False)
    rows = [{**asdict(t), "threads": best[t.problem], "extrapolated_seconds": s} for t, s in zip(timings, seconds)]
    return {"rows": rows, "total_seconds": total, "interval_seconds": interval}


def print_ratio(timings: Sequence[Timing], stacked: Stacked, console: Console) -> dict[str, Any]:
    """Print the comparison over the members found; return what the file says of it."""
    count, interval = sum(stacked.found.values()), total_interval(timings, stacked.found)
    plain = sum(extrapolate(timings, stacked.found))
    ends = None if interval is None else [end / stacked.seconds for end in interval]
    how = f"engine {', '.join(stacked.engines)}, threads {', '.join(map(str, stacked.threads))}"
    console.print(f"stacked: {count} of {stacked.planned} members in {stacked.seconds:.1f} s ({how})", highlight=False)
    spread = "" if ends is None else " [{:.2f}, {:.2f}]".format(*ends)
    ratio = plain / stacked.seconds
    console.print(
        f"plain / stacked over these members: {plain:.1f} s / {stacked.seconds:.1f} s = {ratio:.2f}{spread}",
        highlight=False,
    )
    facts = {"members_found": count, "members_planned": stacked.planned, "seconds": stacked.seconds}
    facts |= {"engines": stacked.engines, "threads": stacked.threads}
    return {"stacked": facts, "plain_seconds_of_found": plain, "ratio": ratio, "ratio_interval": ends}


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.speed.plain_matrix", description=__doc__.split("\n")[0])
    parser.add_argument("suite", nargs="?", default="default")
    parser.add_argument("--sample", type=int, default=2, help="members per problem and optimizer (default 2)")
    parser.add_argument("--results", default="results/local", help="store of the stacked run (default results/local)")
    parser.add_argument("--rerun", action="store_true", help="run the suite stacked now, instead of --results")
    given = parser.parse_args(arguments)
    BOUNDS["sample"].check("--sample", given.sample)
    if given.suite == "none":
        raise ConfigurationError("suite", given.suite, "smoke, default or full for this command")
    return given


def main(arguments: Sequence[str]) -> int:
    """Time, print, compare, write."""
    given, console, code = _arguments(arguments), make_console(), 0
    suite = load_suite(given.suite, [f"results_dir={given.results}"])
    count = len(suite.pairs())
    console.print(f"timing {given.sample} members of each of {count} cells, one after the other", highlight=False)
    timings = list(time_suite(suite, given.sample))
    device = suite.tuning_cell(*suite.pairs()[0]).problem_spec["device"]
    document = {
        "schema_version": SCHEMA_VERSION,
        "suite": f"{suite.name} v{suite.version}",
        "sample": given.sample,
        "rerun": given.rerun,
    }
    document |= {"environment": environment(device), **print_plain(suite, timings, console)}
    if given.rerun:
        stacked, document["rerun_wall_seconds"], code = rerun(given.suite)
        console.print(
            f"the suite ran just now, in {document['rerun_wall_seconds']:.1f} s of wall time; its store is gone"
        )
    else:
        stacked = stacked_side(given.suite, given.results)
    if any(stacked.found.values()):
        document |= print_ratio(timings, stacked, console)
        if not given.rerun:
            console.print(
                "The stacked seconds are of an earlier run, possibly under another load: --rerun runs both now."
            )
    else:
        command = f"make bench SUITE={given.suite} RESULTS={given.results}"
        console.print(f"nothing to compare with in {given.results}: `{command}` makes it, or --rerun", highlight=False)
    write_whole(OUTPUT, json.dumps(document, indent=1))
    console.print(f"wrote {OUTPUT}", highlight=False)
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
