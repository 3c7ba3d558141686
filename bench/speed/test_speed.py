"""pytest-benchmark cases; `make speed` runs them and prints the ratios. Nothing here is a timed test."""

import json
import subprocess
import sys

import pytest
import torch

from bench.speed.work import WORKS, loop_round, stacked_round

LOOP_MEMBERS = 8  # enough for a stable time per member-step


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param or before)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_stacked(benchmark, work):
    benchmark.extra_info.update(work=work.name, kind="stacked", members=work.members)
    benchmark.extra_info["member_steps"] = work.members * work.steps
    benchmark.pedantic(stacked_round(work), rounds=12, warmup_rounds=2)


@pytest.mark.parametrize("threads", [0, 1], ids=["all threads", "one thread"], indirect=True)
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_loop(benchmark, work, threads):
    benchmark.extra_info.update(work=work.name, kind="loop", members=LOOP_MEMBERS)
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.extra_info["member_steps"] = LOOP_MEMBERS * work.steps
    benchmark.pedantic(loop_round(work, LOOP_MEMBERS), rounds=12, warmup_rounds=2)


def test_million(benchmark):
    """In a process of its own, so that its peak memory is its own."""

    def run():
        command = [sys.executable, "-m", "bench.speed.million"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    result = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(work="E1, 10^6 members, 1,000 steps", kind="alone", **result)
