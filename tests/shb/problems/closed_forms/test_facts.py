"""The facts of every closed form against its sample losses, autograd, brute force and Goldstein sampling."""

import numpy as np
import pytest
import torch

from shb.nonsmooth import PiecewiseField, goldstein_batch
from shb.problems import E1, E2, E3, E5, E6
from tests.shb.problems.closed_forms.cases import CASES, critical, law, oracles, parametrize, points, vector

GRID = torch.linspace(-6, 6, 481, dtype=torch.float64)[:, None]  # holds 0 and every kink
HAS_STATIONARITY = {
    *("e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9", "e11", "e13"),
    *("quadratic", "absolute", "valley", "quartic"),
}


def gradient(problem):
    """grad F, batched: [m, size] -> [m, size]."""
    return torch.func.vmap(torch.func.grad(lambda w: problem.objective(w)))


@parametrize()
def test_objective_is_the_mean_of_the_sample_losses(case):
    problem = case.problem
    for w in [*points(problem.size, 30), torch.zeros(problem.size).double(), vector(*[1.0] * problem.size)]:
        samples, weights = law(problem, w)
        losses = torch.func.vmap(lambda *sample, w=w: problem.loss({"w": w}, *sample))(*samples)
        torch.testing.assert_close(problem.objective(w), weights @ losses, rtol=1e-11, atol=1e-12)


@parametrize(lambda case: case.problem.name != "e11")
def test_mean_oracle_off_the_kinks_is_the_gradient_of_the_objective(case):
    where = points(case.problem.size, 30)
    expected = gradient(case.problem)(where)
    for w, g in zip(where, expected):
        v, weights = oracles(case.problem, w)
        torch.testing.assert_close(weights @ v, g, rtol=1e-10, atol=1e-11)


@parametrize()
def test_noise_covariance_is_that_of_the_oracle_at_a_clarke_point(case):
    v, weights = oracles(case.problem, critical(case))
    mean = weights @ v
    covariance = (v - mean).T @ ((v - mean) * weights[:, None])
    torch.testing.assert_close(case.problem.noise_covariance(), covariance, rtol=1e-9, atol=1e-12)


def test_noise_covariance_is_not_trivial():
    traces = {case.label: case.problem.noise_covariance().trace().item() for case in CASES}
    assert traces["e1"] == 1
    assert traces["e2-uniform"] == pytest.approx(1 / 12, rel=1e-15)
    assert traces["quadratic-three"] == 12
    assert traces["e6-data"] > 1e-3
    assert 0.01 < traces["e8"] < 1


@parametrize()
def test_clarke_point_is_critical_and_the_distance_to_it_is_zero(case):
    w = critical(case)
    assert case.problem.clarke_distance(w).item() <= 1e-14
    shifted = w + 1e-3 * torch.randn(20, len(w), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (case.problem.clarke_distance(shifted) <= (shifted - w).norm(dim=1) + 1e-14).all()
    if case.problem.name in HAS_STATIONARITY | {"max_affine"}:
        assert case.problem.stationarity(w, 1e-12).item() <= 1e-11


@parametrize(lambda case: case.problem.size == 1)
def test_minimum_and_critical_points_against_brute_force(case):
    """On a fine grid F' is estimated by difference quotients; their sign changes and zeros are the critical points."""
    problem, step = case.problem, 1e-3
    w = torch.arange(-5500, 5501, dtype=torch.float64)[:, None] * step  # further out F of E8 is constant to rounding
    values = problem.objective(w).double()
    assert values.min().item() == pytest.approx(problem.minimum, abs=2 * step)
    assert values.min().item() >= problem.minimum - 1e-12
    slopes = values.diff() / step
    flat = slopes.abs() < 1e-10
    found = torch.nonzero((slopes[:-1].sign() != slopes[1:].sign()) | flat[1:])[:, 0] + 1
    if problem.name not in ("quartic",):  # slopes of a quartic vanish to rounding near 0
        assert (problem.clarke_distance(w[found]) <= 2 * step).all()
    near = problem.clarke_distance(w[1:-1]) == 0
    assert all((found - i).abs().min() <= 3 for i in torch.nonzero(near)[:, 0] + 1)
    assert len(found)


@parametrize(lambda case: case.problem.size > 1)
def test_no_point_is_below_the_minimum_which_is_attained(case):
    problem = case.problem
    assert (problem.objective(points(problem.size, 5000)) >= problem.minimum - 1e-12).all()
    assert problem.objective(critical(case)).item() == pytest.approx(problem.minimum, abs=1e-12)


@parametrize(lambda case: case.problem.name in HAS_STATIONARITY and case.problem.name != "e4")
@pytest.mark.parametrize("radius", [0.01, 0.3])
def test_stationarity_vanishes_exactly_where_a_critical_point_is_within_the_radius(case, radius):
    """0 is in the subdifferential of the ball iff a Clarke point is in it: in one variable, and for quadratics."""
    w = torch.cat([GRID, critical(case) + radius * torch.tensor([[0.9], [1.1]])]) if case.problem.size == 1 else None
    if w is None:
        directions = torch.nn.functional.normalize(points(case.problem.size, 40), dim=1)
        w = torch.cat([critical(case) + length * radius * directions for length in (0.5, 0.9, 1.1, 3)])
    distance = case.problem.clarke_distance(w).double()
    decided = (distance - radius).abs() > 1e-9
    zero = case.problem.stationarity(w, radius) < 1e-13
    near = distance < radius
    if case.problem.name == "e8":  # F' underflows in the flat tail of the normal law
        decided &= w[:, 0] < 5.5
    assert near[decided].any()
    assert torch.equal(zero[decided], near[decided])


@parametrize(lambda case: case.problem.name in HAS_STATIONARITY | {"max_affine"})
@pytest.mark.parametrize("radius", [0.05, 0.5, 2.0])
def test_stationarity_is_a_tight_lower_bound_of_goldstein_sampling(case, radius):
    """exact(r) <= sampled(r) <= exact(s r): 400 points leave no part of that measure beyond s r empty.

    In one variable the outer 5 % of one side is missed with probability 0.975^400 = 4e-5; in the plane a cap beyond
    0.75 r (7 % of the disc) with 0.93^400 < 1e-12, in three variables beyond 0.6 r (10 %) with less.
    """
    problem = case.problem
    w = torch.cat([points(problem.size, 40, seed=1), critical(case) + 0.5 * points(problem.size, 20, seed=2)])
    samples = 2000 if problem.name == "max_affine" else 400  # narrow pieces
    sampled = goldstein_batch(gradient(problem), w, radius, samples, list(range(len(w))))
    exact = problem.stationarity(w, radius).numpy()
    inner = problem.stationarity(w, radius * {1: 0.95, 2: 0.75, 3: 0.6}[problem.size]).numpy()
    assert exact.shape == (60,)
    assert np.all(exact <= sampled + 1e-9)
    # F' of this one jumps inside the ball: points miss the one-sided limits at a kink by 5 % of r, times F'' <= 1
    missed = 0.05 * radius if case.label == "e8-discrete" else 1e-9
    assert np.all(sampled <= inner + missed)
    assert np.all(exact <= inner + 1e-12)


@parametrize(lambda case: case.problem.name not in ("e10",))
def test_field_is_the_gradient_off_the_kinks(case):
    problem, where = case.problem, points(case.problem.size, 40)
    field, expected = problem.field(), gradient(problem)(where).numpy()
    if isinstance(field, PiecewiseField):
        low, high = field.interval(where[:, 0].numpy())
        np.testing.assert_allclose(low, expected[:, 0], rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(low, high)
    else:
        pieces = np.stack([field.pieces(w.numpy(), 0.0) for w in where])
        np.testing.assert_allclose(pieces[:, 0], expected, rtol=1e-10, atol=1e-12)
        assert pieces.shape[1] == 1


@parametrize(lambda case: case.problem.size == 1)
def test_field_at_critical_points_holds_zero_and_at_artificial_ones_only_if_conservative(case):
    problem = case.problem
    low, high = problem.field().interval(critical(case).numpy())
    assert low <= 1e-13
    assert high >= -1e-13
    if problem.artificial_distance(torch.zeros(1).double()) is None:
        return
    assert problem.artificial_distance(torch.zeros(1).double()) == 0
    low, high = problem.field().interval(np.zeros(1))
    assert low == high != 0
    wide_low, wide_high = problem.field(conservative=True).interval(np.zeros(1))
    assert wide_low <= 0 <= wide_high
    assert wide_low <= low <= wide_high


def test_conservative_intervals_are_what_the_rules_for_relu_reach():
    for make in (E1, E2, E5, E6):
        means = []
        for t in (0.0, 0.3, 1.0):
            v, weights = oracles(make(relu_derivative=t), torch.zeros(1).double())
            means.append((weights @ v).item())
        low, high = make().field(conservative=True).interval(np.zeros(1))
        assert sorted([means[0], means[2]]) == pytest.approx([low.item(), high.item()], abs=1e-15)
        assert low.item() < means[1] < high.item()


def test_conservative_field_of_e3_on_its_line():
    field = E3(b=0.7).field(conservative=True)
    assert field.pieces(np.array([0.0, 1.7]), 0.0).tolist() == [[1.0, 1.0], [0.0, 1.0], [2.0, 1.0]]
    assert len(field.pieces(np.array([0.1, 2.0]), 0.05)) == 1
    assert len(field.pieces(np.array([0.1, 2.0]), 0.2)) == 3
