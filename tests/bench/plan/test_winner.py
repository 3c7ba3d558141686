"""The choice of the best setting."""

import json
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.winner import Winner, winner


def text(name):
    """As a member's row has the setting."""
    return json.dumps({"lr": name})


def tuning(scores, tie_break=None, score="val_accuracy"):
    """Rows of settings (name -> scores over seeds; None: diverged)."""
    rows = [
        {"hyperparameters": text(name), score: value, "val_loss": (tie_break or {}).get(name, 1.0)}
        for name, values in scores.items()
        for value in values
    ]
    return pl.DataFrame(rows, schema={"hyperparameters": pl.String, score: pl.Float64, "val_loss": pl.Float64})


def loss_rows(scores):
    rows = [{"hyperparameters": text(name), "val_loss": value} for name, values in scores.items() for value in values]
    return pl.DataFrame(rows, schema={"hyperparameters": pl.String, "val_loss": pl.Float64})


def test_the_planted_best_wins():
    accuracy = {"a": [0.1, 0.2, 0.9], "b": [0.5, 0.6, 0.7], "c": [0.3, 0.55, 0.55]}
    assert winner(tuning(accuracy), "val_accuracy") == Winner({"lr": "b"}, 0.6, 3)
    assert winner(loss_rows(accuracy), "val_loss") == Winner({"lr": "a"}, 0.2, 3)


@pytest.mark.parametrize("worst", [None, math.nan])
def test_a_diverged_seed_is_the_worst(worst):
    accuracy = {"a": [0.9, worst, worst], "b": [0.1, 0.1, 0.1]}
    assert winner(tuning(accuracy), "val_accuracy").hyperparameters == {"lr": "b"}
    assert winner(loss_rows({"a": [0.0, worst, worst], "b": [9.0] * 3}), "val_loss").hyperparameters == {"lr": "b"}
    # one of three diverged: the median is the worse of the other two
    assert winner(loss_rows({"a": [0.1, 0.3, worst], "b": [0.4] * 3}), "val_loss").score == 0.3


def test_all_diverged_has_the_worst_score():
    best = winner(tuning({"b": [None] * 3, "a": [None] * 3}), "val_accuracy")
    assert best.hyperparameters == {"lr": "a"} and not math.isfinite(best.score)


def test_ties_go_to_the_lower_validation_loss_then_to_the_text():
    tied = {"a": [0.5], "b": [0.5], "c": [0.5]}
    assert winner(tuning(tied, {"a": 0.3, "b": 0.2, "c": 0.2}), "val_accuracy").hyperparameters == {"lr": "b"}


@given(st.permutations(range(6)))
def test_the_choice_does_not_depend_on_the_order_of_rows(order):
    frame = tuning({"a": [0.5, 0.7], "b": [0.6, 0.6], "c": [0.1, 0.9]}, {"a": 0.2, "b": 0.2, "c": 0.4})
    assert winner(frame[list(order)], "val_accuracy").hyperparameters == {"lr": "a"}


def test_no_rows_no_setting():
    assert winner(tuning({}), "val_accuracy") is None
