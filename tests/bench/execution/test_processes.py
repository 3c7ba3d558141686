"""Worker processes end with the one that started them."""

import signal
import subprocess
import sys
import time

from bench.store.environment import ROOT

STARTS = """
import os, time
from bench.execution.processes import worker_pool
with worker_pool(2, 2, time.sleep, 0) as pool:
    pids = {pool.submit(os.getpid).result() for _ in range(20)}
    waiting = [pool.submit(time.sleep, 600) for _ in range(2)]
    print(*pids, flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers and all(alive(pid) for pid in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "workers go on without their parent"
        time.sleep(0.1)


def alive(pid):
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
