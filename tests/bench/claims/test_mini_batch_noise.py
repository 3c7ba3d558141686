"""CL50, CL51: second moments against enumeration, the noise of a gradient, branches of a run, tiny runs, figures."""

import itertools

import numpy as np
import pytest
import torch

from bench.cell.config import compose_config
from bench.claims.branches import Phase, branches
from bench.claims.branches import run as run_branches
from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.convergence import noise_floor
from bench.claims.experiment import MEASURES
from bench.claims.figures import convergence as convergence_figure
from bench.claims.figures import sampling as sampling_figure
from bench.claims.gradient_noise import gradient_noise
from bench.claims.sampling.second_moments import (
    cut,
    cyclic,
    end_of_epoch,
    independent,
    memory,
    reshuffled,
    responses,
)
from bench.claims.trajectories import trajectories
from shb.datasets import load_dataset
from shb.problems.closed_forms.noise import finite_points
from tests.bench.claims.synthetic import run_tiny

POINTS = np.array([-1.2, 0.2, 1.0])  # of mean 0
VARIANCE = (POINTS**2).mean()
DIABETES = ["model=mlp", "model.hidden=[]", "dataset=diabetes", "batch_size=6"]


def end(noise, lr, momentum, curvature=1.3):
    """w after as many updates as there are noises, from rest at 0."""
    w = u = 0.0
    for s in noise:
        u = momentum * u - lr * (curvature * w + s)
        w += u
    return w


@pytest.mark.parametrize("momentum", [0.0, 0.9, -0.5])
@pytest.mark.parametrize("updates", [3, 5, 6])
def test_second_moments_under_reshuffling_are_those_of_all_orders(updates, momentum):
    orders = list(itertools.permutations(POINTS))
    ends = [end([*a, *b][:updates], 0.2, momentum) ** 2 for a, b in itertools.product(orders, orders)]
    assert VARIANCE * reshuffled(responses(1.3, 0.2, momentum, updates), 3, 3) == pytest.approx(
        np.mean(ends), rel=1e-12
    )


def test_second_moments_of_reshuffled_mini_batches():
    orders = list(itertools.permutations([-2.0, -0.5, 0.5, 2.0]))
    ends = [end(np.reshape([*a, *b], (4, 2)).mean(1), 0.2, 0.5) ** 2 for a, b in itertools.product(orders, orders)]
    variance = np.mean(np.square([-2.0, -0.5, 0.5, 2.0])) / 2
    assert variance * reshuffled(responses(1.3, 0.2, 0.5, 4), 2, 4) == pytest.approx(np.mean(ends), rel=1e-12)


def test_second_moments_of_independent_samples_and_the_cycle_of_one_order():
    ends = [end(noise, 0.2, 0.9) ** 2 for noise in itertools.product(POINTS, repeat=5)]
    assert VARIANCE * independent(responses(1.3, 0.2, 0.9, 5)) == pytest.approx(np.mean(ends), rel=1e-12)
    assert cyclic(responses(1.3, 0.2, 0.9, 8), POINTS) == pytest.approx(end([*POINTS, *POINTS, *POINTS][:8], 0.2, 0.9))
    step = 0.001  # a n sigma / sqrt 12
    found = cyclic(responses(1.0, step, 0.0, 20_000), finite_points(10)[np.arange(10)])
    assert abs(found) == pytest.approx(10 * step / np.sqrt(12), rel=0.02)


@pytest.mark.parametrize("x", [0.1, 0.5, 1.0, 4.0])
def test_the_limits_for_small_steps(x):
    n = 1024
    whole = n * int(np.ceil(8 / x))
    y = {momentum: responses(1.0, x / n * (1 - momentum), momentum, whole + n) for momentum in (0.0, 0.9)}

    def ratio(momentum, place=0):
        felt = y[momentum][: whole + place]
        return reshuffled(felt, n, n) / independent(felt)

    assert ratio(0.0) == pytest.approx(end_of_epoch(x), rel=4e-3)
    am = 10 * x / n
    assert (ratio(0.9) - ratio(0.0)) / am == pytest.approx(memory(x, 0.9), abs=0.02)


def test_the_leading_terms():
    x = 1e-2
    assert end_of_epoch(x) == pytest.approx(x**2 / 12, rel=1e-4)
    assert memory(1e-3, 0.9) == pytest.approx(2 * 0.81 / 1.9, rel=1e-2)
    assert memory(0.70, 0.9) > 0 > memory(0.75, 0.9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_second_moments_after_a_cut_are_those_of_all_noises(momentum):
    def both(noise):
        w = u = 0.0
        for k, s in enumerate(noise):
            u = momentum * u - (0.2 if k < 3 else 0.05) * (1.3 * w + s)
            w += u
        return w

    before, now = cut(np.array([1.3]), 0.2, momentum, 4.0, 3, 2)
    noises = list(itertools.product(POINTS, repeat=5))
    assert VARIANCE * now[0] == pytest.approx(np.mean([both(noise) ** 2 for noise in noises]), rel=1e-12)
    assert VARIANCE * before[0] == pytest.approx(np.mean([end(noise[:3], 0.2, momentum) ** 2 for noise in noises]))


@pytest.fixture(scope="module")
def linear():
    """Least squares on the diabetes data: problem, parameters of two seeds, inputs with a column of ones, targets."""
    from bench.cell.cell import build_cell

    overrides = ["problem=learning", "dtype=float64", "engine=eager", *DIABETES, "device=cpu", "seeds=2"]
    problem = build_cell(compose_config(overrides)).problem()
    data = load_dataset("diabetes").train
    x = torch.cat([data.x.double(), torch.ones(len(data.x), 1, dtype=torch.float64)], 1).numpy()
    return problem, problem.initial_parameters_of(np.arange(2)), x, data.y.double().numpy()


def test_spectrum_of_least_squares(linear):
    problem, params, x, y = linear
    found = gradient_noise(problem, params, np.arange(2), spectrum=True)
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    for row in range(2):
        w = torch.cat([p[row].flatten() for p in params.values()]).numpy()
        gradients = (x @ w - y[:, 0])[:, None] * x
        assert np.allclose(found["curvature"][row], values)
        assert np.allclose(found["noise"][row], (gradients @ axes).var(0) / 6, rtol=1e-6, atol=1e-12)


def test_trace_from_mini_batches_is_that_of_all_samples(linear):
    problem, params, _, _ = linear
    found = gradient_noise(problem, params, np.arange(2), batches=4000, spectrum=True)
    assert found["trace"] == pytest.approx(found["noise"].sum(1), rel=0.08)  # 4 standard errors
    again = gradient_noise(problem, params, np.arange(2), batches=4000)
    assert np.array_equal(found["trace"], again["trace"])


def test_a_branch_under_the_same_settings_is_the_run_itself():
    settings = {"problem": "learning", "dtype": "float32", "optimizer": "shb", "optimizer.lr": 0.01}
    one = branches(
        settings,
        *DIABETES,
        steps=70,
        before=[70, 0],
        then={
            "same": [Phase(30), Phase(20)],
            "other": [Phase(50, other_samples=True)],
            "cut": [Phase(50, {"optimizer.lr": 0.001})],
        },
        at=[0, 20],
        noise={},
        seeds=2,
        chunk=2,
    )
    found = run_branches(one.settings, np.arange(2))
    whole = trajectories(settings, *DIABETES, "steps=120", seeds=2, observe={"objective": {"at": [0, 70, 100, 120]}})
    path = MEASURES["trajectories"].function(whole.settings, np.arange(2))["objective_at"]
    assert np.array_equal(found["before"], path[:, :2])
    assert np.array_equal(found["same"], path[:, 2:])
    assert np.array_equal(found["cut"][:, 0], path[:, 1])
    assert (found["cut"][:, 1] != found["other"][:, 1]).all()
    assert (found["other"][:, 0] == path[:, 1]).all()
    assert not found["diverged"].any()


def test_the_epochs_observer_is_the_mean_over_epochs():
    settings = {"problem": "quadratic", "problem.noise": "finite", "problem.atoms": 5, "sampling": "reshuffle"}
    rule = {"optimizer": "sgd", "optimizer.lr": 0.1, "steps": 20}
    observe = {"epochs": {"updates": 5, "first": 2}, "objective": {"at": list(range(11, 21))}}
    one = trajectories(settings, rule, seeds=3, observe=observe)
    found = MEASURES["trajectories"].function(one.settings, np.arange(3))
    expected = found["objective_at"].reshape(3, 2, 5).mean(1)  # places 1, 2, 3, 4, 0
    assert np.allclose(found["gap"], np.roll(expected, 1, axis=1), rtol=1e-12)


SMALL = {
    "CL50": {
        "samples": 16,
        "seeds": 300,
        "epochs": 3,
        "network_seeds": 4,
        "chunk": 4,
        "networks": {"diabetes": DIABETES},
        "step": 0.05,
        "updates": 47,
        "epochs_before": 1,
        "horizon": 3,
        "skipped": 1,
        "around": 18,
        "seconds": 1e-5,
    },
    "CL51": {
        "batches": 20,
        "networks": {"net": DIABETES},
        "spectrum": ["net"],
        **{
            size: {"net": value}
            for size, value in (
                ("seeds", 4),
                ("full_seeds", 3),
                ("full_batch", 282),
                ("step", 0.05),
                ("steps", 100),
                ("before", 14),
                ("settling", 8),
                ("last", 16),
                ("chunk", 4),
                ("seconds", 1e-5),
                ("full_seconds", 1e-5),
            )
        },
    },
}
FIGURES = {"CL50": sampling_figure, "CL51": convergence_figure}


@pytest.mark.parametrize(("claim", "count"), [("CL50", 6), ("CL51", 3)])
def test_a_tiny_run_has_its_parts_and_a_panel(claim, count):
    results, parts = run_tiny(claim, SMALL[claim])
    assert [part.id for part in parts] == [f"{claim}{letter}" for letter in "abcdef"[:count]]
    assert all(part.estimate is not None and part.controls and part.out_of_scope is None for part in parts)
    drawn = FIGURES[claim].figure({claim: Protocol("quick", SMALL[claim])}, {claim: results})
    assert len(drawn.axes) == 1
    assert drawn.axes[0].get_legend_handles_labels()[1]
    (name,) = [key for key in results if key.endswith(" sgd")]
    results[name]["diverged"][0] = 1
    again = CLAIMS[claim].parts(Protocol("quick", SMALL[claim]), results)
    assert again[-1].out_of_scope == "1 runs diverged"


def test_a_network_too_large_for_its_hessian_has_no_part_on_it():
    sizes = {**SMALL["CL51"], "spectrum": []}
    results, parts = run_tiny("CL51", sizes)
    assert [part.id for part in parts] == ["CL51a", "CL51b"]
    assert "curvature" not in results["net sgd"]


def test_without_its_data_the_noise_floor_is_out_of_scope():
    (part,) = noise_floor.CLAIM.parts(Protocol("full", SMALL["CL51"]), {})
    assert part.id == "CL51" and part.out_of_scope == "data set absent, for net"
