"""The one tiny configuration that all end-to-end tests share."""

import os
from pathlib import Path

import pytest

from bench.cell.config import compose_config
from shb.kernels.recording import STRICT
from tests.slow_cases import rows

os.environ[STRICT] = "1"  # an error of the recorder is raised, not taken for "not a tape"

TINY = (
    "dataset=diabetes",
    "model.hidden=[2]",
    "optimizer=sgd",
    "seeds=2",
    "steps=6",
    "evaluations=2",
    "logger=none",
    "device=cpu",
)


TESTS = Path(__file__).parent
CASES = pytest.StashKey[dict[tuple[str, str], list[str]]]()  # file, test -> ids of all its cases that were collected


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is marked
def pytest_collection_modifyitems(config, items):
    """Mark the cases of tests/slow_cases.py."""
    cases = config.stash.setdefault(CASES, {})
    for item in items:
        if hasattr(item, "callspec"):
            file, test, case = item.path.relative_to(TESTS).as_posix(), item.originalname, item.callspec.id
            cases.setdefault((file, test), []).append(case)
            if rows(file, test, case):
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def tiny(tmp_path):
    """Overrides of a cell that takes a fraction of a second; its store is tmp_path / "results"."""
    return [*TINY, f"results_dir={tmp_path / 'results'}"]


@pytest.fixture
def tiny_config(tiny):
    """The same, composed."""
    return compose_config(tiny)
