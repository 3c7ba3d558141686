"""A planted defect makes exactly its check fail; what is shipped passes all."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import bench.cell.config
from bench.check.__main__ import main
from bench.command import run_command
from shb.datasets import _LOADERS, DATASETS, DatasetFacts
from shb.datasets.dataset import build_dataset, permuted_split
from shb.models import MODELS
from shb.optimizers import OPTIMIZERS, Optimizer, expand
from shb.problems import CLOSED_FORMS, E1, LOSSES
from shb.training import why_not

NETWORK = ["dataset=diabetes", "model.hidden=[2]", "steps=3", "batch_size=4"]
SMALL = ["problem=e4", "steps=9"]
EAGER = [*SMALL, "engine=eager"]
HERE = ["eager"] if why_not() else ["eager", "compiled"]  # the engines that are checked


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    """Writes an entry into a copy of conf/ that bench then uses."""
    conf = Path(shutil.copytree(bench.cell.config.CONF, tmp_path / "conf"))
    monkeypatch.setattr(bench.cell.config, "CONF", conf)
    return lambda group, name, text="": (conf / group / f"{name}.yaml").write_text(f"name: {name}\n{text}")


@pytest.fixture
def checked(capsys, contents, tmp_path, monkeypatch):
    """Runs the command in an empty folder; its exit code, and the lines of checks that failed: name -> text."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        code = run_command(main, list(arguments))
        out, err = capsys.readouterr()
        assert not err and not contents(folder)
        lines = [line for line in out.splitlines() if line.startswith("FAILED")]
        assert code == bool(lines)
        return {line[12:].split("  ")[0].strip(): line for line in lines}

    return run


@pytest.fixture
def own_rule(own_conf, monkeypatch):
    def register(name, update, init=lambda params, numbers, velocity=None: {}, fields="lr: 0.05\n", names=("lr",)):
        monkeypatch.setitem(OPTIMIZERS, name, Optimizer(name, dict.fromkeys(names), init, update))
        own_conf("optimizer", name, fields)
        return f"optimizer={name}"

    return register


@pytest.fixture
def own_model(own_conf, monkeypatch):
    def register(name, make, fields=""):
        monkeypatch.setitem(MODELS, name, make)
        own_conf("model", name, fields)
        return [f"model={name}", "dataset=diabetes", "engine=eager", "optimizer=sgd", "steps=3", "batch_size=4"]

    return register


def sgd_with(scale):
    """SGD whose step size is scaled by `scale(lr, w, k)`."""

    def update(params, grads, state, numbers, k):
        lr = numbers["lr"]
        return {n: w - expand(scale(lr, w, k), w) * grads[n] for n, w in params.items()}, state

    return update


def only(failed, *names):
    assert set(failed) == set(names), failed
    text = failed[names[0]]
    assert " Cure: " in text or "allowed is" in text
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        ["problem=e1", "steps=9", "engine=eager"],
        ["optimizer=adam", *NETWORK],
        ["optimizer=adam", "optimizer.weight_decay=0.1", "clip=norm", "clip.at=0.2", "problem=e1", "engine=eager"],
        pytest.param(["model=cnn", "dataset=mnist1d"], marks=pytest.mark.slow),
    ],
)
def test_what_is_shipped_passes(checked, arguments):
    if "model=cnn" in arguments:
        arguments = [*arguments, "model.channels=[2]", "engine=eager", "optimizer=sgd", "steps=2", "batch_size=2"]
    assert checked(*arguments) == {}


def test_a_rule_with_the_exact_operations_passes(checked, own_rule):
    assert checked(own_rule("fine", sgd_with(lambda lr, w, k: lr)), *EAGER) == {}


@pytest.mark.slow
def test_a_model_with_dropout_and_running_statistics_passes(checked, own_model):
    def make(shape, outputs):
        layers = nn.BatchNorm1d(10), nn.Dropout(0.3), nn.Linear(10, 4), nn.Dropout(0.5), nn.Linear(4, outputs)
        return nn.Sequential(*layers)

    assert checked(*own_model("dropping", make)) == {}


def test_leaves_a_hyperparameter_without_cast(checked, own_rule):
    def update(params, grads, state, numbers, k):
        lr = numbers["lr"].unsqueeze(1)
        return {n: (w - lr * grads[n]).to(w.dtype) for n, w in params.items()}, {
            "v": {n: lr * grads[n] for n in params}
        }

    def init(params, numbers, velocity=None):
        return {"v": {n: torch.zeros_like(w) for n, w in params.items()}}

    text = only(checked(own_rule("uncast", update, init), *EAGER), "leaves")
    assert "dtype of state v.w=torch.float64" in text and "expand(lr, w)" in text


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (lambda w: torch.zeros(1, 1), "state v: shape=[1, 1]"),
        (lambda w: [torch.zeros_like(w)], "state v.0=leaf of a list"),
        (lambda w: 0.0, "state v=float"),
        (lambda w: torch.zeros(w.shape, dtype=torch.float32), "state v is torch.float32"),
    ],
)
def test_leaves_of_init(checked, own_rule, leaf, message):
    rule = own_rule(
        "leafy",
        lambda params, grads, state, numbers, k: (params, state),
        lambda params, numbers, velocity=None: {"v": leaf(params["w"])},
    )
    assert message in only(checked(rule, *EAGER, "dtype=float64"), "leaves")


def test_leaves_a_model_that_casts(checked, own_model):
    class Casting(nn.Linear):
        def forward(self, x):
            return super().forward(x).float()

    arguments = own_model("casting", lambda shape, outputs: Casting(10, outputs))
    assert "the model's output is torch.float32" in only(checked(*arguments), "leaves")


def test_a_loss_that_is_not_one_number_per_sample_is_refused(monkeypatch, capsys):
    monkeypatch.setitem(LOSSES, "entries", lambda output, y: (output - y).abs())
    assert run_command(main, ["loss=entries", *NETWORK]) == 2
    out, err = capsys.readouterr()
    line = "loss=entries of shape (2, 1): allowed is one number for each sample, of shape (2,)"
    assert out == "" and err.count("\n") == 1 and line in err


def test_number_of_members(checked, own_rule):
    text = only(checked(own_rule("counts", sgd_with(lambda lr, w, k: lr / len(w))), *EAGER), "number of members")
    assert "times as far among 7 copies" in text


def test_bits_of_a_rule_that_mixes_members(checked, own_rule):
    rule = own_rule("mixes", sgd_with(lambda lr, w, k: lr.mean() + 0 * lr))
    assert "alone, member 0 of 33 has other bits" in only(checked(rule, *EAGER), "bits, eager")


def test_bits_of_a_power(checked, own_rule):
    rule = own_rule("powers", sgd_with(lambda lr, w, k: lr * (1 + w[:, 0].abs()).pow(-0.6)))
    failed = checked(rule, *SMALL)
    assert "other bits" in only(failed, *(f"bits, {engine}" for engine in HERE))


def test_plain_loop_of_a_rule_that_branches_where_it_is_traced(checked, own_rule):
    rule = own_rule("branches", sgd_with(lambda lr, w, k: 0.1 * lr if isinstance(k, int) and k < 3 else lr))
    text = only(checked(rule, *SMALL), *(f"plain loop, {engine}" for engine in HERE))
    assert "after 9 steps w differs by" in text and "isinstance(k, int)" in text


def test_plain_loop_of_a_model_that_remembers_its_first_call(checked, own_model):
    class Remembering(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.out, self.scale = nn.Linear(10, outputs), 0.5

        def forward(self, x):
            scale, self.scale = self.scale, 1.0
            return scale * self.out(x)

    arguments = own_model("remembering", lambda shape, outputs: Remembering(outputs))
    assert "weight differs by" in only(checked(*arguments), "plain loop, eager")


def test_seeds_of_a_model_that_draws_elsewhere(checked, own_model):
    generator = torch.Generator().manual_seed(0)

    def make(shape, outputs):
        module = nn.Sequential(nn.LayerNorm(10), nn.Linear(10, outputs))
        if module[0].weight.device.type == "cpu":
            nn.init.uniform_(module[0].weight, generator=generator)
        return module

    assert "are others when drawn again" in only(checked(*own_model("elsewhere", make)), "seeds")


def test_seeds_of_a_problem_that_draws_in_order(checked, own_conf, monkeypatch):
    class Ordered(E1):
        name = "ordered"

        def samples_of(self, seeds, start, stop):
            return super().samples_of(seeds, 0, stop - start)

        def sign_bits_of(self, seeds, start, stop):
            return None

    monkeypatch.setitem(CLOSED_FORMS, "ordered", Ordered)
    own_conf("problem", "ordered")
    assert "a resumed run has others" in only(checked("problem=ordered", "engine=eager", "steps=9"), "seeds")


def test_fields_a_hyperparameter_that_changes_nothing(checked, own_rule):
    rule = own_rule("idle", sgd_with(lambda lr, w, k: lr), fields="lr: 0.05\ndecay: 0.1\n", names=("lr", "decay"))
    assert "optimizer.decay changes nothing" in only(checked(rule, *EAGER), "fields")


def test_fields_an_allowance_for_a_momentum_that_there_is_not(checked, own_rule):
    rule = own_rule("still", sgd_with(lambda lr, w, k: lr), fields="lr: 0.05\nallow_unstable: false\n")
    assert "optimizer.allow_unstable changes nothing" in only(checked(rule, *EAGER), "fields")


def test_fields_of_a_model(checked, own_model):
    arguments = own_model("idler", lambda shape, outputs, width=3: nn.Linear(10, outputs), "width: 3\n")
    assert "model.width" in only(checked(*arguments), "fields")


def test_a_field_that_only_its_file_knows_is_refused(own_rule, own_model, own_conf, capsys):
    rule = own_rule("idle", sgd_with(lambda lr, w, k: lr), fields="lr: 0.05\ndecay: 0.1\n")
    own_conf("dataset", "diabetes", "scale: 2.0\n")
    model = own_model("narrow", lambda shape, outputs: nn.Linear(10, outputs), "width: 3\n")
    for arguments, field in (
        (rule, "optimizer.decay"),
        ("dataset=diabetes", "dataset.scale"),
        (model[0], "model.width"),
    ):
        assert run_command(main, [arguments, *EAGER]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and f"{field}=" in err


@pytest.fixture
def own_data(own_conf, monkeypatch):
    def register(name, seed, size=60):
        def load():
            x = torch.randn(size, 3, generator=torch.Generator().manual_seed(seed())).numpy()
            y = x @ torch.ones(3, 1).numpy()
            return build_dataset(
                name, "regression", x, y, permuted_split(size), outputs=1, source="test", licence="none"
            )

        monkeypatch.setitem(DATASETS, name, DatasetFacts("regression", (3,), 1, 38, 10, 12))
        monkeypatch.setitem(_LOADERS, name, load)
        own_conf("dataset", name)
        return [f"dataset={name}", "engine=eager", "model.hidden=[2]", "optimizer=sgd", "steps=3", "batch_size=4"]

    return register


def test_data_that_are_others_when_loaded_again(checked, own_data):
    seeds = iter(range(100))
    assert "another checksum" in only(checked(*own_data("restless", lambda: next(seeds))), "data")


def test_data_that_are_not_what_their_facts_say(checked, own_data):
    text = only(checked(*own_data("larger", lambda: 0, size=70)), "data")
    assert "sizes of its parts (44, 12, 14), but DATASETS says (38, 10, 12)" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model=nmlp"], "model=nmlp: allowed is one of adapter, cnn, lenet, mlp, transformer, vgg (did you"),
        (["seeds=3"], "seeds=3: allowed is left out: a check has members of its own"),
        (["logger.dir=x"], "logger.dir=x: allowed is left out"),
        (["-m"], "option=-m: allowed is name=value"),
        (["optimizer.lr=-1"], "optimizer.lr=-1.0: allowed is a number > 0"),
    ],
)
def test_wrong_input_is_one_line(capsys, arguments, line):
    assert run_command(main, arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and line in err
