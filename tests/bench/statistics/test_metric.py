"""What a metric means, in the one place that says it."""

import math

import pytest

from bench.statistics.metric import Metric
from bench.store.schema import METRICS

ACCURACIES = {"train_accuracy", "val_accuracy", "test_accuracy"}


def test_accuracies_are_the_metrics_of_which_higher_is_better():
    assert {name for name in METRICS if Metric(name).higher_is_better} == ACCURACIES


@pytest.mark.parametrize("better", [0.9, 1.0])
def test_of_two_values_the_better_one_is_known(better):
    accuracy, loss = Metric("test_accuracy"), Metric("test_loss")
    assert accuracy.sign * better < accuracy.sign * 0.5 < accuracy.sign * accuracy.worst
    assert loss.sign * 0.5 < loss.sign * better < loss.sign * loss.worst
    assert (accuracy.relation, loss.relation) == (">=", "<=")


@pytest.mark.parametrize(
    ("name", "header", "text"),
    [
        ("test_accuracy", "test accuracy %", "91.25 [90.00, 100.00]"),
        ("test_loss", "test loss", "0.912 [0.9, 1]"),
        ("train_loss", "training objective", "0.912 [0.9, 1]"),
        ("steps_to_target", "steps to target", "0.912 [0.9, 1]"),
    ],
)
def test_how_values_are_shown(name, header, text):
    assert Metric(name).header == header and Metric(name).interval_text(0.9125, 0.9, 1.0) == text
    assert Metric("val_loss").interval_text(0.5, 0.25, math.inf) == "0.5 [0.25, inf]"
