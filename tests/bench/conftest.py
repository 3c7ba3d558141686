"""A tiny suite, computed once per session, and a configuration folder of a test's own."""

import copy
import shutil
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import bench.cell.config
import bench.execution.engine
import bench.run
import bench.suite.suite
from bench.cell import added, plugins
from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.command import run_command
from bench.execution.record import computed_rows
from bench.logger.wandb_logger import wandb
from bench.store.store import Store
from shb import datasets
from shb.datasets import DATASETS
from shb.models import MODELS
from shb.optimizers import OPTIMIZERS
from shb.problems import CLOSED_FORMS, LOSSES
from shb.schedules import SCHEDULES
from shb.training import run_chunked

SUITE_SIZE = ["steps=4", "evaluations=2", "model.hidden=[2]", "device=cpu", "logger=none"]
ROOT = Path(bench.run.__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "plugin.py"


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


@pytest.fixture(scope="session")
def finished_eager(tmp_path_factory):
    """The same under the eager engine, as on a machine where nothing is built: for suites that do not name its folder,
    and so not the engine that is settled there.
    """
    folder = tmp_path_factory.mktemp("finished_eager") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.execution.engine, "built", lambda: False)
        assert run_command(bench.run.main, ["suite=smoke", *SUITE_SIZE, f"results_dir={folder}"]) == 0
    return folder


@pytest.fixture
def finished_copy(finished, tmp_path):
    """The finished store, copied to where `tiny_suite` looks for it."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


@pytest.fixture
def write_suite(tmp_path, monkeypatch):
    """Writes conf/suite/NAME.yaml, the smoke suite with changes, in a copy of conf/ that bench then uses."""
    conf = Path(shutil.copytree(bench.cell.config.CONF, tmp_path / "conf"))
    monkeypatch.setattr(bench.cell.config, "CONF", conf)
    monkeypatch.setattr(bench.suite.suite, "CONF", conf)

    def write(name, **changes):
        smoke = OmegaConf.to_container(OmegaConf.load(conf / "suite" / "smoke.yaml"))
        smoke.pop("frozen")  # of the suite as it is
        OmegaConf.save(OmegaConf.create({**smoke, "name": name, **changes}), conf / "suite" / f"{name}.yaml")

    return write


@pytest.fixture
def contents():
    """A function folder -> {relative path: bytes}; {} if there is no folder."""
    return lambda folder: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def wandb_home(tmp_path_factory):
    """An empty home and working directory, no W&B account, and a wandb process of this module's own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "NETRC"):
            patch.delenv(name, raising=False)
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "WANDB_CONFIG_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(folder))
        patch.chdir(folder)
        wandb.teardown()
        yield folder
        wandb.teardown()


@pytest.fixture
def fresh_wandb():
    """wandb reads its settings once a process: make it read them again, before and after the test."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Computes the cell that some overrides describe (once) and returns it with its store."""
    known = {}

    def compute(overrides):
        key = tuple(overrides)
        if key not in known:
            cell = build_cell(compose_config(overrides))
            chunks = run_chunked(cell.problem(), cell.optimizer, list(cell.members), cell.plan)
            trajectories = [trajectory for chunk in chunks for trajectory in chunk]
            store = Store(tmp_path_factory.mktemp("store"))
            store.write(*computed_rows(cell, range(len(cell.ids)), trajectories, cell.plan.steps, 1.0))
            known[key] = cell, store
        return known[key]

    return compute


@pytest.fixture(scope="module")
def plugins_forgotten():
    """What a module loads is forgotten after it: other tests run in this process."""
    compose_config([])  # Hydra enters its own
    tables = (OPTIMIZERS, MODELS, DATASETS, datasets._LOADERS, CLOSED_FORMS, added._FIELDS, added._SOURCES)
    tables = (*tables, SCHEDULES, LOSSES, plugins._loaded, ConfigStore.instance().repo)
    before = [copy.deepcopy(table) if table is tables[-1] else dict(table) for table in tables]
    yield
    for table, old in zip(tables, before):
        table.clear()
        table.update(old)
