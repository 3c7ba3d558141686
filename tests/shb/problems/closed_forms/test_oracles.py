"""Oracles that are special: implicit differentiation (E8), structural kinks (E10), wrong ones (E11, E12)."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from shb.problems import E8, E10, E11, E12
from shb.streams import words
from tests.shb.problems.closed_forms.cases import oracle, points, vector
from tests.shb.problems.closed_forms.runs import run


def test_lasso_is_solved_and_its_implicit_derivative_is_that_of_the_solution():
    problem = E8(ratio=0.3)
    for b in (-2.0, -0.4, 0.7, 3.0):
        for weight in (0.1, 0.5, 1.0, 2.5):
            x = minimize_scalar(
                lambda x, b=b, weight=weight: (x - b) ** 2 / 2 + weight * abs(x), options={"xtol": 1e-12}
            ).x
            loss = problem.loss({"w": vector(weight)}, vector(b)[0]).item()
            assert loss == pytest.approx((x - 0.3 * b) ** 2 / 2, abs=1e-7)
            implicit = -np.sign(b) if abs(b) > weight else 0.0
            expected = (np.sign(b) * max(abs(b) - weight, 0) - 0.3 * b) * implicit
            assert oracle(problem, vector(weight), vector(b)[0]).item() == pytest.approx(expected, abs=1e-15)


def test_implicit_derivative_is_zero_at_the_kink_and_one_sided_beside_it():
    problem = E8()
    for b in (-2.0, 2.0):
        at, below = vector(2.0), vector(np.nextafter(2.0, 0.0))
        assert oracle(problem, at, vector(b)[0]).item() == 0
        assert oracle(problem, below, vector(b)[0]).item() == pytest.approx(0.5 * 2, rel=1e-12)


def test_stack_gets_the_implicit_derivative():
    (trajectory,) = run(E8(law="discrete", values=(2.0,), init="point", value=2.0), "sgd", 1, 5, 0.1)
    assert trajectory.parameters["w"].item() == 2.0  # the kink: v = 0
    (trajectory,) = run(E8(law="discrete", values=(2.0,), init="point", value=1.5), "sgd", 1, 1, 0.1)
    assert trajectory.parameters["w"].item() == pytest.approx(1.5 - 0.1 * 0.5, rel=1e-15)


def test_facts_of_the_discrete_lasso_in_numbers():
    """|b| = 1, 2, 4.5, a = 1/2: F' = l - 1.25, (2 l - 3.25) / 3, (l - 2.25) / 3, 0 between the kinks."""
    problem = E8(law="discrete")
    assert problem.clarke_point.item() == 1.625
    assert problem.minimum == (0.25 + 0.625**2 + 0.625**2) / 6
    critical = [1.625, 2.0, 2.25, 4.5, 7.0]
    assert problem.clarke_distance(torch.tensor(critical).double()[:, None]).tolist() == [0] * 5
    other = torch.tensor([[-1.0], [1.0], [1.9], [3.0]], dtype=torch.float64)
    assert problem.clarke_distance(other).tolist() == pytest.approx([2.625, 0.625, 0.1, 0.75])
    low, high = problem.field().interval(np.array([1.0, 2.0, 4.5]))
    assert low.tolist() == pytest.approx([-1.25 / 3, -0.25 / 3, 0])
    assert high.tolist() == pytest.approx([-0.25, 0.25, 0.75])


def test_negative_weights_are_pushed_back():
    for problem in (E8(), E8(law="discrete")):
        w = vector(-3.0, -0.5, -1e-3)[:, None]
        slopes = torch.func.vmap(torch.func.grad(lambda w, problem=problem: problem.objective(w)))(w)
        assert (slopes < -0.1).all()


@pytest.mark.parametrize("law", ["normal", "discrete"])
def test_heavy_ball_over_the_lasso_weight_reaches_clarke_points(law):
    problem = E8(law=law, init="uniform", low=0.1, high=1.5)
    for trajectory in run(problem, "shb", 50, 3000, 0.3, "power", momentum=0.5):
        assert trajectory.metrics["clarke_distance"] < 0.2


# -- E10 ------------------------------------------------------------------------------------------------------


def test_bias_zero_puts_every_random_start_on_the_kink_and_random_bias_none():
    seeds = np.arange(500)
    for options in ({}, {"init": "uniform"}):
        w = E10(**options).initial_parameters_of(seeds)["w"]
        assert E10().structural_kink(w).all()
        assert (w[:, 0] != 0).all()
        random = E10(bias="random", **options).initial_parameters_of(seeds)["w"]
        assert not E10().structural_kink(random).any()
        assert torch.equal(random[:, 0], w[:, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_oracles_of_two_relu_rules_differ_on_the_kink_in_every_precision(dtype):
    """v_b of the empty patch is t (0 - y_0) at b = 0, and independent of t elsewhere."""
    empty = torch.zeros((), dtype=dtype)
    for w in E10(dtype=dtype).initial_parameters_of(np.arange(20))["w"]:
        assert oracle(E10(dtype=dtype), w, empty).tolist() == [0, 0]
        assert oracle(E10(dtype=dtype, relu_derivative=0.5), w, empty).tolist() == [0, -0.5]
    for w in E10(dtype=dtype, bias="random").initial_parameters_of(np.arange(20))["w"]:
        assert torch.equal(oracle(E10(dtype=dtype), w, empty), oracle(E10(dtype=dtype, relu_derivative=1), w, empty))


def test_share_of_dead_starts():
    """1/2 for zero bias, 3/8 for random bias, and none for zero bias with t > 0 (99.99 % binomial intervals)."""
    shares = {}
    for label, options in {"zero": {}, "random": {"bias": "random"}, "t": {"relu_derivative": 1.0}}.items():
        problem = E10(**options)
        start = problem.initial_parameters_of(np.arange(1000))["w"]
        ends = torch.stack([t.parameters["w"] for t in run(problem, "shb", 1000, 60, 0.05, momentum=0.5)])
        frozen = (start == ends).all(1)
        shares[label] = int(frozen.sum())
        assert (problem.clarke_distance(ends[frozen]) == 0).all()  # dead, and Clarke critical
    for label, probability in (("zero", 1 / 2), ("random", 3 / 8)):
        low, high = binom.interval(0.9999, 1000, probability)
        assert low <= shares[label] <= high
    assert shares["t"] == 0


def test_clarke_distance_of_the_neuron_against_a_sample_of_the_critical_set():
    problem = E10(zero_target=1.0, target=2.0)
    t = torch.linspace(0, 12, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(t, t)
    dead = torch.stack([grid[:, 1] - grid[:, 0], -grid[:, 1]], 1)  # b = -t', u = -t
    rays = [torch.stack([-1 - t, torch.ones_like(t)], 1), torch.stack([2 + t, -t], 1)]
    critical = torch.cat([dead, *rays, vector(1.0, 1.0)[None]])
    where = points(2, 60)
    expected = torch.cdist(where, critical).amin(1)
    torch.testing.assert_close(problem.clarke_distance(where), expected, rtol=0, atol=0.01)
    assert (problem.clarke_distance(rays[0]) < 1e-15).all()
    assert (problem.clarke_distance(rays[1]) < 1e-14).all()


# -- E11 and E12 ----------------------------------------------------------------------------------------------


def test_detached_oracle_is_not_the_gradient_and_runs_away():
    problem = E11(init="point", value=1.0)
    w = vector(0.7)
    assert oracle(problem, w, vector(0.0)[0]).item() == pytest.approx(-0.8 * 0.7)
    assert torch.func.grad(problem.objective)(w).item() == pytest.approx(0.64 * 0.7)
    for optimizer, options in (("sgd", {}), ("shb", {"momentum": 0.5})):
        (trajectory,) = run(problem, optimizer, 1, 100, 0.1, **options)
        assert trajectory.metrics["clarke_distance"] > 100
    (harmless,) = run(E11(g=0.4, init="point", value=1.0), "sgd", 1, 400, 0.1)
    assert harmless.metrics["clarke_distance"] < 0.1


def test_rotation_oracle_has_circulation_and_circles():
    problem = E11(kind="rotation", init="point", value=(1.0, 0.0))
    angles = torch.arange(1000, dtype=torch.float64) * 2 * np.pi / 1000
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    tangents = torch.stack([-angles.sin(), angles.cos()], 1)
    v = torch.stack([oracle(problem, w, vector(0.0)[0]) for w in circle])
    assert (v * tangents).sum().item() * 2 * np.pi / 1000 == pytest.approx(2 * np.pi)
    gradients = torch.func.vmap(torch.func.grad(lambda w: problem.objective(w)))(circle)
    assert (gradients * tangents).sum().item() == pytest.approx(0, abs=1e-10)
    options = {"schedule.q": 0.75, "schedule.k0": 0.0}
    (trajectory,) = run(problem, "sgd", 1, 500, 0.5, "power", **options)
    steps = 0.5 / np.arange(1, 501) ** 0.75
    assert trajectory.metrics["clarke_distance"] == pytest.approx(np.sqrt(np.prod(1 + steps**2)), rel=1e-9)
    (shb,) = run(problem, "shb", 1, 500, 0.5, "power", momentum=0.5, **options)
    assert shb.metrics["clarke_distance"] > 0.5


@pytest.mark.parametrize("alpha", [0.01, 0.3, 2.0])
def test_log_factor_of_the_heavy_tails(alpha):
    """Mean and variance of log|1 - alpha x^2|, x = tan(u): integrated around the singularity."""
    split = np.arctan(1 / np.sqrt(alpha))

    def moment(power):
        integrand = lambda u: np.log(abs(1 - alpha * np.tan(u) ** 2)) ** power  # noqa: E731
        return 2 / np.pi * sum(quad(integrand, *ends, limit=500)[0] for ends in ((0, split), (split, np.pi / 2)))

    mean, variance = E12.log_growth(alpha)
    assert mean == pytest.approx(moment(1), abs=1e-6)
    assert variance == pytest.approx(moment(2) - moment(1) ** 2, abs=1e-5)


def test_sgd_on_heavy_tails_leaves_the_solution():
    """The mean of log|w_K - w*| grows by the sum of log(1 + alpha_k); w* = 0 keeps small distances exact."""
    problem = E12(target=0.0, init="point", value=0.5)
    options = {"schedule.q": 0.6, "schedule.k0": 10.0}
    trajectories = run(problem, "sgd", 1000, 300, 0.5, "power", **options)
    assert all(t.status == "done" for t in trajectories)
    distances = np.array([t.metrics["clarke_distance"] for t in trajectories])
    assert (distances > 0).all()
    growth = np.log(distances / 0.5)
    mean, variance = (moment.sum() for moment in E12.log_growth(0.5 / (np.arange(300) + 11.0) ** 0.6))
    assert growth.mean() == pytest.approx(mean, abs=5 * growth.std() / np.sqrt(1000))
    assert growth.mean() > 5 * growth.std() / np.sqrt(1000)
    assert growth.std() == pytest.approx(np.sqrt(variance), rel=0.1)  # 4 standard errors
    nearer = norm.cdf(-mean / np.sqrt(variance))
    assert np.mean(growth < 0) == pytest.approx(nearer, abs=4 * np.sqrt(nearer * (1 - nearer) / 1000))


def test_objective_of_heavy_tails_is_the_median_loss():
    problem = E12(target=0.5)
    x = np.tan(np.pi * ((words(np.array([1]), "test", 0, 50_001)[:, 0] >> np.uint64(11)) * 2.0**-53 - 0.5))
    losses = np.array([problem.loss({"w": vector(2.0)}, vector(value)[0]).item() for value in x[:5001]])
    quantiles = np.quantile(losses, [0.45, 0.55])
    assert quantiles[0] < problem.objective(vector(2.0)).item() < quantiles[1]
    assert problem.objective(vector(2.0)).item() == 1.125
