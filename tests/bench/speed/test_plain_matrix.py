"""The plain side of the comparison: its extrapolation is plain arithmetic."""

import json

import pytest
from rich.console import Console

from bench.command import run_command
from bench.reproduction.plain_loop import PlainRun
from bench.speed import plain_matrix
from bench.speed.plain_matrix import (
    Stacked,
    Timing,
    extrapolate,
    faster_threads,
    print_ratio,
    stacked_side,
    time_suite,
    total_interval,
)
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.planted import curve_of
from tests.bench.reproduction.test_plain_loop import OPTIMIZERS, PROBLEMS, SHARED

SIZE = {
    "optimizers": OPTIMIZERS,
    "trials": 2,
    "tuning_seeds": 1,
    "evaluation_seeds": 3,
    "targets": {},
    "tuning_evaluations": None,
}


@pytest.fixture
def finished(finished_eager):
    return finished_eager


@pytest.fixture
def suite(write_suite):
    """A suite of the problems above with short runs."""
    problems = {name: [*own, *SHARED] for name, own in PROBLEMS.items()}
    write_suite("tiny", problems=problems, **SIZE)
    return load_suite("tiny")


TIMINGS = [
    Timing("a", "sgd", 58, {2: [1.0, 2.0], 1: [0.5, 1.0]}),
    Timing("a", "adam", 58, {2: [1.0, 1.0], 1: [2.0, 1.25]}),
    Timing("b", "sgd", 10, {2: [0.25, 0.75], 1: [8.0, 8.0]}),
]


def test_the_extrapolation_is_mean_times_members():
    assert faster_threads(TIMINGS) == {"a": 1, "b": 2}  # a: 4.75 s against 5 s, although adam alone is faster with 2
    assert extrapolate(TIMINGS) == [0.75 * 58, 1.625 * 58, 0.5 * 10]
    found = {("a", "sgd"): 4, ("a", "adam"): 0, ("b", "sgd"): 2}
    assert extrapolate(TIMINGS, found) == [3.0, 0.0, 1.0]


def test_the_interval_resamples_members_within_cells():
    low, high = total_interval(TIMINGS)
    assert 0.5 * 58 + 1.25 * 58 + 2.5 <= low < sum(extrapolate(TIMINGS)) < high <= 1.0 * 58 + 2.0 * 58 + 7.5
    uneven = [Timing("a", "sgd", 10, {1: [k**1.7 for k in range(1, 9)]})]
    assert total_interval(uneven) == total_interval(uneven)
    one_cell = [Timing("a", "sgd", 10, {1: [1.0, 3.0]})]
    assert total_interval(one_cell) == (10.0, 30.0)  # two values: their range
    assert total_interval(one_cell, {("a", "sgd"): 2}) == (2.0, 6.0)
    assert total_interval([Timing("a", "sgd", 10, {1: [1.5, 1.5, 1.5]})]) == (15.0, 15.0)
    assert total_interval([Timing("a", "sgd", 10, {1: [1.0]})]) is None


def test_the_ratio_is_over_the_members_found(capsys):
    stacked = Stacked(126, {("a", "sgd"): 4, ("a", "adam"): 0, ("b", "sgd"): 2}, 0.5, ["eager"], [2])
    facts = print_ratio(TIMINGS, stacked, Console(width=200))
    assert facts["ratio"] == (4 * 0.75 + 2 * 0.5) / 0.5 and facts["plain_seconds_of_found"] == 4.0
    assert facts["ratio_interval"] == [(4 * 0.5 + 2 * 0.25) / 0.5, (4 * 1.0 + 2 * 0.75) / 0.5]
    assert "stacked: 6 of 126 members in 0.5 s (engine eager, threads 2)" in capsys.readouterr().out


@pytest.mark.slow
def test_every_stack_counts_once(finished, tmp_path, write_suite):
    smoke = load_suite("smoke")
    problems = {name: [*own, "steps=4", "evaluations=2", "model.hidden=[2]"] for name, own in smoke.problems.items()}
    write_suite("small", problems=problems)
    members = Store(finished).members()
    stacks = members.unique(["problem", "optimizer", "stack_members", "stack_seconds"])
    assert stacks["stack_members"].sum() == len(members) == 72  # a row of each stack
    whole = stacked_side("small", finished)
    assert (whole.planned, sum(whole.found.values()), whole.engines) == (72, 72, ["eager"])
    assert whole.seconds == pytest.approx(stacks["stack_seconds"].sum())

    part = Store(tmp_path / "part")  # three of the eight members of a stack, and one that failed
    own = members.filter((members["optimizer"] == "shb") & (members["problem"] == "digits/mlp"))
    tuning = own.filter(own["stack_members"] == 8).head(4).to_dicts()
    assert len(tuning) == 4
    part.write([*tuning[:3], {**tuning[3], "status": "failed"}], curve_of(tuning[:3]))
    some = stacked_side("small", part.folder)
    assert some.planned == 72 and {pair: n for pair, n in some.found.items() if n} == {("digits/mlp", "shb"): 3}
    assert some.seconds == pytest.approx(tuning[0]["stack_seconds"] * 3 / 8)


def test_the_sample_is_drawn_with_a_seed(suite, monkeypatch):
    monkeypatch.setattr(plain_matrix, "train_plain", lambda cell, member: PlainRun(1.0, []))
    first, second = (list(time_suite(suite, 1)) for _ in range(2))
    assert first == second and {i for t in first for i in t.sampled} == {0, 1}  # not always the same trial
    assert [(t.problem, t.optimizer) for t in first] == suite.pairs()
    assert {t.members for t in first} == {2 + 3}
    everything = list(time_suite(suite, 9))
    assert all(list(t.sampled) == [0, 1] and {len(s) for s in t.seconds.values()} == {2} for t in everything)


@pytest.mark.slow
def test_the_command(write_suite, tmp_path, monkeypatch, capsys):
    problems = {"digits/mlp": [*PROBLEMS["digits/mlp"], *SHARED]}
    write_suite("tiny", problems=problems, **{**SIZE, "optimizers": ["shb", "adam"]})
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "results" / "local" / "plain_matrix.json"
    assert run_command(plain_matrix.main, ["tiny", "--sample", "1"]) == 0
    assert "make bench SUITE=tiny RESULTS=results/local" in capsys.readouterr().out
    plain = json.loads(output.read_text())
    assert "ratio" not in plain and plain["interval_seconds"] is None
    assert [row["members"] for row in plain["rows"]] == [5] * 2
    assert plain["total_seconds"] == sum(row["extrapolated_seconds"] for row in plain["rows"])

    assert run_command(plain_matrix.main, ["tiny", "--rerun"]) == 0
    both = json.loads(output.read_text())
    assert both["stacked"]["members_found"] == both["stacked"]["members_planned"] == 2 * 5
    assert both["ratio"] == pytest.approx(both["total_seconds"] / both["stacked"]["seconds"])
    assert both["stacked"]["seconds"] < both["rerun_wall_seconds"]
    text = capsys.readouterr().out
    assert "stacked: 10 of 10 members" in text and "earlier run" not in text
    assert {p.name for p in output.parent.iterdir()} == {output.name}  # the stacked run left nothing


def test_an_earlier_run_is_called_that(finished, write_suite, tmp_path, monkeypatch, capsys):
    smoke = load_suite("smoke")
    problems = {name: [*own, "steps=4", "evaluations=2", "model.hidden=[2]"] for name, own in smoke.problems.items()}
    write_suite("small", problems=problems)
    monkeypatch.chdir(tmp_path)
    assert run_command(plain_matrix.main, ["small", "--results", str(finished)]) == 0
    text = capsys.readouterr().out
    assert "72 of 72 members" in text and "of an earlier run, possibly under another load" in text


@pytest.mark.parametrize("arguments", [["defalt"], ["none"], ["smoke", "--sample", "0"]])
def test_bad_input_is_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(plain_matrix.main, arguments) == 2
    assert capsys.readouterr().err.startswith("error: ") and not list(tmp_path.iterdir())
