"""pytest-benchmark cases; `make speed` runs them and prints the ratios. Nothing here is a timed test.

The cases of one work are neighbours, because the speed of a machine drifts.
"""

import json
import subprocess
import sys

import pytest
import torch

from bench.speed import jax_work, peak
from bench.speed.loop import Loop, Workers
from bench.speed.memory import needed_bytes, peak_bytes
from bench.speed.work import WORKS, compile_seconds, stacked_round
from shb.training import ENGINES, why_not

RUNS = (*ENGINES, "loop", "loop, one thread", "loop, processes", "jax", "jax, drawing")
CASES = [
    pytest.param(work, run, id=f"{run}, {work.name}")
    for work in WORKS
    for run in RUNS
    if run != "jax, drawing" or work.kind == "closed form"
]
JAX_ROUNDS = {"mlp": 15, "cnn": 3, "closed form": 5}  # grouped convolutions take JAX a long time on a CPU


@pytest.fixture(scope="session")
def workers():
    started = Workers(torch.get_num_threads())
    yield started
    started.close()


@pytest.fixture
def one_thread(request):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("how", ["product", "native_product", "copy"])
def test_peak(benchmark, how):
    if how == "native_product" and why_not() is not None:
        pytest.skip(f"nothing can be compiled here: {why_not()}")
    run, amount = getattr(peak, how)()
    benchmark.extra_info.update(role=how, member_steps=amount)
    benchmark.pedantic(run, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize(("work", "run"), CASES)
def test_rate(benchmark, request, work, run):
    benchmark.extra_info["work"] = work.name
    if run in ENGINES:
        time_stack(benchmark, work, run)
    elif run.startswith("jax"):
        time_jax(benchmark, work, run)
    elif run == "loop, processes":
        time_processes(benchmark, work, request.getfixturevalue("workers"))
    else:
        if run == "loop, one thread":
            request.getfixturevalue("one_thread")
        time_loop(benchmark, work)


def time_stack(benchmark, work, engine):
    if engine == "compiled" and why_not() is not None:
        pytest.skip(f"nothing can be compiled here: {why_not()}")
    width = work.width(engine)
    benchmark.extra_info.update(role=engine, width=width, member_steps=work.members * work.steps)
    benchmark.extra_info["compile_seconds"] = compile_seconds(work) if engine == "compiled" else None
    if work.problem.device.type == "cpu":
        benchmark.extra_info |= {"peak": peak_bytes(work, engine, width), "needed": needed_bytes(work, width)}
    benchmark.pedantic(stacked_round(work, engine, width), rounds=work.rounds, warmup_rounds=1)


def time_loop(benchmark, work):
    loop, threads = Loop(work, range(work.looped), work.loop_steps), torch.get_num_threads()
    how = f"1 process x {threads} thread{'s' if threads > 1 else ''}"
    benchmark.extra_info.update(role="loop", loop=how, member_steps=loop.member_steps)
    benchmark.pedantic(loop.run, setup=loop.reset, rounds=work.loop_rounds, warmup_rounds=1)


def time_processes(benchmark, work, workers):
    workers.load(work, work.looped, work.loop_steps)
    workers.run()
    rates = []
    benchmark.pedantic(lambda: rates.append(workers.run()), rounds=work.loop_rounds)
    benchmark.extra_info.update(role="loop", loop=f"{workers.count} processes x 1 thread", rates=rates)


def time_jax(benchmark, work, run):
    if not jax_work.INSTALLED:
        pytest.skip(f"JAX: {jax_work.NOT_INSTALLED}")
    benchmark.extra_info.update(role=run, member_steps=work.members * work.steps)
    train = jax_work.jax_round(work, draws=run == "jax, drawing")
    benchmark.pedantic(train, rounds=JAX_ROUNDS[work.kind], warmup_rounds=2 if work.kind == "mlp" else 1)


def test_million(benchmark):
    """In a process of its own, so that its peak memory is its own."""

    def run():
        command = [sys.executable, "-m", "bench.speed.million"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    result = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(role="million", work="E1, 10^6 members, 1,000 steps", **result)
