"""The ensembles of claims in several processes of one thread each, which write into one store.

A step of an ensemble is a few small operations, which two threads do not share: two processes take half the time.
An ensemble's numbers do not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from bench.cell.memory import check_workers, room_for_workers
from bench.claims.experiment import Experiment
from bench.execution.processes import worker_pool
from bench.store.store import Store

PARALLEL_SECONDS = 20.0  # expected, from which on it pays to start processes (about 3 s each)


@dataclass(frozen=True)
class Job:
    """One ensemble that the store lacks, an experiment of its seeds alone, and who asked for it: (claim, name)."""

    ensemble: Experiment
    owners: tuple[tuple[str, str], ...]

    @property
    def seconds(self) -> float:
        """Expected time."""
        return self.ensemble.seconds


def worker_count(workers: int | None, threads: int, ensembles: int, seconds: float, device: str) -> int:
    """Processes for `ensembles` that are expected to take `seconds`: one per thread, on a CPU, where that pays and
    there is room.

    Raises:
        ConfigurationError: more `workers` than there is room for.
    """
    if workers is not None:
        check_workers(min(workers, ensembles))
    elif device == "cuda" or seconds < PARALLEL_SECONDS:
        workers = 1
    return max(1, min(min(threads, room_for_workers()) if workers is None else workers, ensembles))


def plan(experiments: Mapping[str, Mapping[str, Experiment]], store: Store) -> list[Job]:
    """The ensembles that `store` lacks, each once; claims that take longest first, so that no process ends alone.

    Args:
        experiments: claim -> name -> experiment.
    """
    known, found, owners = store.ensemble_ids(), {}, {}
    for claim, of_claim in sorted(experiments.items(), key=lambda item: -sum(e.seconds for e in item[1].values())):
        for name, one in sorted(of_claim.items(), key=lambda item: -item[1].seconds):
            for start, stop in one.blocks():
                id = one.ensemble_id(start, stop)
                if id not in known:
                    share = one.seconds * (stop - start) / one.seeds
                    found.setdefault(id, replace(one, seeds=stop - start, first_seed=start, seconds=share))
                    owners.setdefault(id, []).append((claim, name))
    return [Job(one, tuple(owners[id])) for id, one in found.items()]


def compute(
    jobs: Sequence[Job], folder: str, count: int, threads: int
) -> Iterator[tuple[Job, float, BaseException | None]]:
    """Compute and store `jobs` in `count` processes; yield each with its seconds and its error as it ends.

    Raises:
        WorkerError: a process was killed (memory?); what was finished is stored.
    """
    with worker_pool(count, threads, _start, folder) as pool:
        waiting: dict[Future, Job] = {pool.submit(_run, job.ensemble): job for job in jobs}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                job, error = waiting.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                yield job, 0.0 if error else future.result(), error


_stores: list[Store] = []


def _start(folder: str) -> None:
    """In a new process: one store, and the measures, which the parent has not sent."""
    import bench.claims.catalogue  # noqa: F401  registers them

    _stores.append(Store(folder))


def _run(ensemble: Experiment) -> float:
    """Seconds that it took."""
    clock = time.monotonic()
    ensemble.compute(_stores[0])
    return time.monotonic() - clock
