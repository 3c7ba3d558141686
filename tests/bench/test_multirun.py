"""A matrix (-m) on Hydra's launchers: the store keeps the books, nothing else is left behind."""

import errno
import os
import subprocess
import sys

import pytest

from bench.command import run_command
from bench.run import main
from bench.store.store import Store
from shb.training import Stack
from tests.bench.conftest import EXAMPLE, ROOT
from tests.conftest import TINY

MATRIX = [o for o in TINY if not o.startswith("optimizer")] + ["optimizer=sgd,shb", "optimizer.lr=0.1", "model=mlp"]


def bench_run(folder, *arguments):
    command = [sys.executable, "-m", "bench.run", "-m", *MATRIX, "results_dir=results", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_a_matrix_in_a_process_of_its_own(tmp_path, launcher):
    """In other processes with an own optimizer, which the launcher's have to load."""
    own, optimizers = (), ("sgd", "shb")
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
        own, optimizers = (f"plugins=[{EXAMPLE}]", "optimizer=sgd,signsgd"), ("sgd", "signsgd")
    done = bench_run(tmp_path, *launcher, *own)
    assert done.returncode == 0, done.stderr
    members = Store(tmp_path / "results").members()
    expected = {(optimizer, 0.1, seed) for optimizer in optimizers for seed in (0, 1)}
    assert set(members.select("optimizer", "lr", "seed").iter_rows()) == expected
    assert set(members["status"]) == {"done"}
    assert {path.name for path in tmp_path.iterdir()} == {"results"}  # no outputs/, no multirun/


@pytest.fixture
def multirun(tmp_path, monkeypatch, capsys):
    """Runs the matrix in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        arguments = ["-m", *MATRIX, "results_dir=results", *arguments]
        monkeypatch.setattr(sys, "argv", ["bench.run", *arguments])
        capsys.readouterr()
        code = run_command(main, arguments)
        return code, *capsys.readouterr()

    return run


def test_a_failing_job_does_not_hide_the_others(multirun, tmp_path, monkeypatch):
    right = Stack.advance

    def broken(stack, *arguments):
        if stack.optimizer.name == "sgd":
            raise ValueError("fault injected")
        right(stack, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Stack, "advance", broken)
        code, out, _ = multirun()
    assert code == 1
    assert "failed: diabetes/mlp sgd (2 members): ValueError: fault injected" in out
    members = Store(tmp_path / "results").members()
    statuses = dict(members.select("optimizer", "status").unique().iter_rows())
    assert statuses == {"sgd": "failed", "shb": "done"}
    code, out, _ = multirun()
    assert code == 0 and "2 members to compute" in out and "0 members to compute" in out


def test_nothing_runs_if_any_job_is_wrong(multirun, tmp_path):
    code, _, err = multirun("seeds=1,0")
    assert code == 2 and err.count("\n") == 1 and "seeds=0" in err
    assert not list(tmp_path.iterdir())


def test_a_full_disk(multirun, monkeypatch):
    def full(self, kind, frame):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "_write_shard", full)
    code, out, err = multirun()
    assert code == 1 and out.count("No space left on device") == 2 and "Traceback" not in out + err
    assert "failed: diabetes/mlp shb (2 members): not computed" in out and "repeat the command" in out


@pytest.mark.parametrize(("option", "text"), [("--help", "optimizer"), ("--cfg=job", "seeds: 10")])
def test_hydra_answers_questions(monkeypatch, tmp_path, capsys, option, text):
    monkeypatch.chdir(tmp_path)
    arguments = option.split("=")
    monkeypatch.setattr(sys, "argv", ["bench.run", *arguments])
    try:
        code = run_command(main, arguments)
    except SystemExit as stop:  # Hydra's own way of ending --help
        code = stop.code
    assert code == 0
    assert text in capsys.readouterr().out and not list(tmp_path.iterdir())
