"""CL58: half distances, thresholds by hand, verdicts on made-up columns, a tiny run."""

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.observers import OBSERVERS
from bench.claims.precision import rounding_stall, stalls
from bench.claims.precision.rounding_stall import RoundingThresholds, half_gap, half_ulp
from shb.training import Member, StackStep
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N, GRIDS = 200, 40
SIZES = {"seeds": N, "grids": GRIDS, "chunk": 100, "steps": 50, "batch": 64, "seconds": 1e-4}
SIZES |= {"networks": {"net": ["model=mlp", "model.hidden=[16]", "dataset=digits"]}}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_an_update_is_lost_below_half_the_distance_to_the_neighbour(dtype):
    """Both sides of numbers and of powers of two, which have their lower neighbour half as far."""
    w = torch.cat([torch.randn(500, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, -0.25])]).to(dtype)
    for sign in (1.0, -1.0):
        gap = half_gap(w, torch.full((len(w),), sign, dtype=torch.float64))
        for factor, lost in ((0.99, True), (1.01, False)):
            moved = (w.double() + sign * factor * gap).to(dtype)
            assert torch.equal(moved == w, torch.full_like(w, lost, dtype=torch.bool))
    one = torch.tensor([1.0], dtype=dtype)
    assert half_gap(one, -one).item() == half_gap(one, one).item() / 2 == half_ulp(-one).item() / 2


def thresholds(momentum, gradients, w=(1.5, 1.5, 1.5)):
    params = {"w": torch.tensor([w], dtype=torch.bfloat16)}
    watch = RoundingThresholds(None, None, momentum)
    watch.start(params)
    for k, g in enumerate(gradients):
        watch(StackStep(k, params, {"w": torch.tensor([g], dtype=torch.bfloat16)}, params, {}))
    return {name: values.item() for name, values in watch.columns().items()}, watch.least[0].tolist()


def test_thresholds_are_of_the_largest_update_and_of_the_sums_of_the_heavy_ball():
    half = 2.0**-8  # of the spacing in [1, 2)
    gradients = [(1.0, 1.0, 0.0), (-2.0, 1.0, 0.0), (1.0, 1.0, 0.0)]
    found, least = thresholds(0.0, gradients)
    assert least == [half / 2, half, torch.inf] and found["median"] == half
    found, least = thresholds(0.5, gradients)
    assert least == [half / 1.5, half / 1.75, torch.inf]
    assert found["median"] == half / 2 and found["hundredth"] == pytest.approx(half / 1.75, rel=0.01)


def runs(moved, gradient=0.5, n=N, step=1e-4, factors=1, kinks=0):
    grid = np.broadcast_to(np.asarray(moved, float), (n, factors if np.isscalar(moved) else len(moved)))
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=n)
    columns = {"moved": grid, "full_gradient": np.full(grid.shape, gradient), "kinks": np.zeros(grid.shape)}
    columns["kinks"][:kinks] = 1
    return columns | {"median": 100 * step * noise, "hundredth": step * noise}


def crossing(at, n=GRIDS, step=1e-4):
    """Shares on the grid of runs whose threshold is near `at` in units of the law."""
    return runs([0.011 if factor > at else 0.009 for factor in stalls.GRID], n=n, step=step)


def world(**changes):
    still, moving = runs(0.009), runs(0.9)
    results = {"median": moving, "median float32": moving, "sgd": still, "sgd float32": moving, "sgd above": moving}
    results |= {"shb": still, "shb float32": moving, "shb at sgd": moving, "sgd grid": crossing(1.0)}
    results |= {"shb grid": crossing(1.0, step=2.5e-5), "shb float32 grid": crossing(0.0), "little grid": crossing(1.0)}
    results |= {name.replace("_", " "): one for name, one in changes.items()}
    return {f"net {name}": one for name, one in results.items()}


RIGHT = dict.fromkeys("bce", "SUPPORTED") | dict.fromkeys("ad", "REFUTED")


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({}, {}),
        ({"median": runs(0.0)}, {"a": "SUPPORTED"}),
        ({"median_float32": runs(0.0)}, {"a": "VOID"}),
        ({"sgd": runs(0.02)}, {"b": "REFUTED"}),
        ({"sgd": runs(0.0, gradient=0.05)}, {"b": "REFUTED"}),
        ({"sgd": runs(0.0, kinks=40)}, {"b": "REFUTED"}),  # there the gradient is no bound
        ({"sgd_float32": runs(0.0, np.nan)}, {"b": "VOID"}),
        ({"sgd_above": runs(0.0)}, {"b": "VOID"}),
        ({"shb_at_sgd": runs(0.005)}, {"c": "VOID"}),
        ({"shb_grid": crossing(1.0, step=1e-5)}, {"d": "SUPPORTED"}),
        ({"shb_grid": crossing(0.8, step=2.5e-5)}, {"e": "REFUTED"}),
        ({"shb_float32_grid": crossing(1.0)}, {"e": "VOID"}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_another_world_has_another_verdict(changes, others):
    found = verdicts_of("CL58", SIZES, world(**changes))
    assert {name.removeprefix("CL58"): verdict for name, (verdict, _) in found.items()} == RIGHT | others


def test_the_measured_threshold_is_the_last_step_before_more_move():
    assert set(stalls.threshold(crossing(0.95))) == {0.95} and set(stalls.threshold(crossing(0.5))) == {0.0}


def test_without_its_data_the_claim_is_out_of_scope():
    (part,) = CLAIMS["CL58"].parts(Protocol("full", SIZES), {})
    assert part.id == "CL58" and part.out_of_scope == "data set absent, for net"


@pytest.mark.slow
def test_a_tiny_run():
    small = {"seeds": 3, "grids": 3, "chunk": 3, "steps": 50}
    results, parts = run_tiny("CL58", SIZES | small)
    values = {part.id[-1]: part.estimate.value for part in parts}
    assert values["a"] == 0 and values["b"] == values["c"] == 1 and 0.7 < values["e"] < 1.3
    assert all(c.estimate.value == 0 for part in parts if part.id[-1] in "bc" for c in part.controls)
    assert (results["net sgd"]["full_gradient"] > 0.1).all() and not results["net sgd"]["kinks"].any()
    assert rounding_stall.SHARE == 0.01


def test_thresholds_are_of_the_start_of_the_run_and_of_other_samples():
    """The distances are those of w_0 of the run, the gradients are not those of its first steps."""
    one = CLAIMS["CL58"].experiments(Protocol("quick", SIZES | {"steps": 3}))["net sgd"]
    overrides, seeds = tuple(one.settings["overrides"]), (0, 1)
    seen = {}

    class Watch(RoundingThresholds):
        def __call__(self, step):
            seen.setdefault(self.momentum, []).append((step.params, step.grads))
            super().__call__(step)

    cell = rounding_stall.cell_of(overrides, "cpu")
    own = rounding_stall._stack(cell, [Member(seed, {"lr": 0.0}) for seed in seeds])
    start = own.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OBSERVERS, "rounding_thresholds", Watch)
        rounding_stall.thresholds.__wrapped__(overrides, "cpu", 0.25, seeds)
    (params, grads), *_ = seen[0.25]
    assert all(torch.equal(params[name], value) for name, value in start["params"].items())
    own.advance(start, 0, 1, lambda step: seen.setdefault("own", step.grads))
    assert any(not torch.equal(grads[name], value) for name, value in seen["own"].items())
