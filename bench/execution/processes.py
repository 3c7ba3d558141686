"""Several processes of few threads each that share one list of work, for suites and for claims."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")  # a forked process would share torch's threads, which it has not


class WorkerError(RuntimeError):
    """A process ended without an answer."""


@contextmanager
def worker_pool(
    count: int, threads: int, prepare: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes that share `threads`; each calls `prepare(*arguments)` first.

    They say nothing of an interruption, which this process answers, and end with it, also if it is killed. At the end
    of the block what they have not finished is dropped.

    Raises:
        WorkerError: a process was killed (memory?); what was finished before is stored.
    """
    options = (os.getpid(), max(1, threads // count), prepare, arguments)
    pool = ProcessPoolExecutor(count, mp_context=CONTEXT, initializer=_start, initargs=options)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed (memory?); repeat the command, perhaps with workers=1"
        ) from error
    finally:
        processes = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # after an interruption they would finish what they have begun
            process.terminate()


def _start(parent: int, threads: int, prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch  # in the worker: the process that waits for it may need none

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    prepare(*arguments)


def _end_with(parent: int) -> None:
    """A killed parent cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
