"""engine=auto: compiled where that saves more than compiling takes; what is stored keeps its engine."""

import json

import polars as pl
import pytest

import bench.cell.cell
import bench.execution.engine
import bench.run
from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.cell.cost import step_cost
from bench.command import run_command
from bench.execution.engine import Choice, build_for, fastest, settle
from bench.store.schema import MEMBER_SCHEMA
from bench.store.store import Store
from bench.suite.suite import load_suite
from shb.errors import ConfigurationError
from shb.training import ENGINES, CompilationError, run_chunked, why_not
from tests.bench.conftest import SUITE_SIZE

BASE = ("dataset=diabetes", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=0.1", "device=cpu", "evaluations=2")
can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


def cell_of(*overrides):
    return build_cell(compose_config([*BASE, *overrides]))


@pytest.fixture
def cell(tmp_path):
    """100 members x 1,000 steps, nothing stored."""
    return cell_of("seeds=100", "steps=1000", f"results_dir={tmp_path}")


@pytest.fixture(autouse=True)
def kernels_are_built(monkeypatch):
    monkeypatch.setattr(bench.execution.engine, "built", lambda: True)


def reference(cell, eager, compiled, seconds=5.0, kind="mlp", cost=1.0, work="a"):
    cost = cost * step_cost(cell.problem_spec)
    rows = zip(ENGINES, (eager, compiled), (None, seconds))
    return [
        {"work": work, "kind": kind, "cost": cost, "engine": engine}
        | {"member_steps_per_second": rate, "compile_seconds": compile_seconds}
        for engine, rate, compile_seconds in rows
    ]


def stored(cell, engine, rate, compile_seconds=None, **change):
    one = cell.under(engine)
    row = {"status": "done", "optimizer": cell.optimizer.name, "problem": cell.label, "spec": one.spec_json(0)}
    row |= {"engine": engine, "member_steps_per_second": rate, "compile_seconds": compile_seconds, **change}
    return pl.DataFrame([row], schema=MEMBER_SCHEMA)


NOTHING = pl.DataFrame(schema=MEMBER_SCHEMA)


@pytest.mark.parametrize(
    ("rates", "seconds", "engine"),
    [
        ((1e4, 2e4), None, "compiled"),  # 10.0 s, 5.0 s; the operations are there
        ((1e4, 2e4), 3.9, "compiled"),  # less than saved, with the margin of 1 s
        ((1e4, 2e4), 4.1, "eager"),
        ((1e4, 1.1e4), None, "compiled"),  # 0.9 s saved
        ((1e4, 1.1e4), 0.1, "eager"),
        ((2e4, 1e4), None, "eager"),
    ],
)
@can_compile
def test_it_takes_the_least_time_with_that_to_compile(cell, monkeypatch, rates, seconds, engine):
    monkeypatch.setattr(bench.execution.engine, "built", lambda: seconds is None)
    choice = fastest(cell, NOTHING, reference(cell, *rates, seconds or 100.0))
    eager, compiled = (1e5 / rate for rate in rates)
    words = f"eager {eager:.1f} s, compiled {compiled:.1f} s" + (f", {seconds} s to compile" if seconds else "")
    assert (choice.engine, choice.why) == (engine, words)


def test_an_engine_that_is_settled_stays(cell):
    rows = reference(cell, 1e4, 9e4)
    for engine in ENGINES:
        assert fastest(cell.under(engine), NOTHING, rows) == Choice(engine)


@can_compile
def test_rates_scale_with_the_work_of_a_step_and_come_from_the_nearest_work_of_the_kind(cell):
    half = reference(cell, 1e4, 2e4, cost=0.5)  # half the work at this rate: here half the rate
    assert fastest(cell, NOTHING, half).why == "eager 20.0 s, compiled 10.0 s"
    rows = reference(cell, 1e4, 2e4, cost=2.0)
    rows += reference(cell, 1e4, 1e5, cost=9.0, work="far")
    rows += reference(cell, 1e4, 1e5, kind="cnn", work="cnn")
    assert fastest(cell, NOTHING, rows).why == "eager 5.0 s, compiled 2.5 s"


@can_compile
def test_what_the_store_measured_counts_before_the_reference(cell):
    rows = reference(cell, 1e4, 2e4)
    slow = stored(cell, "eager", 1e3)
    assert fastest(cell, slow, rows).why == "eager 100.0 s, compiled 50.0 s"  # twice as fast, as in the reference
    both = pl.concat([slow, stored(cell, "compiled", 5e2)])
    assert fastest(cell, both, rows) == Choice("eager", "eager 100.0 s, compiled 200.0 s")
    for change in ({"optimizer": "adam"}, {"status": "failed"}, {"problem": "digits/mlp"}):
        assert "eager 10.0 s" in fastest(cell, stored(cell, "eager", 1e3, **change), rows).why
    spec = json.loads(cell.spec_json(0))
    spec["problem"]["batch_size"] += 1
    assert "eager 10.0 s" in fastest(cell, stored(cell, "eager", 1e3, spec=json.dumps(spec)), rows).why


@can_compile
def test_operations_are_built_once_where_many_cells_together_save_enough(cell, monkeypatch):
    monkeypatch.setattr(bench.execution.engine, "built", lambda: False)
    monkeypatch.setattr(
        bench.execution.engine, "_reference", lambda on_gpu: reference(cell, 1e4, 2e4, 9.0)
    )  # 5 s are saved each
    said = []
    build_for([cell, cell], NOTHING, said.append)
    assert not said
    build_for([cell, cell, cell], NOTHING, said.append)
    assert said[0].startswith("building the native operations") and said[1].startswith("built in")
    assert not (said.clear() or build_for([cell.under("eager")] * 9, NOTHING, said.append) or said)
    build_for([cell.under("compiled")], NOTHING, said.append)
    assert len(said) == 2
    monkeypatch.setattr(bench.execution.engine, "built", lambda: True)
    assert not (said.clear() or build_for([cell] * 9, NOTHING, said.append) or said)


def test_figures_of_a_gpu_say_nothing_of_a_cpu(cell, monkeypatch, tmp_path):
    rows = reference(cell, 1e4, 9e4)
    path = tmp_path / "speed.json"
    monkeypatch.setattr(bench.execution.engine, "REFERENCE", path)
    for gpu, engine in ((None, "compiled"), ("a card", "eager")):
        bench.execution.engine._reference.cache_clear()
        path.write_text(json.dumps({"machine": {"gpu": gpu}, "rows": rows}))
        if why_not() is None:
            assert fastest(cell, NOTHING).engine == engine
    bench.execution.engine._reference.cache_clear()


def test_without_a_comparison_it_runs_eager(cell):
    unknown = Choice("eager", "the engines have not been compared")
    assert fastest(cell, NOTHING, []) == unknown
    assert fastest(cell, NOTHING, reference(cell, 1e4, 9e4)[:1]) == unknown
    assert fastest(cell, NOTHING, reference(cell, 1e4, 9e4, kind="closed form")) == unknown


def test_networks_in_other_precisions_run_eager(tmp_path):
    other = cell_of("dtype=float64", "seeds=100", "steps=1000", f"results_dir={tmp_path}")
    assert fastest(other, NOTHING, reference(other, 1e4, 9e4)) == Choice("eager")


def test_little_work_is_not_worth_a_line(cell):
    assert fastest(cell, NOTHING, reference(cell, 1e6, 1e6)) == Choice("eager")


def test_without_a_compiler_it_runs_eager_and_says_so(cell, monkeypatch):
    for module in (bench.execution.engine, bench.cell.cell):
        monkeypatch.setattr(module, "why_not", lambda: "no C++ compiler")
    choice = fastest(cell, NOTHING, reference(cell, 1e4, 9e4))
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
    unsettled = build_cell(compose_config([*arguments, "seeds=5"]))
    assert unsettled.engine == "eager" and unsettled.engine_open  # no store was opened
    more = settle(unsettled, str(tmp_path))
    assert more.engine == "compiled" and not more.engine_open
    eager = Choice("eager")
    monkeypatch.setattr(
        bench.execution.runner, "fastest", lambda cell, _: eager if cell.engine_open else Choice(cell.engine)
    )
    assert run_command(bench.run.main, [*arguments, "seeds=5"]) == 0
    members = Store(tmp_path).members()
    assert len(members) == 5 and set(members["engine"]) == {"compiled"}
    assert members["compile_seconds"].null_count() == 0 and (members["member_steps_per_second"] > 0).all()


@can_compile
def test_a_suite_runs_and_is_ranked_under_the_engine_that_was_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.execution.runner, "fastest", lambda cell, members: Choice("compiled", "it saves a lot"))
    arguments = ["suite=smoke", *SUITE_SIZE, f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, arguments) == 0
    assert "engine compiled: it saves a lot" in capsys.readouterr().out
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

    monkeypatch.setattr(bench.execution.runner, "run_chunked", failing)
    monkeypatch.setattr(bench.execution.runner, "fastest", lambda cell, members: Choice("compiled"))
    arguments = [*BASE, "steps=4", "seeds=2", "logger=none", f"results_dir={tmp_path}"]
    assert run_command(bench.run.main, arguments) == 0
    out = capsys.readouterr().out
    assert out.count("runs eager, because it could not be compiled (no such intrinsic)") == 1
    assert Store(tmp_path).members()["engine"].to_list() == ["eager", "eager"]


@can_compile
def test_jobs_of_a_matrix_are_found_under_the_engine_that_they_chose(tmp_path, monkeypatch):
    """The cells are described before the jobs run."""
    monkeypatch.setattr(bench.execution.runner, "fastest", lambda cell, members: Choice("compiled"))
    arguments = ["-m", *BASE, "steps=4", "seeds=1,2", "logger=none", f"results_dir={tmp_path}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench.run"])
    assert run_command(bench.run.main, arguments) == 0
    assert set(Store(tmp_path).members()["engine"]) == {"compiled"}
