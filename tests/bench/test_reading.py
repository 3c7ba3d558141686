"""Commands that read a store: one rule for their exit codes, and folders whose names are taken as they stand."""

import os
import shutil

import pytest

import bench.archive
import bench.cite
import bench.compare
import bench.leaderboard.__main__
import bench.merge
import bench.published.__main__
import bench.report.__main__
import bench.report.figures
import bench.reproduce
import bench.reproduction.reproduction
import bench.status
import bench.verify
from bench.command import run_command
from bench.plan.plan import Pair, SuitePlan
from bench.plan.stored import write_plan
from bench.report import figures
from bench.store.store import Store
from tests.bench.conftest import SUITE_SIZE

SUITE = ["suite=smoke", *SUITE_SIZE]
OF_A_SUITE = {  # command -> what it makes in a results folder
    bench.leaderboard.__main__: {"leaderboard.md", "leaderboard.csv", "leaderboard.json"},
    bench.status: set(),
    bench.report.__main__: {"summary.md", "report"},
    bench.report.figures: {"figures"},
    bench.archive: {"archive"},
    bench.cite: set(),
}


@pytest.fixture
def finished(finished_eager):
    return finished_eager


@pytest.fixture(autouse=True)
def few_figures(monkeypatch):
    """Drawing takes seconds: one figure in one format is enough here."""
    monkeypatch.setattr(figures, "_FORMATS", {"svg": figures._FORMATS["svg"]})
    everything = figures._figures
    monkeypatch.setattr(figures, "_figures", lambda report: list(everything(report))[:1])


def shard_with_an_evaluation(folder):
    """A shard of members that holds evaluation seeds of the suite."""
    shards = Store(folder).shards("members")
    return next(path for path, frame in shards.items() if frame["seed"].min() < 1000)


@pytest.fixture(scope="module")
def states(finished_eager, tmp_path_factory):
    """A whole store, one with a damaged shard, one whose damage is repaired but still there, one that is incomplete."""
    folder = tmp_path_factory.mktemp("states")
    for name in ("whole", "damaged", "repaired", "incomplete"):
        shutil.copytree(finished_eager, folder / name)
    path = shard_with_an_evaluation(folder / "whole").name
    content = (folder / "whole" / "members" / path).read_bytes()
    (folder / "damaged" / "members" / path).write_bytes(content[:-1])
    (folder / "repaired" / "members" / f"{'0' * 32}.parquet").write_bytes(content[:-1])
    (folder / "incomplete" / "members" / path).unlink()
    return folder


@pytest.mark.parametrize(
    ("state", "commands"),
    [  # of the whole one: below
        ("damaged", [bench.leaderboard.__main__, bench.status]),
        (
            "repaired",
            [bench.leaderboard.__main__, bench.status, bench.cite, bench.archive],
        ),
        ("incomplete", [*OF_A_SUITE]),
        ("empty", [bench.leaderboard.__main__, bench.status, bench.archive, bench.report.figures]),
    ],
)
def test_commands_that_read_a_suite(states, tmp_path, capsys, state, commands):
    folder = tmp_path / "store"
    if state != "empty":
        shutil.copytree(states / state, folder)
    for command in commands:
        refused = (command, state) in ((bench.cite, "incomplete"), (bench.archive, "empty"))
        assert run_command(command.main, [*SUITE, f"results_dir={folder}"]) == (2 if refused else 1), command
        out, err = capsys.readouterr()
        assert err.count("\n") == (1 if refused else 0)
        assert ("damaged shard, ignored" in out) == (state in ("damaged", "repaired"))
        for name in OF_A_SUITE[command]:
            assert (folder / name).exists() == (not refused and (state, name) != ("empty", "figures"))


@pytest.mark.parametrize(("state", "code"), [("whole", 0), ("damaged", 1), ("repaired", 1)])
def test_commands_that_read_members(states, tmp_path, capsys, monkeypatch, state, code):
    monkeypatch.setattr(bench.verify, "reproduce", passed)
    folder = str(states / state)
    assert run_command(bench.verify.main, [f"results_dir={folder}", "n=2"]) == code
    assert run_command(bench.compare.main, [folder, folder]) == code
    assert run_command(bench.merge.main, [folder, str(states / "whole"), "-o", str(tmp_path / "merged")]) == code
    assert capsys.readouterr().out.count("damaged shard, ignored") == 4 * code  # compare reads both sides


def passed(row, curve, **options):
    found = bench.reproduction.reproduction.Agreement("bits", 4)
    return bench.reproduction.reproduction.Reproduction(row["member_id"], "x", True, found, "", 0.0)


NAMES = ["結果 a#b,c [bold]x", "suite=it's ${x} {y}:/"]


def literal_commands(folder):
    """Every reading command on a folder, with what it makes there."""
    store = f"results_dir={folder}"
    for command, made in OF_A_SUITE.items():
        yield command, [*SUITE, store], made
    yield bench.cite, [*SUITE, f"./{folder}"], set()
    yield bench.verify, [store, "n=1"], set()
    yield bench.reproduce, ["", store], set()
    yield bench.compare, [f"./{folder}", f"./{folder}"], set()


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_a_folder_is_taken_as_it_stands(finished_eager, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench.verify, "reproduce", passed)
    monkeypatch.setattr(bench.reproduce, "reproduce", passed)
    shutil.copytree(finished_eager, name)
    member_id = Store(name).members()["member_id"][0]
    for command, arguments, made in literal_commands(name):
        before = set(os.listdir(name))
        assert run_command(command.main, [one or member_id for one in arguments]) == 0, (command, capsys.readouterr())
        assert set(os.listdir(name)) - before <= made and made <= set(os.listdir(name)), command
    assert run_command(bench.merge.main, [f"./{name}", f"./{name}", "-o", "x=1 [y]"]) == 0
    assert run_command(bench.compare.main, ["x=1 [y]", f"./{name}"]) == 0  # which exists, and so is no option
    assert (
        run_command(bench.archive.main, [*SUITE, f"results_dir={name}", f"output={name.strip('/')}/z [1]=2.zip"]) == 0
    )
    assert os.path.exists(f"{name}/z [1]=2.zip")
    assert sorted(os.listdir()) == sorted([name.strip("/"), "x=1 [y]"])
    assert not capsys.readouterr().err


def test_a_tilde_is_the_home_folder(finished_eager, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bench.verify, "reproduce", passed)
    shutil.copytree(finished_eager, tmp_path / "home" / "s")
    for command, arguments in (
        (bench.status, [*SUITE, "results_dir=~/s"]),
        (bench.cite, [*SUITE, "~/s"]),
        (bench.verify, ["results_dir=~/s", "n=1"]),
        (bench.compare, ["~/s", "~/s"]),
    ):
        assert run_command(command.main, arguments) == 0, (command, capsys.readouterr())
    assert run_command(bench.merge.main, ["~/s", "~/s", "-o", "~/m"]) == 0
    assert sorted(os.listdir("home")) == ["m", "s"] and os.listdir() == ["home"]


@pytest.mark.parametrize("name", ["結果", "a b", "${x}"])
def test_a_publication_is_compared_in_a_folder_as_it_stands(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench.published.__main__, "published_rows", lambda *arguments: [])
    monkeypatch.setattr(bench.published.__main__, "print_table", lambda *arguments, **options: None)
    write_plan(
        Store(name), SuitePlan("published", 1, "", (), 0, 0, 1, 1, (Pair("fashion_mnist/cnn", "sgd", "val_loss"),))
    )
    assert run_command(bench.published.__main__.main, [f"results_dir={name}"]) == 0
    assert sorted(os.listdir(name)) == ["plans", "published_deepobs.json", "published_deepobs.md"]
