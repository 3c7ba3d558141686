"""A user's own model is refused in one line before anything is computed, or works."""

import pytest
import torch
from torch import nn

from bench.cell.cell import build_cell
from bench.cell.groups import InitConfig, ModelConfig
from bench.cell.problem import build_problem, problem_spec
from shb.errors import ConfigurationError
from shb.models import MODELS


class Recurrent(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.lstm, self.out = nn.LSTM(10, 3), nn.Linear(3, outputs)

    def forward(self, x):
        return self.out(self.lstm(x.unsqueeze(0))[0][0])


class Branching(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.out = nn.Linear(10, outputs)

    def forward(self, x):
        return self.out(x) if x.sum() > 0 else -self.out(x)


class Noisy(Branching):
    def forward(self, x):
        return self.out(x + torch.randn_like(x))


class Bare(Branching):
    def __init__(self, outputs):
        super().__init__(outputs)
        self.scale = torch.ones(10)


def complex_one(outputs):
    module = nn.Linear(10, outputs)
    module.extra = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    return module


REFUSED = {
    "lstm": (Recurrent, "model=own: .*vmap"),
    "batch norm": (
        lambda outputs: nn.Sequential(nn.BatchNorm1d(10, momentum=None), nn.Linear(10, outputs)),
        "model=own: .*vmap",
    ),
    "branch": (Branching, "model=own: .*data-dependent control flow"),
    "random": (Noisy, "dropout as the only random operation"),
    "bare tensor": (Bare, r"model=scale: .*register_buffer"),
    "outputs": (lambda outputs: nn.Linear(10, outputs + 1), r"model=output \(2, 2\): .*\(2, 1\)"),
    "shape": (lambda outputs: nn.Flatten(0), "parameter that is trained"),
    "features": (lambda outputs: nn.Linear(7, outputs), "model=own: .*vmap"),
    "frozen": (lambda outputs: nn.Linear(10, outputs).requires_grad_(False), "parameter that is trained"),
    "lazy": (lambda outputs: nn.LazyLinear(outputs), "no lazy one"),
    "complex": (complex_one, "real floating-point"),
    "constructor": (lambda outputs: nn.Linear(10, "x"), "model=own: .*can be made"),
    "no module": (lambda outputs: torch.relu, "returns a torch.nn.Module"),
}


@pytest.fixture
def own(tiny_config, monkeypatch):
    """Register a model without any further argument, and return the configuration that names it."""

    def register(make):
        monkeypatch.setitem(MODELS, "own", lambda feature_shape, outputs: make(outputs))
        tiny_config.model = ModelConfig("own")
        return tiny_config

    return register


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line_before_any_compute(own, name):
    make, message = REFUSED[name]
    with pytest.raises(ConfigurationError, match=message) as caught:
        build_cell(own(make))
    assert "\n" not in str(caught.value)


def test_batch_norm_of_single_samples_is_refused(own):
    config = own(lambda outputs: nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, outputs)))
    config.batch_size = 1
    with pytest.raises(ConfigurationError, match="more than 1 value per channel"):
        build_cell(config)


def test_a_derivative_is_refused_by_a_model_without_one_and_an_unknown_option_too(own):
    config = own(lambda outputs: nn.Linear(10, outputs))
    build_cell(config)
    config.relu_derivative = 0.5
    with pytest.raises(ConfigurationError, match=r"relu_derivative=0\.5: allowed is 0\.0: model=own"):
        build_cell(config)
    with pytest.raises(ConfigurationError, match=r"model\.width=3: allowed is nothing"):
        ModelConfig("own", {"width": 3}).check()


def test_auto_keeps_the_initialisation_of_a_module_that_torch_default_does_not_know(own):
    def make(outputs):
        return nn.Sequential(nn.Linear(10, 3), nn.LayerNorm(3), nn.Linear(3, outputs))

    config = own(make)
    assert problem_spec(config)[0]["init"] == {"name": "module"}
    assert torch.equal(build_cell(config).problem().initial_parameters(0)["1.weight"], torch.ones(3))
    config.init = InitConfig("torch_default")
    with pytest.raises(ConfigurationError, match=r"init=torch_default: allowed is module: .* 1\.weight"):
        build_cell(config)
    build_problem.cache_clear()


def test_auto_is_torch_default_for_linear_layers(own, tiny_config):
    assert problem_spec(tiny_config)[0]["init"] == {"name": "torch_default"}
    assert problem_spec(own(lambda outputs: nn.Linear(10, outputs)))[0]["init"] == {"name": "torch_default"}
