"""Objectives with additive noise against the laws of theory.md 2.6, and the plane of max_affine."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import linprog, minimize

from shb.problems import Absolute, MaxAffinePlane, Quadratic, Quartic, Valley
from tests.shb.problems.closed_forms.cases import LEVEL, points
from tests.shb.problems.closed_forms.runs import run


@pytest.mark.parametrize(("lr", "momentum"), [(0.1, 0.0), (0.5, 0.9), (0.3, -0.5)])
def test_stationary_variance_solves_the_lyapunov_equation(lr, momentum):
    problem = Quadratic(curvature=(0.5, 3.0), sigma=1.5)
    for h, variance in zip((0.5, 3.0), problem.stationary_variance(lr, momentum)):
        step = np.array([[1 + momentum - lr * h, -momentum], [1.0, 0.0]])
        covariance = solve_discrete_lyapunov(step, np.diag([(lr * 1.5) ** 2, 0.0]))
        assert variance.item() == pytest.approx(covariance[0, 0], rel=1e-10)


def test_stability_boundary_is_where_an_eigenvalue_reaches_one():
    problem = Quadratic(curvature=(2.0,))
    for momentum in (-0.5, 0.0, 0.9):
        lr = problem.largest_step(momentum).item()
        radius = [
            np.abs(np.linalg.eigvals([[1 + momentum - factor * lr * 2, -momentum], [1.0, 0.0]])).max()
            for factor in (0.99, 1.01)
        ]
        assert radius[0] < 1 < radius[1]
        assert problem.stationary_variance(1.01 * lr, momentum).item() == np.inf
        assert problem.stationary_variance(0.99 * lr, momentum).item() < np.inf


def test_quadratic_in_a_stack_has_the_stationary_variance():
    problem, lr, momentum = Quadratic(init="zeros", noise="cantor"), 0.2, 0.5
    ends = np.array([t.parameters["w"].item() for t in run(problem, "shb", 2000, 150, lr, momentum=momentum)])
    error = 5 * np.sqrt(2 / 2000)  # of the ratio of variances, near Gaussian
    assert ends.var() / problem.stationary_variance(lr, momentum).item() == pytest.approx(1, abs=error)


def test_absolute_under_sgd_has_the_mean_distance_of_its_law():
    """E|w| = alpha (1 + sigma^2) / 2 in the stationary regime (L4)."""
    trajectories = run(Absolute(init="zeros", sigma=1.0), "sgd", 3000, 150, 0.1)
    distances = np.array([abs(t.parameters["w"].item()) for t in trajectories])
    assert distances.mean() == pytest.approx(0.1, abs=5 * distances.std() / np.sqrt(3000))


def test_valley_converges_across_while_it_wanders_along():
    """w_1 contracts without noise; Var w_2 = sigma^2 sum alpha_k^2 for SGD."""
    trajectories = run(Valley(init="zeros", sigma=0.5), "sgd", 2000, 100, 0.2)
    w = np.array([t.parameters["w"].tolist() for t in trajectories])
    assert np.ptp(w[:, 0]) == 0
    assert w[0, 0] == pytest.approx(1, abs=1e-9)
    assert w[:, 1].var() / (0.25 * 100 * 0.04) == pytest.approx(1, abs=5 * np.sqrt(2 / 2000))


def test_quartic_runs_away_from_a_large_start_and_not_from_a_small_one():
    (away,) = run(Quartic(init="point", value=10.0), "sgd", 1, 50, 1.0)
    assert away.status == "diverged"
    (stays,) = run(Quartic(init="point", value=1.0, sigma=0.1), "sgd", 1, 50, 0.1)
    assert stays.status == "done"


def test_minimiser_of_max_affine_against_linear_programming():
    problem = MaxAffinePlane()
    a, b = problem.slopes.numpy(), problem.offsets.numpy()
    bounds = [(None, None)] * 3
    solution = linprog([0, 0, 1], A_ub=np.column_stack([a, -np.ones(5)]), b_ub=-b, bounds=bounds)
    assert problem.minimum == pytest.approx(solution.fun, abs=1e-9)
    assert problem.minimisers.shape == (1, 2)
    assert problem.minimisers[0].tolist() == pytest.approx(solution.x[:2].tolist(), abs=1e-7)


def test_distance_to_the_polygon_of_minimisers_against_a_solver():
    problem = MaxAffinePlane(slopes=LEVEL, offsets=(0, 0, 0, 0, 0.5))
    assert problem.minimum == 0.5
    assert len(problem.minimisers) == 4
    a, b = problem.slopes.numpy(), problem.offsets.numpy()
    constraint = {"type": "ineq", "fun": lambda w: 0.5 - b - a @ w, "jac": lambda w: -a}
    where = torch.cat([points(2, 30), points(2, 10, seed=1) / 10])
    distances = problem.clarke_distance(where)
    for w, distance in zip(where.numpy(), distances):
        nearest = minimize(
            lambda x, w=w: ((x - w) ** 2).sum(), np.zeros(2), constraints=constraint, options={"ftol": 1e-14}
        )
        assert distance.item() == pytest.approx(np.linalg.norm(nearest.x - w), abs=1e-6)
    assert (distances == 0).any()
    assert (distances > 0.1).any()


def test_a_segment_of_minimisers():
    """F = max(|w_1|, |w_2| - 1): the minimisers are {0} x [-1, 1]."""
    problem = MaxAffinePlane(slopes=((1, 0), (-1, 0), (0, 1), (0, -1)), offsets=(0, 0, -1, -1))
    assert problem.minimum == 0
    w = torch.tensor([[0.0, 0.5], [0.3, 0.2], [0.0, 2.0], [0.3, 1.4]], dtype=torch.float64)
    torch.testing.assert_close(problem.clarke_distance(w), torch.tensor([0.0, 0.3, 1.0, 0.5]).double())
    assert problem.stationarity(w[:1], 1e-9).item() == 0
    assert problem.stationarity(w[1:2], 0.299).item() == 1
    assert problem.stationarity(w[1:2], 0.301).item() == 0


def test_a_piece_that_is_nowhere_maximal_alone_changes_nothing():
    """The slope (0, 0) only touches F = max(|w_1|, |w_2|) at 0, where it is in the hull, or is nowhere active."""
    cross = ((1, 0), (-1, 0), (0, 1), (0, -1))
    plain = MaxAffinePlane(slopes=cross, offsets=(0,) * 4)
    for offset in (0.0, -1.0):
        problem = MaxAffinePlane(slopes=(*cross, (0, 0)), offsets=(0, 0, 0, 0, offset))
        w = points(2, 30)
        assert torch.equal(problem.stationarity(w, 0.5), plain.stationarity(w, 0.5))
        assert problem.minimisers.tolist() == [[0, 0]]


def test_oracle_of_max_affine_at_a_tie_is_in_the_hull():
    problem = MaxAffinePlane(slopes=((1, 0), (-1, 0), (0, 1), (0, -1)), offsets=(0,) * 4)
    v = torch.func.grad(lambda w: problem.loss({"w": w}, torch.zeros(2).double()))(torch.ones(2).double())
    assert v.tolist() == [0.5, 0.5]
