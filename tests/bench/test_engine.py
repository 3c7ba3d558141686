"""engine=auto: compiled where that saves more than compiling takes; what is stored keeps its engine."""

import json

import polars as pl
import pytest

import bench.engine
import bench.run
from bench.cell import build_cell
from bench.command import run_command
from bench.config import compose_config
from bench.cost import step_cost
from bench.engine import MODES, Choice, fastest
from bench.store import MEMBER_SCHEMA, Store
from bench.suite import load_suite
from shb.errors import ConfigurationError
from shb.training import CompilationError, run_chunked, why_not
from tests.bench.conftest import SUITE_SIZE

BASE = ("dataset=diabetes", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=0.1", "device=cpu", "evaluations=2")
can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


def cell_of(*overrides):
    return build_cell(compose_config([*BASE, *overrides]))


@pytest.fixture
def cell(tmp_path):
    """100 members x 1,000 steps, nothing stored."""
    return cell_of("seeds=100", "steps=1000", f"results_dir={tmp_path}")


def reference(cell, eager, unfused, fused, seconds, kind="mlp", cost=1.0, work="a"):
    cost = cost * step_cost(cell.problem())
    rows = zip(MODES, (eager, unfused, fused), (None, None, seconds))
    return [
        {"work": work, "kind": kind, "cost": cost, "engine": engine, "fused": is_fused}
        | {"member_steps_per_second": rate, "compile_seconds": compile_seconds}
        for (engine, is_fused), rate, compile_seconds in rows
    ]


def stored(cell, engine, rate, compile_seconds=None, **change):
    one = cell.under(engine)
    row = {"status": "done", "optimizer": cell.optimizer.name, "problem": cell.label, "spec": one.spec_json(0)}
    row |= {"engine": engine, "member_steps_per_second": rate, "compile_seconds": compile_seconds, **change}
    return pl.DataFrame([row], schema=MEMBER_SCHEMA)


NOTHING = pl.DataFrame(schema=MEMBER_SCHEMA)


@pytest.mark.parametrize(
    ("rates", "seconds", "mode"),
    [
        ((1e4, 1.3e4, 2e4), 2.6, ("compiled", True)),  # 10.0 s, 7.7 s, 5.0 s
        ((1e4, 1.3e4, 2e4), 2.8, ("compiled", False)),
        ((1e4, 1.1e4, 2e4), 4.1, ("eager", False)),  # 10.0 s against 9.1 s: less than the margin of 1 s
        ((1e4, 1.1e4, 2e4), 3.9, ("compiled", True)),
        ((2e4, 1e4, 1e4), 0.1, ("eager", False)),
    ],
)
@can_compile
def test_it_takes_the_least_time_with_that_to_compile(cell, rates, seconds, mode):
    choice = fastest(cell, NOTHING, reference(cell, *rates, seconds))
    assert (choice.engine, choice.fused) == mode
    eager, unfused, fused = (1e5 / rate for rate in rates)
    saving = min(eager, unfused) - fused
    assert choice.why == (
        f"eager {eager:.1f} s, compiled {unfused:.1f} s; fusing would save {saving:.1f} s and take {seconds:.1f} s"
    )


@can_compile
def test_an_engine_that_is_settled_only_chooses_to_fuse(cell):
    rows = reference(cell, 1e5, 1e4, 2e4, 3.9)
    compiled = fastest(cell.under("compiled"), NOTHING, rows)
    assert (compiled.engine, compiled.fused) == ("compiled", True)
    assert "eager" not in compiled.why
    assert not fastest(cell.under("compiled"), NOTHING, reference(cell, 1e5, 1e4, 2e4, 4.1)).fused
    assert fastest(cell.under("eager"), NOTHING, rows) == Choice("eager")


@can_compile
def test_rates_scale_with_the_work_of_a_step_and_come_from_the_nearest_work_of_the_kind(cell):
    half = reference(cell, 1e4, 1e4, 2e4, 60.0, cost=0.5)  # half the work at this rate: here half the rate
    assert "save 10.0 s and take 60.0 s" in fastest(cell, NOTHING, half).why
    rows = reference(cell, 1e4, 1e4, 2e4, 60.0, cost=2.0)
    rows += reference(cell, 1e4, 1e4, 1e5, 1.0, cost=9.0, work="far")
    rows += reference(cell, 1e4, 1e4, 1e5, 1.0, "cnn", work="cnn")
    assert "save 2.5 s and take 60.0 s" in fastest(cell, NOTHING, rows).why


@can_compile
def test_what_the_store_measured_counts_before_the_reference(cell):
    rows = reference(cell, 1e4, 1e4, 2e4, 1.0)
    slow = stored(cell, "eager", 1e3)
    assert "save 50.0 s and take 1.0 s" in fastest(cell, slow, rows).why  # twice as fast, as in the reference
    unfused = stored(cell, "compiled", 5e2, 0.0)
    assert "eager 100.0 s, compiled 200.0 s" in fastest(cell, pl.concat([slow, unfused]), rows).why
    fused = pl.concat([slow, stored(cell, "compiled", 1e5, 7.0), stored(cell, "compiled", 1e5, 0.2)])
    assert "save 99.0 s and take 7.0 s" in fastest(cell, fused, rows).why  # 0.2 s: from the cache
    for change in ({"optimizer": "adam"}, {"status": "failed"}, {"problem": "digits/mlp"}):
        assert "save 5.0 s" in fastest(cell, stored(cell, "eager", 1e3, **change), rows).why
    spec = json.loads(cell.spec_json(0))
    spec["problem"]["batch_size"] += 1
    assert "save 5.0 s" in fastest(cell, stored(cell, "eager", 1e3, spec=json.dumps(spec)), rows).why


def test_without_a_comparison_it_runs_eager(cell):
    unknown = Choice("eager", why="the engines have not been compared")
    assert fastest(cell, NOTHING, []) == unknown
    assert fastest(cell, NOTHING, reference(cell, 1e4, 9e4, 9e4, 0.1)[:2]) == unknown
    assert fastest(cell, NOTHING, reference(cell, 1e4, 9e4, 9e4, 0.1, "closed form")) == unknown


def test_networks_in_other_precisions_run_eager(tmp_path):
    other = cell_of("dtype=float64", "seeds=100", "steps=1000", f"results_dir={tmp_path}")
    assert fastest(other, NOTHING, reference(other, 1e4, 9e4, 9e4, 0.1)) == Choice("eager")


def test_little_work_is_not_worth_a_line(cell):
    assert fastest(cell, NOTHING, reference(cell, 1e6, 1e6, 1e6, 5.0)) == Choice("eager")


def test_without_a_compiler_it_runs_eager_and_says_so(cell, monkeypatch):
    monkeypatch.setattr(bench.engine, "why_not", lambda: "no C++ compiler")
    choice = fastest(cell, NOTHING, reference(cell, 1e4, 5e4, 9e4, 0.1))
    assert choice.engine == "eager" and "nothing can be compiled here (no C++ compiler)" in choice.why
    assert cell_of("engine=compiled").engine == "eager"


def test_the_engine_is_part_of_the_identity():
    eager = cell_of("engine=eager", "seeds=2")
    compiled = eager.under("compiled")
    assert not set(eager.ids) & set(compiled.ids)
    assert compiled.under("eager").ids == eager.ids
    assert json.loads(compiled.spec_json(0))["engine"] == "compiled"
    with pytest.raises(ConfigurationError, match="engine"):
        cell_of("engine=jit")


@can_compile
def test_stored_members_keep_their_engine(tmp_path, monkeypatch):
    """More seeds never mean that the first ones are computed again, whatever would be faster for all."""
    arguments = [*BASE, "steps=4", "logger=none", f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, [*arguments, "engine=compiled", "seeds=2"]) == 0
    assert set(Store(tmp_path).members()["engine"]) == {"compiled"}
    more = build_cell(compose_config([*arguments, "seeds=5"]))
    assert more.engine == "compiled" and not more.engine_open
    assert run_command(bench.run.main, [*arguments, "seeds=5"]) == 0
    members = Store(tmp_path).members()
    assert len(members) == 5 and set(members["engine"]) == {"compiled"}
    assert members["compile_seconds"].null_count() == 0 and (members["member_steps_per_second"] > 0).all()


@can_compile
def test_a_suite_runs_and_is_ranked_under_the_engine_that_was_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.runner, "fastest", lambda cell, members: Choice("compiled", True, "it saves a lot"))
    arguments = ["suite=smoke", *SUITE_SIZE, f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, arguments) == 0
    assert "engine compiled, fused: it saves a lot" in capsys.readouterr().out
    members = Store(tmp_path).members()
    assert set(members["engine"]) == {"compiled"}
    board = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    assert {row["coverage"] for row in board} == {1.0}
    monkeypatch.undo()
    again = load_suite("smoke", [*SUITE_SIZE, f"results_dir={tmp_path}"])
    assert {again.tuning_cell(*pair).engine for pair in again.pairs()} == {"compiled"}


def test_what_cannot_be_compiled_runs_eager_with_one_warning(tmp_path, monkeypatch, capsys):
    def failing(*arguments, engine="eager", **options):
        if engine == "compiled":
            raise CompilationError("no such intrinsic")
        return run_chunked(*arguments, engine=engine, **options)

    monkeypatch.setattr(bench.runner, "run_chunked", failing)
    monkeypatch.setattr(bench.runner, "fastest", lambda cell, members: Choice("compiled"))
    arguments = [*BASE, "steps=4", "seeds=2", "logger=none", f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, arguments) == 0
    out = capsys.readouterr().out
    assert out.count("runs eager, because it could not be compiled (no such intrinsic)") == 1
    assert Store(tmp_path).members()["engine"].to_list() == ["eager", "eager"]


@can_compile
def test_jobs_of_a_matrix_are_found_under_the_engine_that_they_chose(tmp_path, monkeypatch):
    """The cells are described before the jobs run."""
    monkeypatch.setattr(bench.runner, "fastest", lambda cell, members: Choice("compiled"))
    arguments = ["-m", *BASE, "steps=4", "seeds=1,2", "logger=none", f"results_dir={tmp_path}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench.run"])
    assert run_command(bench.run.main, arguments) == 0
    assert set(Store(tmp_path).members()["engine"]) == {"compiled"}
