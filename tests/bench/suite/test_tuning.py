"""Search spaces and Sobol trials."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from bench.cell.config import compose_config, entries
from bench.cell.space import SCALES, check_space
from bench.suite.tuning import sobol_trials
from shb.errors import ConfigurationError
from shb.optimizers import get_optimizer

LR = {"low": 1e-3, "high": 1.0, "scale": "log"}
MOMENTUM = {"low": 0.5, "high": 0.99, "scale": "one_minus_log"}
DAMPENING = {"low": 0.0, "high": 0.5, "scale": "linear"}
KNOWN = {"lr": None, "momentum": 0.0, "dampening": 0.0}

axes = st.one_of(
    st.builds(
        lambda low, span: {"low": low, "high": low * span, "scale": "log"}, st.floats(1e-6, 1), st.floats(2, 1e4)
    ),
    st.builds(
        lambda rest, span: {"low": 1 - rest, "high": 1 - rest / span, "scale": "one_minus_log"},
        st.floats(1e-2, 1),
        st.floats(2, 1e3),
    ),
    st.builds(lambda low, span: {"low": low, "high": low + span, "scale": "linear"}, st.floats(-5, 5), st.floats(1, 9)),
)


@settings(max_examples=50, deadline=None)
@given(axis=axes, count=st.integers(1, 40))
def test_trials_are_within_the_bounds(axis, count):
    trials = sobol_trials({"lr": axis}, count)
    assert len(trials) == count
    margin = 1e-3 * max(abs(axis["low"]), abs(axis["high"]), 1e-9)  # four significant digits
    assert all(axis["low"] - margin <= trial["lr"] <= axis["high"] + margin for trial in trials)


@pytest.mark.parametrize(
    ("axis", "uniform"),
    [
        (LR, lambda v: np.log(v / 1e-3) / np.log(1e3)),
        (MOMENTUM, lambda v: np.log((1 - v) / 0.5) / np.log(0.01 / 0.5)),
        (DAMPENING, lambda v: v / 0.5),
    ],
)
def test_trials_fill_their_scale_evenly(axis, uniform):
    values = np.array([trial["lr"] for trial in sobol_trials({"lr": axis}, 256)])
    assert kstest(uniform(values), "uniform").statistic < 0.02
    quartiles = np.quantile(uniform(values), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [0.25, 0.5, 0.75], atol=0.01)


def test_trials_are_the_same_every_time_and_for_every_space_of_the_same_size():
    space = {"lr": LR, "momentum": MOMENTUM}
    assert sobol_trials(space, 16) == sobol_trials(space, 16)
    assert sobol_trials(space, 16)[:8] == sobol_trials(space, 8)
    renamed = [tuple(trial.values()) for trial in sobol_trials({"a": LR, "b": MOMENTUM}, 16)]
    assert renamed == [tuple(trial.values()) for trial in sobol_trials(space, 16)]
    scaled = [trial["lr"] / 10 for trial in sobol_trials({"lr": {**LR, "low": 1e-2, "high": 10.0}}, 16)]
    assert scaled == pytest.approx([trial["lr"] for trial in sobol_trials({"lr": LR}, 16)])


def test_trials_differ():
    trials = sobol_trials({"lr": LR, "momentum": MOMENTUM}, 64)
    assert len({tuple(trial.values()) for trial in trials}) == 64


@pytest.mark.parametrize("optimizer", entries("optimizer"))
def test_the_search_space_of_every_optimizer_is_usable(optimizer):
    config = compose_config([f"optimizer={optimizer}"])
    space = config.optimizer.space
    assert "lr" in space and all(axis["scale"] in SCALES for axis in space.values())
    assert get_optimizer(config.optimizer.name).name == optimizer  # the file is named after what it holds


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lrr": LR}, r"optimizer.space of shb=lrr: .*did you mean lr\?"),
        ({"lr": {**LR, "scale": "logg"}}, r"optimizer.space.lr.scale=logg: .*did you mean log\?"),
        ({"lr": {**LR, "low": 0.0}}, r"optimizer.space.lr=.*low > 0 \(log\)"),
        ({"lr": {**LR, "low": 2.0}}, r"optimizer.space.lr=.*low < high"),
        ({"lr": {**LR, "high": math.inf}}, "low < high"),
        ({"lr": {**LR, "low": math.nan}}, "low < high"),
        ({"momentum": {**MOMENTUM, "high": 1.0}}, r"high < 1 \(one_minus_log\)"),
        ({"dampening": {**DAMPENING, "high": 0.0}}, "low < high"),
    ],
)
def test_a_wrong_space_is_refused(space, message):
    with pytest.raises(ConfigurationError, match=message):
        check_space("shb", space, KNOWN)


def test_settings_are_json():
    """What the runner reads back from the winning row."""
    space = {"lr": LR, "momentum": MOMENTUM}
    for trial in sobol_trials(space, 16):
        assert json.loads(json.dumps(trial)) == trial
