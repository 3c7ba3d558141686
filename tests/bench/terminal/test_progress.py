"""The time left, and what is shown where."""

import io
import types

import pytest
from rich.console import Console

import bench.terminal.progress
from bench.terminal.progress import Reporter


@pytest.fixture
def clock(monkeypatch):
    """A clock whose `now` the test sets, in seconds."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(bench.terminal.progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def reporter(clock):
    return Reporter(Console(file=io.StringIO()), members=10, work=100.0)


def test_time_left_is_the_rest_at_the_rate_so_far(reporter, clock):
    assert reporter.seconds_left() is None
    clock.now += 10
    assert reporter.seconds_left() is None  # nothing done yet
    reporter.work(20)
    assert reporter.seconds_left() == pytest.approx(80 * 10 / 20)
    clock.now += 10
    reporter.work(60)
    assert reporter.seconds_left() == pytest.approx(20 * 20 / 80)
    reporter.work(-40)  # a chunk starts again
    assert reporter.seconds_left() == pytest.approx(60 * 20 / 40)
    reporter.work(500)  # more than predicted
    assert reporter.seconds_left() == 0
    reporter.work(-1000)
    assert reporter.seconds_left() is None


def test_no_time_left_in_the_first_second(reporter, clock):
    clock.now += 0.5
    reporter.work(20)
    assert reporter.seconds_left() is None


def use(reporter):
    with reporter:
        reporter.describe("diabetes/mlp sgd")
        reporter.work(50.0)
        reporter.members(3)
        reporter.line("  [a line] 0.5 s")


def test_no_live_output_where_it_is_not_a_terminal():
    text = io.StringIO()
    use(Reporter(Console(file=text, width=120), members=10, work=100.0))
    assert text.getvalue() == "  [a line] 0.5 s\n"


def test_a_terminal_shows_what_runs_and_how_much(clock):
    text = io.StringIO()
    reporter = Reporter(Console(file=text, width=120, force_terminal=True), members=10, work=100.0)
    clock.now += 75
    use(reporter)
    assert all(part in text.getvalue() for part in ("diabetes/mlp sgd", "3/10", "members", "ETA 1:15"))


def test_nothing_to_do_shows_nothing_in_a_terminal():
    text = io.StringIO()
    with Reporter(Console(file=text, force_terminal=True), members=0, work=0.0):
        pass
    assert "members" not in text.getvalue()
