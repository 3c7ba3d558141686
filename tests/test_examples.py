"""Every file of examples/ runs, in this process and with small sizes, and shows what its text says."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    return runpy.run_path(str(EXAMPLES / name), run_name="example")


def test_these_are_all():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"stack.py", "shb_in_a_loop.py"}


def test_the_stack_trains_every_momentum_and_draws(tmp_path, capsys):
    names = example("stack.py")
    path = tmp_path / "new folder" / "stack.png"
    names["main"](str(path), seeds=2, steps=30, step_size=0.2)
    assert path.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in printed[:-1]] == [f"{momentum:g}" for momentum in names["MOMENTUMS"]]
    accuracies = [float(line.split()[-1]) for line in printed[:-1]]
    assert all("2 of 2 seeds" in line for line in printed[:-1])
    assert min(accuracies[:2]) > 0.5 > accuracies[3]  # 30 steps are short for a memory of 100


def test_the_forms_part_where_the_step_size_drops():
    drop = 30
    ours, theirs = example("shb_in_a_loop.py")["main"](steps=40, drop=drop)
    assert ours[: drop + 1] == pytest.approx(theirs[: drop + 1], rel=1e-12)
    assert ours[-1] < 0.99 * theirs[-1]  # Polyak's form keeps the velocity
    assert ours[-1] < ours[0]
