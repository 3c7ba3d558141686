"""Runs end to end: resuming, a failing cell, a full disk, an interruption and a kill."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import bench.cell.problem
import bench.execution.runner
from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.command import run_command
from bench.run import main
from bench.store.schema import METRICS
from bench.store.store import Store
from bench.terminal.progress import Reporter
from shb.training import Stack, minimal_width
from tests.bench.conftest import ROOT

SUITE_MEMBERS = 2 * 3 * (4 * 2 + 4)  # problems x optimizers x (trials x tuning seeds + evaluation seeds)
EXACT = ["member_id", "problem", "optimizer", "seed", "status", "spec", *METRICS]


@pytest.fixture
def run(capsys):
    """Runs a command; returns exit code, stdout and stderr."""

    def run(arguments):
        capsys.readouterr()
        code = run_command(main, arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def break_optimizer(monkeypatch):
    """Makes the steps of an optimizer fail, from the first or a later one on."""

    def broken(name, after=0):
        advance, done = Stack.advance, []

        def failing(stack, state, start, stop, *rest):
            if stack.optimizer.name == name:
                done.extend(range(start, stop))
                if len(done) > after:
                    raise ValueError("fault\ninjected")
            return advance(stack, state, start, stop, *rest)

        monkeypatch.setattr(Stack, "advance", failing)

    return broken


def results(folder):
    """What must not depend on how a store came about: members with metrics, and their curves."""
    store = Store(folder)
    members = store.members().select(EXACT).sort("member_id")
    return members, store.curves(members["member_id"].to_list())


def assert_same_results(folder, expected):
    for own, other in zip(results(folder), results(expected)):
        assert_frame_equal(own, other, check_exact=True)


def test_a_repeated_command_computes_nothing(run, tiny):
    code, out, err = run(tiny)
    assert (code, err) == (0, "") and "2 members to compute (0 of 2 in" in out
    code, out, _ = run(tiny)
    assert code == 0 and "0 members to compute (2 of 2 in" in out


def test_more_seeds_compute_the_difference(run, tiny, tiny_config):
    tiny.remove("seeds=2")
    assert run([*tiny, "seeds=3"])[0] == 0
    before = Store(tiny_config.results_dir).members()
    code, out, _ = run([*tiny, "seeds=5"])
    assert code == 0 and "2 members to compute (3 of 5 in" in out
    after = Store(tiny_config.results_dir).members()
    assert_frame_equal(after.filter(pl.col("seed") < 3).sort("seed"), before.sort("seed"), check_exact=True)
    assert set(after["seed"]) == set(range(5)) and pl.read_parquet(f"{tiny_config.results_dir}/members/*").height == 5


def test_a_list_is_computed_per_setting_and_seed(run, tiny, tiny_config):
    assert run([*tiny, "optimizer.lr=[0.1,0.2]"])[0] == 0
    members = Store(tiny_config.results_dir).members()
    assert set(members.select("lr", "seed").iter_rows()) == {(lr, seed) for lr in (0.1, 0.2) for seed in (0, 1)}


def test_unstable_momentum_runs_and_is_marked(run, tiny, tiny_config):
    tiny.remove("optimizer=sgd")
    unstable = ["optimizer=shb", "optimizer.allow_unstable=true", "optimizer.momentum=[0.5,-1.5]"]
    code, out, _ = run([*tiny, *unstable])
    assert code == 0 and "momentum outside (-1, 1)" in out
    marks = Store(tiny_config.results_dir).members().select("momentum", "unstable_momentum").unique()
    assert dict(marks.iter_rows()) == {0.5: False, -1.5: True}


def test_divergence_is_a_result(run, tiny, tiny_config):
    code, _, _ = run([*tiny, "optimizer.lr=[0.1,1e30]"])
    assert code == 0
    members = Store(tiny_config.results_dir).members()
    diverged = members.filter(pl.col("status") == "diverged")
    assert diverged["lr"].to_list() == [1e30] * 2
    assert diverged["diverged_step"].is_between(0, 6).all() and diverged["test_loss"].null_count() == 2
    assert run([*tiny, "optimizer.lr=[0.1,1e30]"])[1].startswith("0 members to compute")


def test_a_failing_cell_does_not_stop_the_others(run, tiny_suite, tmp_path, finished, monkeypatch, break_optimizer):
    break_optimizer("shb")
    code, out, _ = run(tiny_suite)
    assert code == 1
    for problem in ("digits/mlp", "diabetes/mlp"):
        assert f"failed: {problem} shb: ValueError: fault injected" in out
    assert "2 of the cells failed" in out and "Traceback" in out
    members = Store(tmp_path / "results").members()
    by_status = dict(members.group_by("status").len().iter_rows())
    assert by_status.pop("failed") == 2 * 8
    assert sum(by_status.values()) == SUITE_MEMBERS - 2 * (8 + 4)  # done, or diverged at a large trial step
    assert set(members.filter(pl.col("status") == "failed")["error"]) == {"ValueError: fault injected"}
    assert not json.loads((tmp_path / "results" / "leaderboard.json").read_text())["complete"]
    monkeypatch.undo()  # the fault is removed
    code, out, _ = run(tiny_suite)
    assert code == 0 and "24 members to compute (48 of 72" in out
    assert_same_results(tmp_path / "results", finished)


def test_a_cell_that_fails_in_the_middle_keeps_its_chunks(run, tiny, tiny_config, monkeypatch, break_optimizer):
    width = minimal_width()
    arguments = [*tiny, f"seeds={2 * width}", "memory=1e-9"]  # stacks of minimal width: two chunks
    arguments.remove("seeds=2")
    break_optimizer("sgd", after=tiny_config.steps)
    assert run(arguments)[0] == 1
    statuses = Store(tiny_config.results_dir).members().sort("seed")["status"].to_list()
    assert statuses == ["done"] * width + ["failed"] * width
    monkeypatch.undo()  # the fault is removed
    code, out, _ = run(arguments)
    assert code == 0 and f"{width} members to compute ({width} of {2 * width}" in out
    assert set(Store(tiny_config.results_dir).members()["status"]) == {"done"}


def test_a_problem_that_cannot_be_built_fails_when_its_turn_comes(run, tiny, tiny_config, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no such network")

    bench.cell.problem.build_problem.cache_clear()
    monkeypatch.setattr(bench.cell.problem, "LearningProblem", broken)
    code, out, _ = run(tiny)
    assert code == 1 and "failed: diabetes/mlp sgd: RuntimeError: no such network" in out
    assert set(Store(tiny_config.results_dir).members()["status"]) == {"failed"}


@pytest.mark.parametrize("command", ["tiny", "tiny_suite"])
def test_a_full_disk_is_one_line(run, request, monkeypatch, command):
    def full(self, kind, frame):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "_write_shard", full)
    code, _, err = run(request.getfixturevalue(command))
    assert code == 1 and err.count("\n") == 1
    assert "No space left on device" in err and "repeat the command to go on" in err


def test_a_write_that_fails_once_is_not_a_failed_cell(run, tiny, tiny_config, monkeypatch):
    write, calls = Store._write_shard, []

    def fails_once(self, kind, frame):
        calls.append(kind)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(self, kind, frame)

    monkeypatch.setattr(Store, "_write_shard", fails_once)
    code, out, err = run(tiny)
    assert code == 1 and "Input/output error" in err and "failed" not in out
    assert Store(tiny_config.results_dir).members().is_empty()


def test_an_interruption_keeps_finished_chunks(run, tiny_suite, tmp_path, finished, monkeypatch):
    chunks = []

    def interrupt(self, count):
        chunks.append(count)
        if len(chunks) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "members", interrupt)
        code, _, err = run(tiny_suite)
    assert code == 130 and err.count("\n") == 1 and "repeat the command to go on" in err
    assert Store(tmp_path / "results").members().height == sum(chunks) == 8 + 4 + 8
    code, out, _ = run(tiny_suite)
    assert code == 0 and f"{SUITE_MEMBERS - 20} members to compute (20 of {SUITE_MEMBERS} in" in out
    assert pl.read_parquet(f"{tmp_path}/results/members/*").height == SUITE_MEMBERS  # nothing twice
    assert_same_results(tmp_path / "results", finished)
    boards = [json.loads((folder / "leaderboard.json").read_text()) for folder in (tmp_path / "results", finished)]
    assert [board.pop("time_ratios") is None for board in boards] == [False, False]  # what it took may differ
    assert boards[0] == boards[1]
    assert (tmp_path / "results" / "leaderboard.csv").read_bytes() == (finished / "leaderboard.csv").read_bytes()
    texts = [(folder / "leaderboard.md").read_text().splitlines() for folder in (tmp_path / "results", finished)]
    assert len({"\n".join(line for line in text if not line.startswith("Time per step")) for text in texts}) == 1
    assert run(tiny_suite)[1].startswith(f"0 members to compute ({SUITE_MEMBERS} of {SUITE_MEMBERS} in")


@pytest.mark.slow
def test_a_killed_run_is_completed_by_the_next(run, tiny_suite, tmp_path, finished):
    """Results are bit for bit those of the run that was not killed."""
    command = [sys.executable, "-m", "bench.run", *tiny_suite]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("results/members/*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = Store(tmp_path / "results").members().height
    assert 0 < kept < SUITE_MEMBERS
    code, out, _ = run(tiny_suite)
    assert code == 0 and f"{SUITE_MEMBERS - kept} members to compute ({kept} of" in out
    assert_same_results(tmp_path / "results", finished)


def test_a_checkpoint_is_removed_when_its_chunk_is_stored(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        bench.execution.runner.Checkpoint.__init__, "__defaults__", (0.0, "cpu")
    )  # write at every chance
    written = []
    save = bench.execution.runner.Checkpoint.save_if_due
    monkeypatch.setattr(
        bench.execution.runner.Checkpoint,
        "save_if_due",
        lambda self, state: (save(self, state), written.append(self.path)),
    )
    assert run(tiny)[0] == 0
    assert written and not list(tmp_path.glob("results/checkpoints/*"))


def test_a_stack_killed_between_evaluations_goes_on_from_its_checkpoint(run, tiny, tmp_path, monkeypatch):
    """The second process does steps 3 to 6 of 6, and its rate counts no others."""
    other = tmp_path / "other"
    assert run([*tiny, f"results_dir={other}"])[0] == 0
    monkeypatch.setattr(bench.execution.runner.Checkpoint.__init__, "__defaults__", (0.0, "cpu"))
    calls = []

    def killed(reporter, amount):
        calls.append(amount)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bench.terminal.progress.Reporter, "work", killed)
        assert run(tiny)[0] == 130
    assert len(list(tmp_path.glob("results/checkpoints/*.safetensors"))) == 1
    assert not list(tmp_path.glob("results/members/*"))
    assert run(tiny)[0] == 0
    assert_same_results(tmp_path / "results", other)
    row = Store(tmp_path / "results").members().row(0, named=True)
    assert row["member_steps_per_second"] * row["stack_seconds"] == pytest.approx(2 * 3)
    assert not list(tmp_path.glob("results/checkpoints/*"))


def test_members_are_the_same_in_any_chunks(run, tiny, tmp_path):
    tiny = [override for override in tiny if not override.startswith("seeds")] + [f"seeds={2 * minimal_width() + 1}"]
    assert run(tiny)[0] == 0
    other = tmp_path / "other"
    assert run([*tiny, "memory=1e-9", f"results_dir={other}"])[0] == 0
    assert [len(list((f / "members").iterdir())) for f in (tmp_path / "results", other)] == [1, 3]
    assert_same_results(other, tmp_path / "results")


def test_rows_say_what_computed_them(run, tiny, tiny_config):
    assert run(tiny)[0] == 0
    cell = build_cell(compose_config(tiny))
    for row in Store(tiny_config.results_dir).members().iter_rows(named=True):
        assert row["dataset_checksum"] == cell.problem_spec["checksum"]
        assert row["threads"] >= 1 and row["torch"] and row["python"] and row["cpu"] and row["code_commit"]
        assert row["stack_members"] == 2 and row["device_name"] == "cpu"
        rate = row["stack_members"] * row["steps"] / row["stack_seconds"]
        assert row["member_steps_per_second"] == pytest.approx(rate)
