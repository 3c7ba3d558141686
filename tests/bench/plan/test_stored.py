"""Plans in the store: what is written is what is read, and the newest holds."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import polars as pl
import pytest

import bench.run
import bench.status
from bench.command import plan_and_store, run_command
from bench.plan.plan import Pair, SuitePlan, Target
from bench.plan.stored import stored_plan, write_plan
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE

SGD = Pair(
    "digits/mlp",
    "sgd",
    "val_accuracy",
    target=Target("val_accuracy", 0.85),
    space={"lr": {"low": 0.1, "high": 1.0, "scale": "log"}},
    engine="compiled",
    device="cpu",
    trials={'{"lr": 0.1}': ["a0", "a1"], '{"lr": 0.5}': ["b0", "b1"]},
)
SHB = dataclasses.replace(SGD, optimizer="shb", position=1, target=None, trials={'{"lr": 0.2}': ["c0", "c1"]})
PLAN = SuitePlan("mine", 3, "0123", ("steps=4",), 2, 2, 3, 2, (SGD, SHB))


def evaluated(plan, key='{"lr": 0.5}', ids=("e0", "e1", "e2")):
    first = dataclasses.replace(plan.pairs[0], evaluations={key: list(ids)})
    return dataclasses.replace(plan, pairs=(first, *plan.pairs[1:]))


def shards(store):
    return len(list((store.folder / "plans").glob("*.parquet")))


def test_what_is_written_is_read(tmp_path):
    assert write_plan(Store(tmp_path), PLAN)
    assert stored_plan(Store(tmp_path), "mine", ["steps=4"]) == PLAN
    for suite, changes in (("other", ["steps=4"]), ("mine", []), ("mine", ["steps=5"])):
        assert stored_plan(Store(tmp_path), suite, changes) is None
    given = dataclasses.replace(SGD, trials={}, space={}, setting={"lr": 0.5}, evaluations={'{"lr": 0.5}': ["e0"]})
    plan = SuitePlan("given", 1, "4567", (), 0, 0, 1, 1, (given,))
    write_plan(Store(tmp_path), plan)
    assert stored_plan(Store(tmp_path), "given") == plan and not plan.tunes and plan.size == 1


def test_what_is_there_is_not_written_again(tmp_path):
    store = Store(tmp_path)
    assert [write_plan(store, plan) for plan in (PLAN, PLAN, evaluated(PLAN), evaluated(PLAN), PLAN)] == [
        *(True, False, True, False, False)  # the last has no evaluation, which takes nothing away
    ]
    assert shards(store) == 2 and stored_plan(store, "mine", ["steps=4"]) == evaluated(PLAN)


def test_the_order_of_the_changes_does_not_matter(tmp_path):
    plan = dataclasses.replace(PLAN, changes=("steps=4", "dtype=float64"))
    write_plan(Store(tmp_path), plan)
    assert stored_plan(Store(tmp_path), "mine", ["dtype=float64", "steps=4"]) == plan


def test_the_newest_plan_holds_and_an_old_one_can_become_new(tmp_path):
    store, pair = Store(tmp_path), dataclasses.replace(SGD, engine="eager", trials={'{"lr": 0.1}': ["x0", "x1"]})
    eager = dataclasses.replace(PLAN, pairs=(pair, SHB))
    for plan in (evaluated(PLAN), eager, evaluated(PLAN)):
        assert write_plan(store, plan)
        assert stored_plan(store, "mine", ["steps=4"]) == plan
    newer = dataclasses.replace(PLAN, version=4, content="89ab", pairs=(SGD,), count=1)
    write_plan(store, newer)
    assert stored_plan(store, "mine", ["steps=4"]) == newer


def test_evaluations_are_those_of_the_trials_that_hold(tmp_path):
    """Members that were tuned again under another engine have another winner, or its evaluation has other ids."""
    store = Store(tmp_path)
    write_plan(store, evaluated(PLAN))
    again = dataclasses.replace(SGD, engine="eager", trials={'{"lr": 0.5}': ["x0", "x1"]})
    write_plan(store, dataclasses.replace(PLAN, pairs=(again, SHB)))
    assert stored_plan(store, "mine", ["steps=4"]).pairs[0].evaluations == {}


def test_a_pair_of_a_suite_can_be_written_alone(tmp_path):
    store = Store(tmp_path)
    write_plan(store, PLAN)
    write_plan(store, dataclasses.replace(evaluated(PLAN), pairs=evaluated(PLAN).pairs[:1]))
    assert stored_plan(store, "mine", ["steps=4"]) == evaluated(PLAN)


def test_engine_and_device_choose_among_plans(tmp_path):
    store, pairs = Store(tmp_path), tuple(dataclasses.replace(p, engine="eager", device="cuda") for p in PLAN.pairs)
    write_plan(store, PLAN)
    write_plan(store, dataclasses.replace(PLAN, pairs=pairs))
    assert stored_plan(store, "mine", ["steps=4"], engine="compiled") == PLAN
    assert stored_plan(store, "mine", ["steps=4"], device="cuda").pairs == pairs
    assert stored_plan(store, "mine", ["steps=4"], device="cuda", engine="compiled") is None


def test_a_plan_of_which_a_part_is_damaged_is_none(tmp_path):
    """Else a suite would be complete without the pairs that nobody remembers."""
    store = Store(tmp_path)
    write_plan(store, PLAN)
    write_plan(store, evaluated(PLAN))
    first = next(path for path, frame in store.shards("plans").items() if "shb" in frame["optimizer"])
    first.write_bytes(first.read_bytes()[:-1])
    assert stored_plan(Store(tmp_path), "mine", ["steps=4"]) is None
    assert write_plan(Store(tmp_path), PLAN)  # a run plans it again
    assert len(stored_plan(Store(tmp_path), "mine", ["steps=4"]).pairs) == 2


def test_a_run_stores_its_plan(finished):
    store = Store(finished)
    suite = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished}"])
    plan = suite.plan(store.members())
    assert stored_plan(store, "smoke", plan.changes) == plan and plan.size == 72
    assert set(plan.ids(store.members())) == set(store.members()["member_id"])


def test_a_second_run_adds_no_shard(tiny_suite, finished_copy):
    before = shards(Store(finished_copy))
    assert run_command(bench.run.main, tiny_suite) == 0
    assert shards(Store(finished_copy)) == before > 0


def test_a_store_without_plans_is_read_by_composing(tiny_suite, finished_copy):
    stored, _ = plan_and_store(tiny_suite)
    for path in (finished_copy / "plans").iterdir():
        path.unlink()
    composed, _ = plan_and_store(tiny_suite)
    assert composed == stored


def test_a_plan_is_as_it_was_run(write_suite, finished_copy, tmp_path, monkeypatch, capsys):
    """The file of the suite has changed since: the results are those of the run, and a line says so."""
    write_suite("smoke", evaluation_seeds=9)
    monkeypatch.setattr("bench.plan.choice.CONF", tmp_path / "conf")
    arguments = ["suite=smoke", *(one for one in SUITE_SIZE if "=cpu" not in one and "logger" not in one)]
    assert run_command(bench.status.main, [*arguments, f"results_dir={finished_copy}"]) == 0
    out, err = capsys.readouterr()
    assert "missing 0" in out and "as it was run" in err and err.count("\n") == 1


@pytest.mark.parametrize("wrong", ["threads=many", "device=tpu", "engine=fast", "wrong=1", "-x"])
def test_wrong_overrides_are_refused_beside_a_plan(finished, wrong, capsys):
    plain = [one for one in SUITE_SIZE if "=cpu" not in one and "logger" not in one]
    assert run_command(bench.status.main, ["suite=smoke", *plain, wrong, f"results_dir={finished}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


READER = """
import importlib.machinery, runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in absent.split(",") else None
    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not here")
modules, absent, sys.argv = *sys.argv[1:3], ["reader", *sys.argv[3:]]
sys.meta_path.insert(0, Absent())
for module in modules.split(","):
    try:
        runpy.run_module(f"bench.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, (module, end.code)
    print("read by", module)
"""


@pytest.mark.parametrize(
    "modules", ["leaderboard,status,report,cite,archive", pytest.param("report.figures", marks=pytest.mark.slow)]
)
def test_results_are_read_without_torch_and_hydra(finished_copy, modules):
    """In one process in which neither can be imported, nor any data set's files be found."""
    plain = [one for one in SUITE_SIZE if "=cpu" not in one and "logger" not in one]
    command = [
        sys.executable,
        "-c",
        READER,
        modules,
        "torch,torchvision,hydra,sklearn,wandb",
        "suite=smoke",
        *plain,
        f"results_dir={finished_copy}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stdout.count("read by") == modules.count(",") + 1, done.stderr[-2000:]
    assert json.loads((finished_copy / "leaderboard.json").read_text())["complete"]
    assert len(pl.read_csv(finished_copy / "leaderboard.csv")) == 18


@pytest.mark.skipif(not (ROOT / "results" / "published" / "plans").is_dir(), reason="no committed plan")
def test_a_publication_is_compared_without_torch_hydra_and_the_files_of_its_data(tmp_path):
    folder = shutil.copytree(ROOT / "results" / "published", tmp_path / "published")
    written = (folder / "published_deepobs.md").read_text()
    (folder / "published_deepobs.md").unlink()
    command = [sys.executable, "-c", READER, "published", "torch,torchvision,hydra,sklearn,wandb"]
    environment = {**os.environ, "SHB_DATA": str(tmp_path / "nowhere")}
    done = subprocess.run(
        [*command, f"results_dir={folder}"], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "published_deepobs.md").read_text() == written
