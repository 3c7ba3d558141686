"""What one cell prints: every metric under its setting, at any width of the console."""

import re

import pytest
from rich.console import Console

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.command import run_command
from bench.execution.summary import print_summary
from bench.run import main
from bench.store.store import Store
from bench.terminal.tables import print_table

POINT = ["init=point", "init.value=0.0", "relu_derivative=0.0", "device=cpu", "seeds=3", "steps=20"]
DISTANCES = {"clarke_distance", "artificial_distance", "touched", "trapped"}


def printed(overrides, folder, capsys):
    assert run_command(main, [*overrides, f"results_dir={folder}"]) == 0
    return capsys.readouterr().out


def printed_again(cell, folder, width):
    console = Console(width=width)
    with console.capture() as capture:
        print_summary(cell, Store(folder), console)
    return capture.get()


@pytest.mark.parametrize("problem", ["e1", "e3", "e6"])
@pytest.mark.parametrize(
    "start", [POINT[:2], ["init=normal", "init.std=2.0"], ["velocity=normal"], ["init=uniform", "init.low=-2"]]
)
def test_a_closed_form_shows_its_objective_its_distances_and_its_trap(tmp_path, capsys, problem, start):
    out = printed([f"problem={problem}", *start, *POINT[2:]], tmp_path, capsys)
    for header in ("training objective", "clarke distance", "artificial distance", "touched", "trapped"):
        assert header in out
    inside = 3 if start == POINT[:2] else 0  # almost every start misses the trap
    assert re.search(rf" {inside} of 3 +{inside} of 3 $", out, re.MULTILINE)
    members = Store(tmp_path).members()
    assert all(members[name].is_finite().all() for name in DISTANCES)
    assert members["touched"].to_list() == members["trapped"].to_list() == [inside / 3] * 3
    assert set(members["velocity_std"]) == {1.0 if start == ["velocity=normal"] else 0.0}


def test_the_distances_are_those_of_the_last_iterate(tmp_path, capsys):
    """From (0, 3) on E3, w_1 stays and w_2 goes to b = 1: SGD with lr 0.5 halves its distance at each step."""
    overrides = ["problem=e3", "init=point", "init.value=[0.0,3.0]", "optimizer=sgd", "optimizer.lr=0.5", "steps=3"]
    printed([*overrides, "seeds=1", "device=cpu"], tmp_path, capsys)
    (row,) = Store(tmp_path).members().iter_rows(named=True)
    assert row["artificial_distance"] == 0.25
    assert row["clarke_distance"] == pytest.approx((1 + 0.25**2) ** 0.5, rel=1e-6)
    assert row["train_loss"] == 0.25**2 / 2
    assert row["init_value"] is None  # a list, which only `spec` has
    assert '"init":{"name":"point","value":[0.0,3.0]}' in row["spec"]


def test_a_share_counts_the_seeds_that_did_not_diverge(tmp_path, capsys):
    out = printed(
        ["problem=e1", *POINT[:2], "optimizer.lr=[0.01,1e4]", "seeds=3", "relu_derivative=0.5"], tmp_path, capsys
    )
    (alive,) = re.findall(r"^ *0.01 +3 +0 .*$", out, re.MULTILINE)
    (dead,) = re.findall(r"^ *10000 +3 +3 .*$", out, re.MULTILINE)
    assert alive.endswith("3 of 3    0 of 3 ")  # at 0, where t = 1/2 lets it go
    assert dead.split()[-5:] == ["inf", "inf", "inf", "-", "-"]


def test_where_every_seed_diverged_there_is_a_reason_for_no_metrics(tmp_path, capsys):
    out = printed(["problem=e1", "optimizer.lr=1e4", "seeds=2", "device=cpu"], tmp_path, capsys)
    last = Store(tmp_path).members()["diverged_step"].max()
    assert f"every seed diverged, the last one at step {last}" in out
    assert "training objective" not in out and "1000 steps: median over seeds [95 % interval]" in out


def test_a_network_has_no_legend_of_traps(tmp_path, capsys):
    out = printed(["dataset=diabetes", "model.hidden=[2]", "steps=4", "seeds=2", "device=cpu"], tmp_path, capsys)
    assert "test loss" in out and "trap" not in out and "Clarke" not in out


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_column_is_lost_on_a_narrow_console(tmp_path, capsys, width):
    overrides = ["problem=e3", "init=point", "init.value=[0.0,3.0]", "optimizer.lr=[0.01,0.1]", *POINT[2:]]
    overrides.append("engine=eager")
    printed(overrides, tmp_path, capsys)
    out = printed_again(build_cell(compose_config(overrides)), tmp_path, width)
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out
    first = next(line for line in out.splitlines() if line.startswith(" 0.01"))
    assert len(re.split(" {2,}", first.strip())) == 8  # lr, seeds, diverged, three medians, two shares


def test_an_interval_moves_below_its_median_before_a_number_is_broken():
    cells = [["1.234e-10 [1.111e-10, 2.222e-10]", "5"]]
    rows = {}
    for width in (60, 30, 17):
        console = Console(width=width)
        with console.capture() as capture:
            print_table(console, "title", ["loss", "n"], cells)
        rows[width] = [line.split() for line in capture.get().splitlines() if "e-10" in line]
    assert rows == {
        60: [["1.234e-10", "[1.111e-10,", "2.222e-10]", "5"]],
        30: [["1.234e-10", "5"], ["[1.111e-10,", "2.222e-10]"]],
        17: [["1.234e-10", "5"], ["[1.111e-10,"], ["2.222e-10]"]],
    }
