"""A tiny suite, computed once per session, and a configuration folder of a test's own."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import bench.config
import bench.run
import bench.suite
from bench.command import run_command

SUITE_SIZE = ["steps=4", "evaluations=2", "model.hidden=[2]", "device=cpu", "logger=none"]
ROOT = Path(bench.run.__file__).resolve().parents[1]


@pytest.fixture
def tiny_suite(tmp_path):
    """Command line of the smoke suite with runs of four steps; its store is tmp_path / "results"."""
    return ["suite=smoke", *SUITE_SIZE, f"results_dir={tmp_path / 'results'}"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Store of an uninterrupted run of the tiny suite; read-only, see `finished_copy`."""
    folder = tmp_path_factory.mktemp("finished") / "results"
    assert run_command(bench.run.main, ["suite=smoke", *SUITE_SIZE, f"results_dir={folder}"]) == 0
    return folder


@pytest.fixture
def finished_copy(finished, tmp_path):
    """The finished store, copied to where `tiny_suite` looks for it."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


@pytest.fixture
def write_suite(tmp_path, monkeypatch):
    """Writes conf/suite/NAME.yaml, the smoke suite with changes, in a copy of conf/ that bench then uses."""
    conf = Path(shutil.copytree(bench.config.CONF, tmp_path / "conf"))
    monkeypatch.setattr(bench.config, "CONF", conf)
    monkeypatch.setattr(bench.suite, "CONF", conf)

    def write(name, **changes):
        smoke = OmegaConf.to_container(OmegaConf.load(conf / "suite" / "smoke.yaml"))
        OmegaConf.save(OmegaConf.create({**smoke, "name": name, **changes}), conf / "suite" / f"{name}.yaml")

    return write


@pytest.fixture
def contents():
    """A function folder -> {relative path: bytes}; {} if there is no folder."""
    return lambda folder: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
