"""Run one cell, a matrix of cells (-m), or a suite.

python -m bench.run model=mlp dataset=digits optimizer=shb seeds=32
python -m bench.run -m model=mlp,cnn optimizer=sgd,shb,adam
python -m bench.run suite=default

Every field is explained in conf/config.yaml. What the store already has is not computed again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import hydra
import polars as pl
import torch
from omegaconf import DictConfig

from bench.cell.cell import Cell, build_cell
from bench.cell.config import CONF, Config, compose_config, literal, typed
from bench.cell.matrix import jobs_of
from bench.cell.memory import check_members, check_memory, check_workers
from bench.cell.plugins import load_plugins, use_plugins
from bench.command import make_console, run_command, split_suite
from bench.execution.engine import build_for, settle
from bench.execution.runner import Failure, missing, run_cell, work
from bench.execution.summary import print_summary
from bench.leaderboard.document import leaderboard, write_leaderboard
from bench.leaderboard.text import print_leaderboard
from bench.logger.logger import Logger, make_logger
from bench.plan.coverage import coverage
from bench.plan.plan import SuitePlan
from bench.plan.stored import write_plan
from bench.store.store import Store, StoreWriteError, rows_of
from bench.suite.suite import Suite, load_suite
from bench.suite.workers import PairResult, run_pair, run_pairs, worker_count
from bench.terminal.progress import Reporter
from shb.errors import ConfigurationError
from shb.training import ENGINES, why_not

CONSOLE = make_console()


def prepare(config: Config) -> Store:
    """Set the threads and open the store; raises before any compute if the store cannot be used."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.engine == "compiled" and (reason := why_not()) is not None:
        _warn(f"engine=compiled: nothing can be compiled here ({reason}); members run, and are stored, as eager ones")
    store = Store(config.results_dir)
    store.check()
    for line in store.faults():
        CONSOLE.print(f"{line}; what this command needs of it is computed again", markup=False, highlight=False)
    return store


def run_one(config: Config) -> list[Failure]:
    """Compute what one cell lacks, print its table."""
    store = prepare(config)
    cell = settle(build_cell(config), config.results_dir)
    logger = make_logger(config.logger, _warn)
    lacking = missing(cell, store)
    _announce(len(lacking), len(cell.ids), store)
    failure = None
    if lacking:
        with Reporter(CONSOLE, len(lacking), work(cell, len(lacking))) as reporter:
            cell, failure = run_cell(cell, store, reporter, config.memory)
    with contextlib.closing(logger):
        _log(logger, cell, store, "cell")
    print_summary(cell, store, CONSOLE)
    return [failure] if failure else []


def run_suite(suite: Suite, config: Config) -> list[Failure]:
    """Tune every optimizer on every problem, evaluate the winners, print and write the leaderboard."""
    for problem, optimizer in suite.pairs():
        suite.tuning_cell(problem, optimizer)  # every configuration is checked before any compute
    check_memory([suite.tuning_cell(*pair) for pair in suite.pairs()], config.memory, f"members of suite {suite.name}")
    check_members(suite.evaluation_seeds, len(suite.pairs()), config.evaluations + 1, "suite.evaluation_seeds")
    check_workers(min(config.workers or 1, len(suite.pairs())))
    store = prepare(config)
    logger = make_logger(config.logger, _warn)
    plan = suite.plan(store.members())
    write_plan(store, plan)
    total, planned, amount = _amount(suite, plan, store)
    _announce(total, planned, store)
    if total:
        tuning = [suite.tuning_cell(problem, optimizer) for problem, optimizer in suite.pairs()]
        build_for(tuning, store.members(), lambda text: CONSOLE.print(text, highlight=False))
    failures: list[Failure] = []
    with contextlib.closing(logger):
        with Reporter(CONSOLE, total, amount) as reporter:
            for problem, optimizer, result in _pairs(suite, config, store, reporter, amount):
                failures += result.failures
                _log_pair(suite, problem, optimizer, store, logger)
        plan = suite.plan(store.members())
        board = leaderboard(plan, store)
        print_leaderboard(plan, board, CONSOLE)
        for path in write_leaderboard(plan, board, store):
            CONSOLE.print(f"wrote {path}", highlight=False)
        logger.leaderboard(plan, board["rows"])
    return failures


def _pairs(
    suite: Suite, config: Config, store: Store, reporter: Reporter, amount: float
) -> Iterator[tuple[str, str, PairResult]]:
    """Run every pair of the suite, here or in worker processes."""
    count = worker_count(config, len(suite.pairs()), amount)
    if count == 1:
        for problem, optimizer in suite.pairs():
            yield problem, optimizer, run_pair(suite, problem, optimizer, store, reporter, config.memory)
        return
    reporter.line(f"{count} worker processes")
    for problem, optimizer, result in run_pairs(suite, config, reporter, count):
        suite.settle(problem, suite.tuning_cell(problem, optimizer).under(result.engine))
        yield problem, optimizer, result


def _log_pair(suite: Suite, problem: str, optimizer: str, store: Store, logger: Logger) -> None:
    _log(logger, suite.tuning_cell(problem, optimizer), store, "tuning")
    evaluation = suite.evaluation(problem, optimizer, store.members())
    if evaluation is not None:
        _log(logger, evaluation, store, "evaluation")


def _amount(suite: Suite, plan: SuitePlan, store: Store) -> tuple[int, int, float]:
    """Members to compute, members planned, and the work of the former."""
    found = coverage(plan, store)
    amount = sum(work(suite.tuning_cell(one.problem, one.optimizer), one.missing) for one in found if one.missing)
    return sum(one.missing for one in found), sum(one.planned for one in found), amount


def _warn(text: str) -> None:
    CONSOLE.print(f"warning: {text}", style="yellow", markup=False, highlight=False)


def _announce(lacking: int, planned: int, store: Store) -> None:
    CONSOLE.print(f"{lacking} members to compute ({planned - lacking} of {planned} in {store.folder})", highlight=False)


def _log(logger: Logger, cell: Cell, store: Store, role: str) -> None:
    if not cell.ids:  # nothing to tune
        return
    members = store.members()
    computed = rows_of(members, cell.ids)
    logger.cell(cell, computed, store.curves(cell.ids), role=role)


def print_failures(failures: Sequence[Failure]) -> int:
    """List all failures; exit code 1 if there are any."""
    for failure in failures:
        CONSOLE.print(f"failed: {failure.cell}: {failure.error}", style="red", markup=False, highlight=False)
    if failures:
        CONSOLE.print(failures[0].trace, markup=False, highlight=False)
        CONSOLE.print(f"{len(failures)} of the cells failed; repeat the command to try them again", style="red")
    return 1 if failures else 0


def _members_of_jobs(jobs: Sequence[Sequence[str]]) -> list[tuple[Config, Cell]]:
    """Compose and check every job before any compute."""
    checked = []
    for overrides in jobs:
        config = compose_config(overrides)
        Store(config.results_dir).check()
        checked.append((config, build_cell(config)))
        check_memory([checked[-1][1]], config.memory)
    check_memory([cell for _, cell in checked], field="members")
    for config, _ in checked:
        make_logger(config.logger, _warn).close()  # last, because it makes its folder
    return checked


def _as_run(cell: Cell, members: pl.DataFrame) -> Cell:
    """The cell under the engine that its job has chosen: the one with the most stored rows, failed ones included."""
    if not cell.engine_open:
        return cell
    stored = set(members["member_id"])
    return max((cell.under(engine) for engine in ENGINES), key=lambda one: len(stored.intersection(one.ids)))


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(composed: DictConfig) -> None:
    """One Hydra job, in this process or in a launcher's: failures go to the store, where `main` finds them."""
    try:
        load_plugins(composed.plugins)  # a launcher's process has none yet, and what they add is checked with the rest
        run_one(typed(composed, Config))
    except (StoreWriteError, OSError) as error:
        _warn(f"results could not be written ({error})")  # no CONSOLE here: launchers pickle what this names


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    arguments = [literal(one) for one in arguments]
    use_plugins(arguments)
    if {"-h", "--help", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"} & set(arguments):
        job()
        return 0
    name, overrides = split_suite(arguments)
    if name != "none":
        flags = [a for a in overrides if a.startswith("-")]
        if flags:
            raise ConfigurationError("suite", name, f"not together with {' '.join(flags)}: a suite is its own matrix")
        suite = load_suite(name, overrides)
        return print_failures(run_suite(suite, compose_config([*next(iter(suite.problems.values())), *overrides])))
    for flag in overrides:
        if flag.startswith("-") and flag not in ("-m", "--multirun"):
            raise ConfigurationError("option", flag, "-m (--multirun), -h (--help)")
    matrix = {"-m", "--multirun"} & set(arguments)
    checked = _members_of_jobs(jobs_of([a for a in arguments if not a.startswith("-")]) if matrix else [arguments])
    if not matrix:
        return print_failures(run_one(checked[0][0]))
    sys.argv[1:] = sorted(arguments, key=lambda a: not a.startswith("-"))  # Hydra wants its flags first
    job()
    failures = []
    for config, cell in checked:
        store = Store(config.results_dir)
        members = store.members()
        cell = _as_run(cell, members)
        failed = rows_of(members, cell.ids).filter(pl.col("status") == "failed")
        lacking = missing(cell, store)
        if lacking:
            error = failed["error"][0] if len(failed) else "not computed"
            failures.append(Failure(f"{cell.name} ({len(lacking)} members)", error, ""))
    return print_failures(failures)


if __name__ == "__main__":
    from bench.run import main as importable  # joblib sends the job by the name of its module, not as __main__

    sys.exit(run_command(importable))
