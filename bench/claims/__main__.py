"""Verdicts on the claims of the theory, each beside a control that must fail.

python -m bench.claims                              all claims, minutes
python -m bench.claims claim=CL25 level=full
python -m bench.claims -m 'claim=glob(CL2*)'

Every field is explained in conf/claims.yaml, every claim in docs/theory.md. What the store has is not computed again.
Exit code: 0 if every verdict is one that conf/expectations.yaml lists (for other processors, too), 1 if not, 2 for bad
input.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.cell.config import CONF, ClaimsConfig, compose_as, literal
from bench.cell.matrix import jobs_of
from bench.cell.memory import check_bytes
from bench.cell.problem import resolve_device
from bench.claims.catalogue import CLAIMS, number
from bench.claims.claim import LEVELS, Claim, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.figures import draw
from bench.claims.report import print_table, write
from bench.claims.row import headline, rows
from bench.claims.workers import compute, plan, worker_count
from bench.command import make_console, run_command
from bench.store.environment import environment
from bench.store.store import Store
from bench.store.yaml_file import read_yaml
from bench.terminal.progress import Reporter
from shb.datasets import check_files, load_dataset
from shb.errors import ConfigurationError, choose

CONSOLE = make_console(width=170)  # seven columns
COLUMNS_BYTES = 100  # of a seed of an experiment, at least: ten columns or so


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if {"-h", "--help"} & set(arguments):
        CONSOLE.print(__doc__, markup=False, highlight=False)
        return 0
    config, selected = _selected(arguments)
    choose("level", config.level, LEVELS)
    device = resolve_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.data_root:
        os.environ["SHB_DATA"] = config.data_root
    store = Store(config.results_dir)
    store.check()
    protocols = {claim: Protocol(config.level, entry[config.level], device) for claim, entry in selected.items()}
    if config.download:
        for dataset in sorted({name for claim in selected for name in CLAIMS[claim].datasets}):
            load_dataset(dataset, None, True)
    absent = {claim: why for claim in selected if (why := _absent(CLAIMS[claim]))}
    started = time.monotonic()
    store.read("ensembles")
    for line in store.faults():
        CONSOLE.print(f"{line}; what is needed of it is computed again", markup=False, highlight=False)
    failures = _compute({c: p for c, p in protocols.items() if c not in absent}, store, config, device)
    parts: dict[str, list[Part]] = {}
    results: dict[str, Results] = {}
    for claim, protocol in protocols.items():
        if claim in absent:
            parts[claim] = [CLAIMS[claim].out_of_scope(absent[claim])]
        elif claim not in failures:
            results[claim] = _load(claim, protocol, store)
            parts[claim] = CLAIMS[claim].parts(protocol, results[claim])
    planned = {claim: CLAIMS[claim].experiments(protocol) for claim, protocol in protocols.items()}
    report = rows(parts, planned)
    summary = headline(report, planned)
    print_table(report, summary, CONSOLE)
    folder = Path(config.results_dir) / "claims"
    facts = {"computed_with": _computed_with(device), "wall_seconds": round(time.monotonic() - started, 1)}
    facts["compute_seconds"] = round(store.ensemble_seconds(_ids(protocols)), 1)
    facts["failures"] = failures
    appendices = {c: CLAIMS[c].appendix(found) for c, found in results.items() if CLAIMS[c].appendix}
    figures = draw(protocols, results, folder / "figures") if config.figures else []
    written = [
        *write(report, folder, config.level, facts, appendices, {path.stem for path in figures}, summary),
        *figures,
    ]
    for path in written:
        CONSOLE.print(f"wrote {path}", highlight=False)
    for claim, error in failures.items():
        CONSOLE.print(f"failed: {claim}: {error}", style="red", markup=False, highlight=False)
    return 1 if failures or not all(row.expected for row in report) else 0


def _selected(arguments: Sequence[str]) -> tuple[ClaimsConfig, dict[str, Mapping[str, Any]]]:
    """The configuration, and per claim its entry in conf/claim (with what the command line changed)."""
    flags = [a for a in arguments if a.startswith("-")]
    overrides = [literal(a) for a in arguments if not a.startswith("-")]
    for flag in flags:
        if flag not in ("-m", "--multirun"):
            raise ConfigurationError("option", flag, "-m (--multirun), -h (--help)")
    configs = [compose_as(ClaimsConfig, job) for job in (jobs_of(overrides) if flags else [overrides])]
    selected: dict[str, Mapping[str, Any]] = {}
    for config in configs:
        name = config.claim.name
        if name == "all":
            selected |= {claim: _entry(claim) for claim in CLAIMS}
        else:
            selected[name] = config.claim.sizes
    return configs[0], {claim: selected[claim] for claim in sorted(selected, key=number)}


def _entry(claim: str) -> dict[str, Any]:
    """The file of a claim, with its sizes."""
    return read_yaml(CONF / "claim" / f"{claim}.yaml")


def _absent(claim: Claim) -> str | None:
    """Why the claim's data cannot be used, or None."""
    for dataset in claim.datasets:
        try:
            check_files(dataset)
        except ConfigurationError as error:
            return f"data set {dataset} absent: {error}"
    return None


def _compute(protocols: Mapping[str, Protocol], store: Store, config: ClaimsConfig, device: str) -> dict[str, str]:
    """Compute what the store lacks, here or in worker processes; claim -> error in one line for those that failed."""
    planned = {claim: CLAIMS[claim].experiments(protocol) for claim, protocol in protocols.items()}
    seeds = sum(one.seeds for experiments in planned.values() for one in experiments.values())
    check_bytes(f"claim.{config.level}", f"{seeds} seeds", seeds * COLUMNS_BYTES, "their columns")
    lacking = {
        claim: [(one, len(one.missing(store)), len(one.blocks())) for one in experiments.values()]
        for claim, experiments in planned.items()
    }
    total = sum(count for found in lacking.values() for _, count, _ in found)
    everything = sum(blocks for found in lacking.values() for _, _, blocks in found)
    seconds = sum(planned.seconds * count / blocks for found in lacking.values() for planned, count, blocks in found)
    CONSOLE.print(
        f"{total} ensembles to compute ({everything - total} of {everything} in {store.folder})", highlight=False
    )
    failures: dict[str, str] = {}
    count = worker_count(config.workers, config.threads or torch.get_num_threads(), total, seconds, device)
    with Reporter(CONSOLE, total, seconds, unit="ensembles") as reporter:
        if count > 1:
            reporter.line(f"{count} worker processes")
            return _in_workers(planned, store, config, count, reporter)

        def finished(amount: float) -> None:
            reporter.work(amount)
            reporter.members(1)

        for claim, experiments in planned.items():
            count = sum(count for _, count, _ in lacking[claim])
            clock = time.monotonic()
            for name, experiment in experiments.items():
                reporter.describe(f"{claim} {name}")
                try:
                    experiment.compute(store, finished)
                except OSError:  # a full disk is no result of a claim
                    raise
                except Exception as error:
                    failures[claim] = _one_line(name, error)
                    reporter.line(traceback.format_exc())
                    break
            if count:
                reporter.line(f"  {claim:<5} {CLAIMS[claim].title:<90} {time.monotonic() - clock:6.1f} s")
    return failures


def _in_workers(
    planned: Mapping[str, Mapping[str, Experiment]], store: Store, config: ClaimsConfig, count: int, reporter: Reporter
) -> dict[str, str]:
    """As `_compute`, the claims that take longest first."""
    failures: dict[str, str] = {}
    jobs = plan(planned, store)
    left = Counter(claim for job in jobs for claim, _ in job.owners)
    spent: Counter[str] = Counter()
    threads = config.threads or torch.get_num_threads()
    for job, seconds, error in compute(jobs, config.results_dir, count, threads):
        reporter.work(job.seconds)
        reporter.members(1)
        if isinstance(error, OSError):  # a full disk is no result of a claim
            raise error
        if error is not None:
            reporter.line("".join(traceback.format_exception(error)))
        for claim, name in job.owners:
            if error is not None:
                failures.setdefault(claim, _one_line(name, error))
            left[claim] -= 1
            spent[claim] += seconds
            if not left[claim]:
                reporter.line(f"  {claim:<5} {CLAIMS[claim].title:<90} {spent[claim]:6.1f} s")
    return failures


def _one_line(experiment: str, error: BaseException) -> str:
    return " ".join(f"{experiment}: {type(error).__name__}: {error}".split())[:500]


def _ids(protocols: Mapping[str, Protocol]) -> list[str]:
    """Ids of all ensembles of these claims."""
    experiments = [one for claim, protocol in protocols.items() for one in CLAIMS[claim].experiments(protocol).values()]
    return [one.ensemble_id(*block) for one in experiments for block in one.blocks()]


def _load(claim: str, protocol: Protocol, store: Store) -> Results:
    return {name: experiment.load(store) for name, experiment in CLAIMS[claim].experiments(protocol).items()}


def _computed_with(device: str) -> str:
    facts = environment(device)
    where = facts["device_name"] if device == "cuda" else facts["cpu"]  # with how many threads: in each ensemble
    return f"torch {facts['torch']}, Python {facts['python']}, {where}, commit {facts['code_commit'][:12]}"


if __name__ == "__main__":
    sys.exit(run_command(main))
