"""The leaderboard as text, on a board of known ranks: ties, what stands below the tables, the table across problems."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from bench.leaderboard.document import leaderboard, write_leaderboard
from bench.leaderboard.text import across, notes, print_leaderboard, tables
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import SUITE_SIZE
from tests.bench.planted import stored


@pytest.fixture
def suite():
    return load_suite("smoke", SUITE_SIZE)


@pytest.fixture
def ranked(tmp_path, suite):
    """A complete digits/mlp with ten evaluation seeds: adam leads, sgd and shb are equal but for the sign of a wave."""
    suite = dataclasses.replace(suite, evaluation_seeds=10, problems={"digits/mlp": suite.problems["digits/mlp"]})
    store = Store(tmp_path / "results")
    accuracies = {
        "sgd": lambda i: 0.5 + 0.01 * i,
        "shb": lambda i: 0.5 + 0.01 * i + 0.001 * (-1) ** i,
        "adam": lambda i: 0.9,
    }
    for optimizer, accuracy in accuracies.items():
        tuning = suite.tuning_cell("digits/mlp", optimizer)
        stored(tuning, store, lambda i: {"val_accuracy": 0.5, "val_loss": 1.0, "train_loss": 1.0 + i // 2})
        best = suite.plan(store.members()).pair("digits/mlp", optimizer).winner(store.members()).hyperparameters
        reached = {"sgd": 6, "shb": 4, "adam": 2}[optimizer]  # the target is val_accuracy >= 0.85
        curve = [{"step": step, "val_accuracy": 0.1 if step < reached else 0.9} for step in (0, 2, 4, 6)]
        stored(
            suite.evaluation_cell("digits/mlp", optimizer, best),
            store,
            lambda i, accuracy=accuracy: {"test_accuracy": accuracy(i), "train_loss": 1.0},
            [curve] * 10,
        )
    return suite, store


def test_ranks_by_hand(ranked):
    board = leaderboard(ranked[0].plan(ranked[1].members()), ranked[1])
    rows = {row["optimizer"]: row for row in board["rows"] if row["metric"] == "test_accuracy"}
    assert {name: (row["rank_low"], row["rank_high"], row["tie_group"]) for name, row in rows.items()} == {
        "adam": (1, 1, 1),
        "sgd": (2, 3, 2),
        "shb": (2, 3, 2),
    }
    assert rows["adam"]["p_value_to_leader"] is None
    assert rows["sgd"]["p_value_to_leader"] == rows["shb"]["p_value_to_leader"] == pytest.approx(3 * 2 / 1024)
    steps = {row["optimizer"]: row for row in board["rows"] if row["metric"] == "steps_to_target"}
    assert {name: (row["rank_low"], row["rank_high"]) for name, row in steps.items()} == {
        "adam": (1, 1),
        "shb": (2, 2),
        "sgd": (3, 3),
    }
    assert {row["optimizer"]: row["steps_to_target"] for row in rows.values()} == {"sgd": 6, "shb": 4, "adam": 2}


def test_a_tie_is_printed_as_one_and_its_order_says_nothing(ranked):
    suite, store = ranked
    board = leaderboard(suite.plan(store.members()), store)
    (_, names, lines) = tables(suite.plan(store.members()), board)[0]
    assert names[:4] == ["optimizer", "rank", "group", "test accuracy %"] and names[4] == "IQM %"
    assert [line[:3] for line in lines] == [["adam", "1", "1"], ["sgd", "2-3", "2"], ["shb", "2-3", "2"]]
    turned = dataclasses.replace(suite, optimizers=["shb", "adam", "sgd"])
    (_, _, lines) = tables(turned.plan(store.members()), leaderboard(turned.plan(store.members()), store))[0]
    assert [line[:3] for line in lines] == [["adam", "1", "1"], ["shb", "2-3", "2"], ["sgd", "2-3", "2"]]
    text = io.StringIO()
    print_leaderboard(suite.plan(store.members()), board, Console(file=text, width=120))
    assert "adam           1       1" in text.getvalue() and "sgd          2-3       2" in text.getvalue()
    assert "coverage" not in text.getvalue().split("Closest pair")[0]  # all are complete


def test_below_the_table_stand_the_seeds_that_the_closest_pair_needs(ranked):
    suite, store = ranked
    board = leaderboard(suite.plan(store.members()), store)
    (needed,) = board["seeds_needed"]
    assert (needed["metric"], needed["pair"], needed["n_seeds"]) == ("test_accuracy", ["sgd", "shb"], 10)
    assert needed["difference"] == 0 and needed["seeds"] is None
    assert needed["spread"] == pytest.approx(0.001 * np.sqrt(10 / 9))
    (line, *_) = notes(board, "digits/mlp")
    assert line == (
        "Closest pair: sgd - shb = 0 points (spread 0.11, 10 seeds); "
        "more than 10,000 seeds separate them with power 0.8."
    )
    assert line in (write_leaderboard(suite.plan(store.members()), board, store)[0]).read_text()


def test_across_problems_by_hand(ranked):
    suite, store = ranked
    board = leaderboard(suite.plan(store.members()), store)
    areas = {profile["optimizer"]: profile["area"] for profile in board["profiles"]}
    assert areas == {"adam": 1.0, "shb": pytest.approx(2 / 3), "sgd": pytest.approx(1 / 3)}
    scores = {entry["optimizer"]: entry["score"] for entry in board["aggregate"]}
    assert scores["adam"] == 1.0  # untrained 0.1, best 0.9
    assert scores["sgd"] == pytest.approx((0.545 - 0.1) / 0.8, abs=0.01)
    title, names, lines = across(board)
    assert title == "all problems (1 of 1 complete)" and [line[0] for line in lines] == ["sgd", "shb", "adam"]
    assert dict(zip(names, lines[2]))["fastest %"] == "100 [69, 100]"
    axes = [(entry["optimizer"], entry["against"]) for entry in board["sensitivity"]]
    expected = [("sgd", "lr"), *(("shb", axis) for axis in ("lr", "momentum", "effective_step")), ("adam", "lr")]
    assert axes == expected
    assert all(len(entry["points"]) == 4 and entry["share_diverged"] == 0 for entry in board["sensitivity"])


def test_a_terminal_of_any_width(suite, finished):
    board = leaderboard(suite.plan(Store(finished).members()), Store(finished))
    for width in (40, 80, 200):
        text = io.StringIO()
        print_leaderboard(suite.plan(Store(finished).members()), board, Console(file=text, width=width))
        assert all(optimizer in text.getvalue() for optimizer in suite.optimizers)


def test_the_search_spaces_stand_below_the_table(finished, suite):
    text = (finished / "leaderboard.md").read_text()
    low, high = (suite.space("digits/mlp", "sgd")["lr"][end] for end in ("low", "high"))
    assert f"- sgd: lr {low:g} .. {high:g} (log)" in text.split("## Search spaces")[1]
    assert text.split("## Search spaces")[1].count("- ") == len(suite.optimizers)
