"""Artificial points of E1, E2, E3, E5, E6 and E9: who is trapped there, who only touches them (theory.md section 4)."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from shb.problems import E1, E2, E3, E5, E6, E9
from tests.shb.problems.closed_forms.cases import oracle, regression_pairs, vector
from tests.shb.problems.closed_forms.runs import run, touched, trapped

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RULES = [("sgd", {}), ("shb", {"momentum": 0.9}), ("adam", ADAM)]
STARTS = 400


def test_e6_identity_and_its_control():
    x, y = regression_pairs()
    problem = E6(x, y)
    sample_x, sample_y = problem.batch(torch.arange(40))
    half = []  # relative error of the formula without the mirrored half of the data, the control
    for w in torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        losses = torch.stack([problem.loss({"w": w}, a, b) for a, b in zip(sample_x, sample_y)])
        assert problem.objective(w).item() == pytest.approx(losses.mean().item(), rel=1e-12)
        half.append(abs(losses[:20].mean() / problem.objective(w) - 1).item())
    assert np.median(half) > 0.05
    w = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    formula = ((x @ w - y) ** 2).mean() / 4 + (y**2).mean() / 4
    assert problem.objective(w).item() == pytest.approx(formula.item(), rel=1e-12)


def test_objective_in_numbers():
    for problem in (E1(), E2(), E2(noise="uniform"), E9()):
        for w in (-3.0, -1.0, 0.0, 0.4):
            assert problem.objective(vector(w)).item() == pytest.approx(w + w * w / 2, abs=1e-15)
    assert E3(b=0.7).objective(vector(2.0, 1.7)).item() == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("problem", "artificial"),
    [
        (E1(), [0.0]),
        (E2(), [0.0]),
        (E3(b=0.7), [0.0, 0.7]),
        (E5(*regression_pairs()), [0.0, 0.0, 0.0]),
        (E6(*regression_pairs()), [0.0, 0.0, 0.0]),
        (E9(), [0.0]),
    ],
)
def test_artificial_point_is_not_critical_but_in_the_trap(problem, artificial):
    w = vector(*artificial)
    assert torch.func.grad(problem.objective)(w).norm() > 0.1
    metrics = problem.metrics({"w": w})
    assert metrics["artificial_distance"] == 0
    assert metrics["clarke_distance"] > 0.1
    assert metrics["train_loss"] == problem.objective(w)
    assert problem.in_trap({"w": w})
    assert not problem.in_trap({"w": w + 1e-300})
    beside = w + torch.tensor([0.03] + [0.0] * (len(w) - 1)).double()
    assert problem.artificial_distance(beside).item() == pytest.approx(0.03)


def test_the_trap_of_e3_is_a_line_and_its_artificial_point_one_point():
    problem = E3(b=0.7)
    assert problem.in_trap({"w": vector(0.0, 5.0)})
    assert not problem.in_trap({"w": vector(0.1, 0.7)})
    assert problem.artificial_distance(vector(3.0, 4.7)).item() == pytest.approx(5)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_oracle_at_the_artificial_point_vanishes_only_for_t_zero(t):
    zero = vector(0.0)
    for s in vector(-1.0, 1.0):
        assert oracle(E1(relu_derivative=t), zero, s).item() == 2 * t
        assert oracle(E3(b=0.7, relu_derivative=t), vector(0.0, 0.7), s).tolist() == [2 * t, 0.0]
    for s in vector(0.5, 1.0, 1.5):
        assert oracle(E2(noise="uniform", relu_derivative=t), zero, s).item() == 2 * t * s
    for make, slope in ((E5, 2 * t), (E6, t)):
        problem = make(*regression_pairs(), relu_derivative=t)
        for x, y in zip(*problem.batch(torch.arange(20))):
            expected = slope * (0 - y) * x  # chain rule: derivative of h times residual
            torch.testing.assert_close(oracle(problem, vector(0, 0, 0), x, y), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("problem", "slope"),
    [
        (E1(form="abs"), 1.0),
        (E1(form="relu_2"), 2.0),
        (E2(form="maximum"), 1.0),
        (E9(), 0.0),
        (E9(order="zero_last"), 2.0),
        (E9(order="amax"), 1.0),
    ],
)
def test_equal_programs_have_other_derivatives_at_zero(problem, slope):
    assert oracle(problem, vector(0.0), vector(1.0)[0]).item() == slope
    (trajectory,) = run(type(problem)(init="zeros", **options(problem)), "sgd", 1, 50, 0.1)
    assert trapped([trajectory]) == (slope == 0)
    assert touched([trajectory]) == 1


def options(problem):
    return {"order": problem.order} if isinstance(problem, E9) else {"form": problem.form}


@pytest.mark.parametrize(("optimizer", "hyperparameters"), RULES)
@pytest.mark.parametrize("make", [E1, E2, E3, E5, E6, E9])
def test_started_at_the_artificial_point_it_stays_for_ever_iff_t_is_zero(make, optimizer, hyperparameters):
    options = {"b": 0.0} if make is E3 else {}  # init=zeros is the artificial point (0, b)
    frozen = run(make(init="zeros", **options), optimizer, 3, 200, 0.1, **hyperparameters)
    for trajectory in frozen:
        assert trajectory.status == "done"
        assert not trajectory.parameters["w"].any()
        assert trajectory.metrics["trapped"] == trajectory.metrics["touched"] == 1
    escape = {"order": "zero_last"} if make is E9 else {"relu_derivative": 0.5, **options}
    for trajectory in run(make(init="zeros", **escape), optimizer, 3, 200, 0.1, **hyperparameters):
        assert trajectory.metrics["trapped"] == 0
        assert trajectory.metrics["touched"] == 1
        assert trajectory.metrics["train_loss"] < frozen[0].metrics["train_loss"] - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("make", [E2, E9])
def test_gradient_descent_on_e2_is_trapped_from_the_predicted_points_only(make):
    """alpha = 1/2: trapped from (1 - alpha)^-n - 1, exactly in floats; one ulp beside, never."""
    for value in (1.0, 3.0, 7.0):
        assert trapped(run(make(init="point", value=value), "sgd", 1, 10, 0.5)) == 1
        assert trapped(run(make(init="point", value=value), "shb", 1, 100, 0.5, momentum=0.9)) == 0
    for value in (np.nextafter(7.0, 8.0), np.nextafter(7.0, 6.0), 5.0, -3.0):
        (escaped,) = run(make(init="point", value=value), "sgd", 1, 200, 0.5)
        assert escaped.metrics["touched"] == 0
        assert escaped.metrics["clarke_distance"] < 1e-12


def test_sgd_falls_into_e1_half_of_the_time_if_the_first_step_size_is_one():
    """alpha_k = 1/(k+1): P(trap) = 1/2. 99.99 % binomial interval for 400 starts: 161 to 239."""
    options = {"schedule": "power", "schedule.q": 1.0, "schedule.k0": 0.0}
    low, high = binom.interval(0.9999, STARTS, 0.5)
    assert (low, high) == (161, 239)
    assert low <= trapped(run(E1(), "sgd", STARTS, 50, 1.0, **options)) <= high
    # the controls: heavy ball, which touches as often but stays nowhere (0 trapped bounds the probability by 0.0075,
    # 95 %), and another step size
    ball = run(E1(), "shb", STARTS, 50, 1.0, momentum=0.5, **options)
    assert trapped(ball) == 0
    assert low <= touched(ball) <= high
    assert touched(run(E1(), "sgd", STARTS, 50, 0.999, **options)) == 0


def test_sgd_is_trapped_at_the_neuron_of_e6_where_the_heavy_ball_is_not():
    """theory.md E6: data (1, 1), (-1, -1), alpha = 1/2, w_0 = 1 - 2^n: SGD trapped with probability one."""
    problem = E6(init="point", value=-7.0)
    assert trapped(run(problem, "sgd", 50, 200, 0.5)) == 50
    assert trapped(run(problem, "shb", 50, 200, 0.5, momentum=0.5)) == 0


@pytest.mark.parametrize(("optimizer", "hyperparameters"), [("sgd", {}), ("shb", {"momentum": 0.9})])
def test_e3_started_on_the_trap_line_converges_to_the_artificial_point(optimizer, hyperparameters):
    for trajectory in run(E3(b=1.0, init="zeros"), optimizer, 5, 1000, 0.1, **hyperparameters):
        assert trajectory.parameters["w"][0] == 0
        assert trajectory.curve["train_loss"][0] - trajectory.metrics["train_loss"] > 0  # it moved along the line
        assert trajectory.metrics["artificial_distance"] < 1e-12
        assert trajectory.metrics["trapped"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "hyperparameters", "lr"), [("sgd", {}, 1.0), ("shb", {"momentum": 0.9}, 0.1)])
@pytest.mark.parametrize("make", [E1, E2, E3, E5, E6, E9])
def test_generic_starts_reach_the_clarke_point(make, optimizer, hyperparameters, lr):
    """The last effective step is about 1/2000^0.75 = 0.0033, so w has a standard deviation of about 0.04 (L3)."""
    options = {"schedule": "power", **hyperparameters}
    for trajectory in run(make(), optimizer, 50, 2000, lr, **options):
        assert trajectory.metrics["clarke_distance"] < 0.2
        assert trajectory.metrics["touched"] == 0


def test_least_squares_solution_of_e6_is_reached_from_random_starts():
    x, y = regression_pairs()
    problem = E6(x, y)
    assert problem.clarke_point.tolist() == pytest.approx(torch.linalg.lstsq(x, y[:, None]).solution[:, 0].tolist())
    for trajectory in run(problem, "shb", 20, 3000, 0.1, "power", momentum=0.9):
        assert trajectory.metrics["clarke_distance"] < 0.3
        assert trajectory.curve["clarke_distance"][0] > trajectory.metrics["clarke_distance"]
