"""Own models of a plug-in on the command line: what cannot work is one line and exit code 2, with nothing computed."""

import pytest

import bench.run
from bench.command import run_command
from bench.store.store import Store

pytestmark = pytest.mark.usefixtures("plugins_forgotten")

MODELS = '''
import random

import numpy as np
import torch
from torch import nn


def of(forward, **parts):
    """A model of one linear layer, `out`, and other parts; its forward is a function of the module and the inputs."""

    class Own(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.out = nn.Linear(10, outputs)
            for name, make in parts.items():
                setattr(self, name, make())

        def forward(self, x):
            return forward(self, x)

    return lambda shape, outputs: Own(outputs)


def raising(module, x):
    raise ValueError("first line\\nsecond line")


def printing(module, x):
    print("in forward", tuple(x.shape))
    return module.out(x)


def printing_values(module, x):
    print("values", x.mean())
    return module.out(x)


def no_parameter(shape, outputs):
    return nn.AvgPool1d(10)


def lazy(shape, outputs):
    return nn.LazyLinear(outputs)


def tied(shape, outputs):
    layers = nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 10), nn.Linear(10, outputs)
    layers[2].weight = layers[0].weight
    return nn.Sequential(*layers)


def underived(shape, outputs):
    return nn.Linear(10, outputs)


MODELS = {
    "lstm": of(lambda m, x: m.out(m.lstm(x.unsqueeze(1))[0][:, 0]), lstm=lambda: nn.LSTM(10, 10)),
    "branch": of(lambda m, x: m.out(x) if x.sum() > 0 else -m.out(x)),
    "more_outputs": lambda shape, outputs: nn.Linear(10, outputs + 1),
    "no_parameter": no_parameter,
    "underived": underived,
    "tuple_output": of(lambda m, x: (m.out(x), x)),
    "dict_output": of(lambda m, x: {"logits": m.out(x)}),
    "no_output": of(lambda m, x: None),
    "lazy": lazy,
    "item": of(lambda m, x: m.out(x) * x.mean().item()),
    "selecting": of(lambda m, x: m.out(x[x[:, 0] > 0])),
    "in_numpy": of(lambda m, x: m.out(torch.from_numpy(x.numpy()))),
    "complex_one": of(lambda m, x: m.out(x), extra=lambda: nn.Parameter(torch.zeros(2, dtype=torch.complex64))),
    "rand": of(lambda m, x: m.out(x + torch.rand(x.shape))),
    "multinomial": of(lambda m, x: m.out(x) + torch.multinomial(torch.ones(3), 1)),
    "numpy_random": of(lambda m, x: m.out(x) * np.random.rand()),
    "python_random": of(lambda m, x: m.out(x) * random.random()),
    "raising": of(raising),
    "tied": tied,
    "printing": of(printing),
    "printing_values": of(printing_values),
    "of_indices": of(lambda m, x: m.out(m.table(x)), table=lambda: nn.Embedding(3, 10)),
}
'''
DERIVATIVE = "relu_derivative=0.5"
REFUSED = {  # -> what the line says
    "lstm": "model=lstm: allowed is a module that torch.func.vmap can train",
    "branch": "model=branch: allowed is a module that torch.func.vmap can train",
    "more_outputs": "model=output (2, 2): allowed is an output of shape (2, 1)",
    "no_parameter": "model=AvgPool1d: allowed is a module with a parameter that is trained",
    "underived": "relu_derivative=0.5: allowed is 0.0: model=underived has no argument relu_derivative",
    "tuple_output": "model=output tuple: allowed is an output of shape (2, 1)",
    "dict_output": "model=output dict: allowed is an output of shape (2, 1)",
    "no_output": "model=output NoneType: allowed is an output of shape (2, 1)",
    "lazy": "model=weight: allowed is a module whose shapes are known (no lazy one)",
    "item": "model=item: allowed is a module that torch.func.vmap can train",
    "selecting": "model=selecting: allowed is a module that torch.func.vmap can train",
    "in_numpy": "model=in_numpy: allowed is a module that torch.func.vmap can train",
    "complex_one": "model=extra of torch.complex64: allowed is a module of real floating-point parameters",
    "rand": "dropout as the only random operation",
    "multinomial": "dropout as the only random operation",
    "numpy_random": "model=numpy_random: allowed is a forward pass that gives the same again",
    "python_random": "model=python_random: allowed is a forward pass that gives the same again",
    "raising": "(ValueError: first line second line)",
    "of_indices": "model=of_indices: allowed is a module that torch.func.vmap can train",
}
WORKS = ["tied", "printing", "printing_values"]
SIZE = ["dataset=diabetes", "optimizer=sgd", "steps=2", "evaluations=1", "seeds=2", "device=cpu", "engine=eager"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(MODELS)

    def run(model, *arguments):
        given = [*SIZE, f"plugins=[{folder / 'own.py'}]", f"model={model}", *arguments]
        return run_command(bench.run.main, [*given, f"results_dir={folder / model}"]), folder / model

    return run


@pytest.mark.parametrize("model", REFUSED)
def test_what_cannot_work_is_one_line_before_any_compute(command, model, capfd):
    code, folder = command(model, *([DERIVATIVE] if model == "underived" else []))
    out, err = capfd.readouterr()
    assert (code, out) == (2, "") and err.count("\n") == 1, out + err
    assert REFUSED[model] in err and not list(folder.rglob("*.parquet"))


@pytest.mark.parametrize("model", WORKS)
def test_what_is_unusual_works(command, model, capfd):
    code, folder = command(model)
    out, err = capfd.readouterr()
    assert code == 0 and not err and Store(folder).members()["status"].to_list() == ["done"] * 2, out + err
