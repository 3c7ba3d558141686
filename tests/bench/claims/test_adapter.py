"""CL47: verdicts on made-up columns of known truth, tiny runs in the right and in a wrong world, the figure."""

import functools

import numpy as np
import pytest

from bench.cell.problem import build_problem
from bench.claims import trajectories
from bench.claims.artificial import adapter
from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.figures import artificial as figures
from shb.models import MODELS
from shb.training.step import forget_programs
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 200
SIZES = {
    "seeds": N,
    "control_seeds": N,
    "chunk": 50,
    "steps": 600,
    "curve_seeds": 2,
    "margin": 0.1,
    "lr": {"sgd": 1.0, "shb": 0.1, "adam": 0.05},
    "networks": {"net": ["model.hidden=[4]", "dataset=digits"]},
    "seconds": 1e-4,
}
TINY = SIZES | {"seeds": 3, "control_seeds": 2, "chunk": 3, "steps": 4, "curve_seeds": 3}
SUPPORTED = dict.fromkeys("abcde", "SUPPORTED")


def arm(accuracy, rests=N, gradient=0.4, loss=1.0):
    """Runs of one arm around a test accuracy; the same noise in every arm, as of runs with the same samples."""
    noise = 0.05 * np.random.default_rng(0).standard_normal(N)
    columns = dict.fromkeys(("accuracy", "test_accuracy"), accuracy + noise)
    columns |= {"objective": np.full(N, loss), "backward": np.zeros(N)}
    return columns | {"rests": (np.arange(N) < rests) * 1.0, "gradient": np.full(N, gradient)}


def world(**changes):
    """The claim's world; `changes`: "trap_sgd" -> the columns of that experiment."""
    arms = {f"{name}_{o}": arm(0.6) for name in ("plain", "trap") for o in adapter.OPTIMIZERS}
    arms |= {f"tiny_{o}": arm(0.9, 0, 0.2, 0.5) for o in adapter.OPTIMIZERS}
    arms |= {f"{name}_shb": arm(0.9, 0, 0.2, 0.5) for name in ("half", "maximum", "random")}
    arms |= {"silent_shb": arm(0.6, gradient=0.0)} | changes
    return {f"net {name.replace('_', ' ')}": columns for name, columns in arms.items()}


def verdicts(**changes):
    found = verdicts_of("CL47", SIZES, world(**changes))
    return {part.removeprefix("CL47"): verdict for part, (verdict, _) in found.items()}


def test_the_world_of_the_claim_is_supported():
    assert verdicts() == SUPPORTED


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"trap_adam": arm(0.6, rests=N // 2)}, {"a": "REFUTED"}),
        ({"trap_sgd": arm(0.6, rests=N - 8)}, {"a": "INCONCLUSIVE"}),
        ({"trap_sgd": arm(0.6 + 1e-9)}, {"b": "REFUTED"}),
        ({"plain_adam": arm(0.6, loss=1 + 1e-15)}, {"b": "REFUTED"}),
        ({"tiny_adam": arm(0.63, 0)}, {"c": "REFUTED"}),
        ({"half_shb": arm(0.92, 0, loss=0.5)}, {"d": "REFUTED"}),
        ({"trap_shb": arm(0.6, gradient=0.05)}, {"e": "REFUTED"}),
        ({"half_shb": arm(0.9, N, loss=0.5)}, {"a": "VOID"}),
        ({"random_shb": arm(0.9, N, loss=0.5)}, {"a": "VOID"}),
        ({"maximum_shb": arm(0.6, 0)}, {"b": "VOID"}),
        ({"silent_shb": arm(0.9, gradient=0.0)}, {"c": "VOID"}),
        ({"trap_shb": arm(0.9), "plain_shb": arm(0.9)}, {"c": "REFUTED", "d": "VOID", "b": "VOID"}),
        ({"silent_shb": arm(0.6, gradient=0.4)}, {"e": "VOID"}),
    ],
    ids=lambda value: " ".join(value),
)
def test_another_world_has_another_verdict(changes, others):
    found = verdicts(**changes)
    assert {part: v for part, v in found.items() if v != SUPPORTED[part]} == {
        part: v for part, v in others.items() if found[part] != SUPPORTED[part]
    }
    assert set(found.items()) & set(others.items())


def test_without_its_data_the_claim_is_out_of_scope():
    (part,) = CLAIMS["CL47"].parts(Protocol("full", SIZES), {})
    assert part.id == "CL47" and part.out_of_scope == "data set absent, for net"


@pytest.fixture(scope="module")
def tiny():
    return run_tiny("CL47", TINY)


@pytest.mark.slow
def test_a_tiny_run_shows_what_the_claim_says(tiny):
    results, parts = tiny
    values = {part.id: part.estimate.value for part in parts}
    assert values["CL47a"] == values["CL47e"] == values["CL47b"] == 1 and abs(values["CL47d"]) < 1e-6
    controls = {(part.id, c.description): c.estimate.value for part in parts for c in part.controls}
    assert [value for (part, _), value in controls.items() if part in ("CL47a", "CL47b", "CL47e")] == [0] * 6
    trap, silent = results["net trap shb"], results["net silent shb"]
    assert not trap["backward"].any() and not silent["gradient"].any() and silent["rests"].all()


@pytest.mark.slow
def test_in_a_world_with_another_derivative_nothing_is_at_rest(monkeypatch):
    """What test_planted_defects does, at tiny sizes."""
    caches = (build_problem, trajectories.cell_of)
    right = MODELS["adapter"]

    @functools.wraps(right)
    def wrong(*args, relu_derivative=0.0, **options):
        return right(*args, relu_derivative=relu_derivative or 0.5 * (options["form"] == "relu"), **options)

    one = CLAIMS["CL47"].experiments(Protocol("quick", TINY))["net trap shb"]
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setitem(MODELS, "adapter", wrong)
    try:
        columns = MEASURES[one.measure].function(one.settings, np.arange(one.seeds))
    finally:
        forget_programs()
        for cache in caches:
            cache.cache_clear()
    assert not columns["rests"].any()
    np.testing.assert_allclose(columns["backward"], columns["gradient"], rtol=1e-9)  # both right: one gradient


@pytest.mark.slow
def test_the_figure_shows_the_curves(tiny):
    results, _ = tiny
    drawn = figures.figure({"CL47": Protocol("quick", TINY)}, {"CL47": results})
    (ax,) = drawn.axes
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    assert list(curves) == [label for label, *_ in figures.LINES.values()]
    same, plain, *trained = curves.values()
    assert (same == plain).all() and all((one[-1] != same[-1]) for one in trained)
