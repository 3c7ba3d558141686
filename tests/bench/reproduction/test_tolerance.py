"""What passes for the same member on another machine, and what does not; measured on trajectories, not assumed."""

import math

import numpy as np
import polars as pl
import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.reproduction.rerun import Run, alone, perturbed, stored_run, threads
from bench.reproduction.tolerance import FACTOR, Rounding, agreement
from bench.store.schema import CURVE_METRICS, METRICS
from bench.store.store import Store
from tests.bench.conftest import ROOT

ROUNDING = Rounding("float32", {"train": 1149, "val": 288, "test": 360})
STEPS = [0, 10, 20, 30]


def run(val_loss, status="done", diverged_step=None):
    """A run with this curve of one loss; its last value is the metric."""
    curve = {"step": STEPS[: len(val_loss)], **{name: [None] * len(val_loss) for name in CURVE_METRICS}}
    curve["val_loss"] = list(val_loss)
    metrics = dict.fromkeys(METRICS) | ({"val_loss": val_loss[-1]} if status == "done" else {})
    return Run(status, diverged_step, metrics, curve)


BASE = run([2.0, 1.0, 0.5, 0.25])


def none():
    pytest.fail("copies are not needed")


def copies_of(*runs):
    return lambda: list(runs)


def test_last_bits_are_rounding():
    stored = run([value * (1 + 3e-7) for value in BASE.curve["val_loss"]])
    found = agreement(stored, BASE, ROUNDING, none)
    assert (found.result, found.step, found.metric) == ("rounding", 30, "val_loss")
    assert found.distance == pytest.approx(3e-7, rel=0.01)


@pytest.mark.parametrize("row", range(4))
def test_a_difference_that_no_copy_shows_is_a_mismatch(row):
    values = list(BASE.curve["val_loss"])
    values[row] *= 1.01
    found = agreement(run(values), BASE, ROUNDING, copies_of(BASE, BASE))
    assert (
        found.result == "different"
        and f"differs at step {STEPS[row]}; small errors do not matter up to step 30" == found.reason
    )
    assert found.step == (STEPS[row - 1] if row else None)


LEAVES = run([2.0, 1.0, 0.55, 0.3])  # a copy that leaves at step 20


def test_from_where_copies_leave_a_member_may_leave_too():
    found = agreement(run([2.0, 1.0, 0.46, 0.21]), BASE, ROUNDING, copies_of(BASE, LEAVES))
    assert (found.result, found.step) == ("chaotic", 10) and "1 of 2 copies" in found.reason


def test_but_not_before():
    found = agreement(run([2.0, 1.1, 0.5, 0.25]), BASE, ROUNDING, copies_of(BASE, LEAVES))
    assert (
        found.result == "different" and found.reason == "differs at step 10; small errors do not matter up to step 10"
    )


def test_and_not_further():
    spread = math.log(0.3 / 0.25)
    for factor, result in ((0.9 * FACTOR, "chaotic"), (1.1 * FACTOR, "different")):
        values = [2.0, 1.0, 0.5, 0.25 * math.exp(factor * spread)]
        assert agreement(run(values), BASE, ROUNDING, copies_of(BASE, LEAVES)).result == result


def test_copies_that_cost_too_much_leave_a_difference_a_difference():
    found = agreement(run([2.0, 1.0, 0.46, 0.21]), BASE, ROUNDING, lambda: [])
    assert found.result == "different" and "too costly" in found.reason


DIVERGED = run([2.0, 1.0], "diverged", 17)


@pytest.mark.parametrize(
    ("stored", "again", "copies", "result"),
    [
        (DIVERGED, DIVERGED, None, "rounding"),
        (run([2.0, 1.0], "diverged", 18), DIVERGED, [DIVERGED], "different"),
        (run([2.0, 1.0], "diverged", 18), DIVERGED, [run([2.0, 1.0], "diverged", 19)], "chaotic"),
        (DIVERGED, BASE, [BASE, BASE], "different"),
        (DIVERGED, BASE, [BASE, run([2.0, 1.0, 0.5], "diverged", 25)], "different"),  # leaves before any copy does
        (DIVERGED, BASE, [BASE, run([2.0, 1.0], "diverged", 19)], "chaotic"),
        (BASE, DIVERGED, [DIVERGED, run([2.0, 1.2, 0.5, 0.25])], "chaotic"),
    ],
)
def test_divergence_is_compared_too(stored, again, copies, result):
    found = agreement(stored, again, ROUNDING, none if copies is None else copies_of(*copies))
    assert found.result == result


def test_missing_values_are_differences():
    values = [2.0, 1.0, None, 0.25]
    assert agreement(run(values), BASE, ROUNDING, copies_of(BASE)).result == "different"


@pytest.mark.parametrize(
    ("metric", "a", "b", "within"),
    [
        ("val_loss", 1.0, 1.001, True),
        ("val_loss", 1.0, 1.002, False),
        ("val_loss", 1e-9, 1e-6, True),  # 1e-6 is nothing to a mean of float32 losses
        ("val_loss", 1e-9, 1e-5, False),
        ("train_loss", -1.0, -1.001, True),
        ("train_loss", -1.0, 1.0, False),
        ("train_loss", math.inf, math.inf, True),
        ("train_loss", math.inf, 1.0, False),
        ("val_accuracy", 0.5, 0.5 + 2 / 288, True),
        ("val_accuracy", 0.5, 0.5 + 3 / 288, False),
        ("train_accuracy", 0.5, 0.5 + 2 / 1149, True),
        ("train_accuracy", 0.5, 0.5 + 3 / 1149, False),
        ("trapped", 0.0, 1.0, False),
        ("touched", 1.0, 1.0, True),
        ("clarke_distance", math.nan, math.nan, True),
        ("clarke_distance", math.nan, 0.0, False),
    ],
)
def test_the_tolerance_of_each_metric(metric, a, b, within):
    a, b = np.array([a]), np.array([b])
    assert [ROUNDING.beyond(metric, *pair)[0] for pair in ((a, b), (b, a))] == [not within] * 2


def test_a_precision_has_its_own_rounding():
    allowed = [Rounding(dtype, {}).allowed("train_loss") for dtype in ("float64", "float32", "bfloat16")]
    assert allowed == [pytest.approx(2.2e-12, rel=0.01), pytest.approx(1.2e-3, rel=0.01), 0.1]


def unstable(*overrides):
    """A cell at the edge of stability: after some tens of steps a last bit decides the way."""
    settings = ["dataset=digits", "optimizer=nesterov", "optimizer.lr=0.25", "steps=120", "evaluations=24"]
    return build_cell(compose_config([*settings, "seeds=1", "device=cpu", "logger=none", *overrides]))


@pytest.fixture(scope="module")
def chaotic():
    return unstable()


@pytest.fixture(scope="module")
def copies(chaotic):
    return perturbed(chaotic, 24)


@pytest.mark.slow
def test_copies_have_small_errors_of_their_own(chaotic):
    """None at the start, small ones at the next evaluation, each copy others, and every time the same."""
    few, plain = perturbed(chaotic, 3), alone(chaotic).curve["val_loss"]
    curves = [run.curve["val_loss"] for run in few]
    assert {curve[0] for curve in curves} == {plain[0]}
    assert len({plain[1], *(curve[1] for curve in curves)}) == 4
    assert max(abs(curve[1] / plain[1] - 1) for curve in curves) < 1e-3
    assert perturbed(chaotic, 3) == few


@pytest.mark.slow
@pytest.mark.slow
def test_the_last_bit_decides_a_chaotic_member_and_the_rules_know(chaotic, copies):
    """Copies play the stored member: they end elsewhere than the plain one, by far more than rounding, and pass."""
    plain = alone(chaotic)
    found = [agreement(copy, plain, ROUNDING, lambda: copies[8:]) for copy in copies[:8]]
    results = [one.result for one in found]
    assert results.count("chaotic") >= 6 and "different" not in results
    assert np.median([one.distance for one in found]) > 10 * ROUNDING.allowed("train_loss")


@pytest.mark.parametrize("other", ["seed_offset=1", "optimizer.lr=0.26", "optimizer.momentum=0.91", "batch_size=31"])
@pytest.mark.slow
def test_other_settings_are_another_member(chaotic, copies, other):
    found = agreement(alone(unstable(other)), alone(chaotic), ROUNDING, lambda: copies)
    assert found.result == "different" and found.step == (None if "seed" in other else 0)  # only w_0 is the same


def test_a_stored_run_is_what_the_store_has():
    store = Store(ROOT / "results" / "reference")
    own = store.members().filter(pl.col("problem") == "digits/mlp")
    trial, row = (own.filter(kind).row(0, named=True) for kind in (pl.col("seed") >= 1_000_000, pl.col("seed") < 10))
    assert stored_run(trial, store.curves([trial["member_id"]])).curve["step"] == [0, 600]
    stored = stored_run(row, store.curves([row["member_id"]]))
    assert stored.curve["step"] == list(range(0, 601, 30)) and stored.metrics["train_loss"] == row["train_loss"]
    assert stored.curve["train_loss"][-1] == row["train_loss"] and stored.curve["train_loss"][0] is None


def test_threads_are_set_and_put_back():
    import torch

    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
