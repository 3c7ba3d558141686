"""The parts of a suite's time: each second counted once, and what is slow is seen to be."""

import time

import pytest

from bench.command import run_command
from bench.speed import shares
from shb.training import Stack
from tests.bench.conftest import SUITE_SIZE


def test_time_belongs_to_the_innermost_part(monkeypatch):
    now = 0.0

    def wait(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(shares.time, "perf_counter", lambda: now)
    clock = shares.Clock()
    inner = clock.timed(lambda: wait(2), "inner")

    def outer_work():
        wait(3)
        inner()
        wait(4)
        inner()
        raise KeyError

    outer = clock.timed(outer_work, "outer")
    wait(1)
    with pytest.raises(KeyError):
        outer()
    wait(10)
    clock.switch()
    assert clock.seconds == {shares.REST: 11, "outer": 7, "inner": 4}


@pytest.mark.slow
def test_every_part_of_a_suite_is_seen_and_nothing_stays_changed(monkeypatch, capsys):
    before = [getattr(owner, name) for owner, name in shares.PARTS]
    started = time.perf_counter()
    seconds, code = shares.shares("smoke", SUITE_SIZE)
    wall = time.perf_counter() - started
    assert code == 0 and set(seconds) == {*shares.PARTS.values(), shares.REST}
    assert all(value > 0 for value in seconds.values()) and sum(seconds.values()) < wall
    assert [getattr(owner, name) for owner, name in shares.PARTS] == before

    evaluate = Stack._evaluate
    monkeypatch.setattr(Stack, "_evaluate", lambda self, state, k: (time.sleep(0.05), evaluate(self, state, k)))
    slow, _ = shares.shares("smoke", SUITE_SIZE)
    assert slow["evaluation"] > 0.5 + seconds["evaluation"] / 2  # 12 stacks, evaluated twice at least


def test_wrong_arguments_are_one_line(capsys):
    assert run_command(shares.main, ["default", "twice"]) == 2
    assert "arguments=default twice: allowed is python -m bench.speed.shares [suite]" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run_command(shares.main, ["defualt"]) == 2
    assert "did you mean default?" in capsys.readouterr().err
