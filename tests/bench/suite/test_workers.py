"""A suite in several processes: the members and the table of one process, and what happens when one of them ends."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import bench.run
from bench.cell.config import compose_config
from bench.command import run_command
from bench.execution.processes import WorkerError
from bench.store.schema import METRICS
from bench.store.store import Store
from bench.suite.suite import load_suite
from bench.suite.workers import WORTH, RemoteReporter, run_pairs, worker_count
from bench.terminal.progress import Reporter


def assert_gone(processes):
    """By their pids: two threads wait for them, and the one that comes second takes a dead process for alive."""
    assert len(processes) == 2
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            for _ in range(200):
                os.kill(pid, 0)
                time.sleep(0.1)


def bits(folder):
    return Store(folder).members().select("member_id", "status", *METRICS).sort("member_id")


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tiny_suite, finished, tmp_path, capsys):
    assert run_command(bench.run.main, [*tiny_suite, "workers=2"]) == 0
    assert "2 worker processes" in capsys.readouterr().out
    folder = tmp_path / "results"
    assert bits(folder).equals(bits(finished), null_equal=True)
    assert (folder / "leaderboard.csv").read_text() == (finished / "leaderboard.csv").read_text()
    before = Store(folder).members()["created"].to_list()
    assert run_command(bench.run.main, [*tiny_suite, "workers=2"]) == 0  # nothing is computed again
    assert Store(folder).members()["created"].to_list() == before


def test_a_store_that_cannot_be_written_is_one_line(tiny_suite, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "curves").write_text("a file where the shards go")
    assert run_command(bench.run.main, [*tiny_suite, "workers=2"]) == 2  # refused before any compute
    captured = capsys.readouterr()
    assert "results" in captured.out + captured.err and "Traceback" not in captured.out + captured.err


def test_a_killed_process_is_reported_and_leaves_none_behind(tiny_suite):
    overrides = tiny_suite[1:]
    suite = load_suite("smoke", overrides)
    config = compose_config([*next(iter(suite.problems.values())), *overrides])

    killed = []

    def kill():
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        time.sleep(0.5)
        killed.extend(process.pid for process in multiprocessing.active_children())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with Reporter(Console(), 72, 1.0) as reporter, pytest.raises(WorkerError, match=r"killed.*workers=1"):
        list(run_pairs(suite, config, reporter, 2))
    killer.join()
    assert_gone(killed)


@pytest.mark.slow
def test_an_interruption_ends_the_processes(tiny_suite):
    overrides = tiny_suite[1:]
    suite = load_suite("smoke", overrides)
    config = compose_config([*next(iter(suite.problems.values())), *overrides])
    with Reporter(Console(), 72, 1.0) as reporter:
        running = run_pairs(suite, config, reporter, 2)
        next(running)
        processes = [process.pid for process in multiprocessing.active_children()]
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt)
    assert_gone(processes)
    assert len(Store(config.results_dir).members()) < 72


def test_processes_are_started_where_that_pays(monkeypatch):
    config = SimpleNamespace(workers=None, threads=4, device="cpu")
    assert worker_count(config, 20, 2 * WORTH) == 4
    assert worker_count(config, 3, 2 * WORTH) == 3
    assert worker_count(config, 20, WORTH / 2) == 1
    assert worker_count(SimpleNamespace(**{**vars(config), "device": "cuda"}), 20, 2 * WORTH) == 1
    assert worker_count(SimpleNamespace(**{**vars(config), "workers": 2}), 20, 0.0) == 2
    assert worker_count(SimpleNamespace(**{**vars(config), "workers": 9}), 2, 0.0) == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert worker_count(SimpleNamespace(**{**vars(config), "device": "auto"}), 20, 2 * WORTH) == 1


def test_no_processes_is_a_mistake(tiny_suite, capsys):
    assert run_command(bench.run.main, [*tiny_suite, "workers=0"]) == 2
    assert "workers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "argument"), [("describe", "e1 sgd"), ("work", 2.5), ("members", 3), ("line", "done")]
)
def test_a_process_reports_by_the_methods_of_the_display(name, argument):
    events = []
    getattr(RemoteReporter(SimpleNamespace(put=events.append)), name)(argument)
    assert pickle.loads(pickle.dumps(events)) == [(getattr(Reporter, name), argument)]
