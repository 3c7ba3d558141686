"""The one tiny configuration that all end-to-end tests share."""

import os

import pytest

from bench.cell.config import compose_config
from shb.kernels.recording import STRICT

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


@pytest.fixture
def tiny(tmp_path):
    """Overrides of a cell that takes a fraction of a second; its store is tmp_path / "results"."""
    return [*TINY, f"results_dir={tmp_path / 'results'}"]


@pytest.fixture
def tiny_config(tiny):
    """The same, composed."""
    return compose_config(tiny)
