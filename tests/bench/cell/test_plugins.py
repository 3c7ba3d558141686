"""Own things in a file outside the repository: they run everywhere, by content, and what is wrong is one line."""

import hashlib
import json
import subprocess
import sys

import polars as pl
import pytest
import torch

import bench.check.__main__
import bench.reproduce
import bench.run
import bench.verify
from bench.cell.added import plugin_list, source_of
from bench.cell.cell import build_cell
from bench.cell.config import compose_config, literal
from bench.cell.plugins import load_plugins
from bench.cell.rebuild import Unavailable, spec_cell
from bench.command import run_command
from bench.store.schema import METRICS
from bench.store.store import Store
from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS
from shb.problems import LOSSES
from shb.schedules import schedule_table
from tests.bench.conftest import EXAMPLE, ROOT, SUITE_SIZE

SIZE = ["steps=4", "evaluations=2", "seeds=2", "device=cpu"]
pytestmark = pytest.mark.usefixtures("plugins_forgotten")
OWN = ["optimizer=signsgd", "model=tanh_mlp", "dataset=rings"]


@pytest.fixture(scope="module")
def sha256():
    load_plugins([str(EXAMPLE)])
    return hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()


def command(*arguments):
    """In a process of its own, which has loaded nothing."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    return done


def refused(path, pattern):
    before = dict(OPTIMIZERS)
    with pytest.raises(ConfigurationError, match=pattern) as caught:
        load_plugins([str(path)])
    assert "\n" not in str(caught.value) and dict(OPTIMIZERS) == before


def test_who_uses_nothing_of_a_plugin_keeps_its_identity(sha256):
    overrides = [*SIZE, "dataset=digits", "optimizer=shb", "engine=eager"]
    known = build_cell(compose_config(overrides))
    assert "plugins" not in known.specs[0]
    given = build_cell(compose_config([*overrides, f"plugins=[{EXAMPLE}]"]))
    assert given.ids == known.ids


def test_who_uses_something_of_it_has_its_content_in_the_identity(sha256):
    (one, _) = build_cell(compose_config([*SIZE, "optimizer=signsgd", "dataset=digits"])).specs
    assert one["plugins"] == {"optimizer": sha256}
    (all_three, _) = build_cell(compose_config([*SIZE, *OWN])).specs
    assert all_three["plugins"] == dict.fromkeys(("optimizer", "model", "dataset"), sha256)
    loss_and_schedule = ["dataset=diabetes", "loss=huber", "schedule=warmup", "optimizer=sgd"]
    (others, _) = build_cell(compose_config([*SIZE, *loss_and_schedule])).specs
    assert others["plugins"] == dict.fromkeys(("loss", "schedule"), sha256)
    (problem, _) = build_cell(compose_config([*SIZE, "problem=tilted"])).specs
    assert problem["plugins"] == {"problem": sha256}


def test_fields_of_a_plugin_are_checked_as_any(sha256):
    with pytest.raises(ConfigurationError, match=r"optimizer\.lrr.*did you mean optimizer\.lr"):
        compose_config(["optimizer=signsgd", "optimizer.lrr=0.1"])
    with pytest.raises(ConfigurationError, match=r"model\.hidden.*does not apply for model=tanh_mlp"):
        compose_config(["model=tanh_mlp", "model.hidden=[2]"])
    with pytest.raises(ConfigurationError, match=r"did you mean signsgd"):
        compose_config(["optimizer=signsdg"])
    with pytest.raises(ConfigurationError, match=r"optimizer\.lr=None"):
        build_cell(compose_config(["optimizer=momentum_free", *SIZE]))


def test_a_cell_is_run_and_computed_again_with_the_same_file_only(tmp_path, capsys, sha256):
    folder, plugin = tmp_path / "results", f"plugins=[{EXAMPLE}]"
    assert run_command(bench.run.main, [*SIZE, *OWN, plugin, f"results_dir={folder}"]) == 0
    members = Store(folder).members()
    assert members["status"].to_list() == ["done"] * 2
    capsys.readouterr()
    member_id = members["member_id"][0]
    assert run_command(bench.reproduce.main, [member_id, f"results_dir={folder}", plugin]) == 0
    assert "bits" in capsys.readouterr().out
    without = command("bench.verify", f"results_dir={folder}")
    assert without.returncode == 1 and "DIFFERENT" not in without.stdout
    text = " ".join(without.stdout.split())
    assert "not checked" in text
    assert f"dataset=rings is of a plug-in whose file has sha256 {sha256}; none was given" in text


def test_an_own_loss_and_schedule_are_run_stored_and_computed_again(tmp_path, capsys, sha256):
    folder, plugin = tmp_path / "results", f"plugins=[{EXAMPLE}]"
    own = [
        "dataset=diabetes",
        "model.hidden=[2]",
        "loss=huber",
        "schedule=warmup",
        "schedule.share=0.5",
        "optimizer=sgd",
    ]
    assert run_command(bench.run.main, [*SIZE, *own, plugin, "engine=eager", f"results_dir={folder}"]) == 0
    members = Store(folder).members()
    assert members["status"].to_list() == ["done"] * 2 and set(members["schedule"]) == {"warmup"}
    assert json.loads(members["hyperparameters"][0])["schedule.share"] == 0.5
    capsys.readouterr()
    assert run_command(bench.reproduce.main, [members["member_id"][0], f"results_dir={folder}", plugin]) == 0
    assert "bits" in capsys.readouterr().out
    cell = build_cell(compose_config([*SIZE, *own]))
    output, y = torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1)
    assert LOSSES[cell.problem_spec["loss"]](output, y).tolist() == [0.125, 2.5]
    table = schedule_table("warmup", [0.1], {"share": 0.5}, 0, 4, 4)
    assert table[:, 0].tolist() == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.slow
def test_a_matrix_and_a_suite_in_processes_run_it(tmp_path, monkeypatch, capsys):
    folder, plugin = tmp_path / "results", f"plugins=[{EXAMPLE}]"
    matrix = ["-m", "optimizer=sgd,signsgd", "problem=e1", *SIZE, plugin, f"results_dir={folder}"]
    monkeypatch.setattr(sys, "argv", ["bench.run", *matrix])
    assert run_command(bench.run.main, matrix) == 0
    assert set(Store(folder).members()["optimizer"]) == {"sgd", "signsgd"}
    suite = ["suite=smoke", *SUITE_SIZE, plugin, "suite.optimizers=[sgd,signsgd]", f"results_dir={folder}"]
    capsys.readouterr()
    assert run_command(bench.run.main, [*suite, "workers=2"]) == 0
    assert "suite.optimizers=[sgd,signsgd], complete" in " ".join(capsys.readouterr().out.split())
    rows = Store(folder).members().filter(pl.col("dataset") == "diabetes")
    assert set(rows["optimizer"]) == {"sgd", "signsgd"}
    for optimizer, spec in rows.select("optimizer", "spec").iter_rows():
        assert ("plugins" in json.loads(spec)) == (optimizer == "signsgd")


def test_optimizers_of_a_suite_are_for_a_suite():
    with pytest.raises(ConfigurationError, match=r"suite\.optimizers.*together with suite=NAME"):
        build_cell(compose_config(["suite.optimizers=[sgd]"]))


def test_a_spec_cannot_claim_a_plugin_it_does_not_use(sha256):
    cell = build_cell(compose_config([*SIZE, "optimizer=sgd", "dataset=digits"]))
    for group in ("optimizer", "loss", "schedule"):
        spec = {**cell.specs[0], "plugins": {group: sha256}}
        with pytest.raises(ConfigurationError, match=rf"spec\.plugins\.{group}.*no plug-in"):
            spec_cell(json.dumps(spec))
    own = build_cell(compose_config([*SIZE, "optimizer=signsgd", "dataset=digits"])).specs[0]
    assert spec_cell(json.dumps(own)).specs == (own,)
    with pytest.raises(Unavailable, match="0000; the one given has"):
        spec_cell(json.dumps({**own, "plugins": {"optimizer": "0" * 64}}))
    with pytest.raises(ConfigurationError):
        spec_cell(json.dumps({name: value for name, value in own.items() if name != "plugins"}))


def test_bad_files_are_one_line(tmp_path, sha256):
    refused(tmp_path / "none.py", "none.py.*no such file")
    refused(tmp_path, "a folder")
    (tmp_path / "text.txt").write_text("")
    refused(tmp_path / "text.txt", r"NAME\.py")
    refused("not_installed", "entry point of shb_bench")
    bad = {
        "raises": ("import math\n\nmath.sqrt(-1)\n", r"raises\.py, line 3: ValueError"),
        "syntax": ("x = 1\ny = = 2\n", r"syntax\.py, line 2: SyntaxError"),
        "leaves": ("raise SystemExit(3)\n", r"leaves\.py, line 1: SystemExit"),
        "nothing": ("x = 1\n", "at least one of the tables OPTIMIZERS"),
        "kind": ("OPTIMIZERS = [3]\n", "list of shb.optimizers.Optimizer"),
        "taken": (
            "from shb.optimizers import OPTIMIZERS as O\nOPTIMIZERS = [O['sgd']]\n",
            "optimizer=sgd, which is taken",
        ),
        "default": ("MODELS = {'m': lambda shape, outputs, width: None}\n", "a default .* for option width of MODELS"),
        "space": ("OPTIMIZERS = []\nSPACES = {'a': {}}\n", "names of OPTIMIZERS in SPACES"),
        "loss": ("LOSSES = {'squared': abs}\n", "a new name for loss=squared, which is taken"),
        "no_function": ("LOSSES = {'l': 3}\n", r"a function in LOSSES\['l'\], not int"),
        "no_schedule": ("SCHEDULES = [abs]\n", "a list of shb.schedules.Schedule"),
        "range": (
            "from shb.schedules import Schedule\nSCHEDULES = [Schedule('s', {'a': 1.0}, abs, {})]\n",
            "a range for every parameter of schedule s: a",
        ),
        "infinite": (
            "from shb.schedules import Schedule\n"
            "SCHEDULES = [Schedule('s', {}, lambda k, steps: 1 / k if k else float('inf'), {})]\n",
            "schedule s: factor of step 0=inf: allowed is a finite number >= 0",
        ),
        "data": ("DATASETS = {'d': lambda: 1}\n", "a Dataset named 'd'"),
    }
    for name, (text, pattern) in bad.items():
        (tmp_path / f"{name}.py").write_text(text)
        refused(tmp_path / f"{name}.py", pattern)


def test_what_the_identity_would_miss_is_refused(tmp_path, monkeypatch, sha256):
    (tmp_path / "neighbour.py").write_text("LR = 0.1\n")
    (tmp_path / "imports.py").write_text("import neighbour\n\nMODELS = {'m': lambda shape, outputs: None}\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(tmp_path / "imports.py", r"one file: neighbour \(line 1\)")
    (tmp_path / "changing.py").write_text("MODELS = {'changing': lambda shape, outputs: None}\n")
    load_plugins([str(tmp_path / "changing.py")])
    (tmp_path / "changing.py").write_text("MODELS = {'changed': lambda shape, outputs: None}\n")
    refused(tmp_path / "changing.py", "has not changed since")


WRONG = """
from shb.schedules import Schedule

LOSSES = {
    "entries": lambda output, y: (output - y).abs(),
    "item": lambda output, y: (output - y).sum(-1) * y.max().item(),
}
SCHEDULES = [Schedule("falling", {}, lambda k, steps: 1 - k / 10, {}), Schedule("wild", {}, lambda k, steps: k % 9, {})]
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["loss=entries"], "loss=entries of shape (2, 1): allowed is one number for each sample, of shape (2,)"),
        (["loss=item"], "loss=item: allowed is a loss that torch.func.vmap can train and evaluate"),
        (["schedule=falling", "steps=12"], "schedule falling: factor of step 11=-0.1"),
        (["momentum_schedule=wild"], "momentum_schedule=wild: allowed is one of constant, cosine"),
        (["schedule=walk"], "schedule=walk: allowed is one of"),
        (["loss=entires"], "did you mean entries?"),
    ],
)
def test_a_wrong_loss_or_schedule_is_one_line_before_any_compute(tmp_path_factory, arguments, line, capsys, tmp_path):
    path = tmp_path_factory.getbasetemp() / "wrong.py"
    path.write_text(WRONG)
    small = [*SIZE, "dataset=diabetes", "model.hidden=[2]", "optimizer=shb", f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, [*small, f"plugins=[{path}]", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and line in err and not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("text", ["[a.py],[b.py]", "[a.py],b.py"])
def test_a_matrix_of_plugins_is_refused_in_one_line(text, tmp_path, capsys):
    assert run_command(bench.run.main, [f"plugins={text}", *SIZE, f"results_dir={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and f"plugins={text}: allowed is one list" in err


def test_an_installed_entry_point_is_known_by_the_content_of_its_module(tmp_path, monkeypatch):
    (tmp_path / "installed_model.py").write_text("MODELS = {'installed': lambda shape, outputs: None}\n")
    info = tmp_path / "installed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[shb_bench]\nown = installed_model\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins(["own"])
    content = hashlib.sha256((tmp_path / "installed_model.py").read_bytes()).hexdigest()
    assert source_of("model", "installed") == content


def test_the_command_line_names_one_or_several():
    assert plugin_list("a.py") == ["a.py"]
    assert plugin_list("[a.py, b/c.py]") == ["a.py", "b/c.py"]
    assert plugin_list("") == plugin_list("[]") == []
    for path in ("/a b/c#d.py", "結果/é.py", "it's.py"):
        quoted = literal(f"plugins={path}")
        assert literal(quoted) == quoted and plugin_list(quoted.partition("=")[2]) == [path]
        assert compose_config([f"plugins={path}"]).plugins == [path]


def test_an_error_is_exit_code_2(tmp_path, capsys):
    assert run_command(bench.run.main, [f"plugins=[{tmp_path}/none.py]", "optimizer=mine"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_bits_are_those_of_the_rule_in_the_library(tmp_path, sha256):
    """SHB under another name: only the identity differs."""
    (tmp_path / "copy.py").write_text(
        "from dataclasses import replace\n\nfrom shb.optimizers import get_optimizer\n\n"
        "OPTIMIZERS = [replace(get_optimizer('shb'), name='shb_copy')]\n"
    )
    load_plugins([str(tmp_path / "copy.py")])
    found = {}
    for name in ("shb", "shb_copy"):
        arguments = ["problem=e1", f"optimizer={name}", "optimizer.lr=0.1", *SIZE, f"results_dir={tmp_path / name}"]
        assert run_command(bench.run.main, arguments) == 0
        found[name] = Store(tmp_path / name).members().sort("seed")
    assert found["shb"].select(METRICS).equals(found["shb_copy"].select(METRICS), null_equal=True)
    assert not set(found["shb"]["member_id"]) & set(found["shb_copy"]["member_id"])


def test_own_things_are_checked_as_shipped_ones(capsys):
    given = [f"plugins=[{EXAMPLE}]", "optimizer=signsgd", "problem=tilted", "engine=eager"]
    assert run_command(bench.check.__main__.main, given) == 0
    out = capsys.readouterr().out
    assert "all are used: optimizer.lr, problem.slope" in out and "FAILED" not in out
