"""Second-order inclusion and the Lyapunov functions against solutions found by hand."""

import numpy as np
import pytest

from shb.errors import ConfigurationError
from shb.nonsmooth.inclusion import solve_first_order
from shb.nonsmooth.lyapunov import iterate_velocity, lyapunov_first, lyapunov_second
from shb.nonsmooth.piecewise import PiecewiseField
from shb.nonsmooth.second_order import solve_second_order
from tests.shb.nonsmooth.test_inclusion import ABSOLUTE, E1, HILL, G

pytestmark = pytest.mark.slow

QUADRATIC = PiecewiseField([], lambda w: w, lambda w: w)
TIMES = np.linspace(0.0, 12.0, 121)


def oscillator(w0, y0, r, times):
    """w'' + r w' + w = 0 for r < 2, with its derivative."""
    rate = np.sqrt(1 - r**2 / 4)
    sine = (y0 + r * w0 / 2) / rate
    cos, sin, decay = np.cos(rate * times), np.sin(rate * times), np.exp(-r * times / 2)
    w = decay * (w0 * cos + sine * sin)
    return w, -r / 2 * w + decay * rate * (sine * cos - w0 * sin)


@pytest.mark.parametrize("r", [0.0, 0.5, 1.0])
def test_quadratic_follows_its_closed_form_with_order_four(r):
    w0, y0 = np.array([1.0, -2.0, 0.0]), np.array([0.0, 1.0, 3.0])
    steps, errors = np.array([0.1, 0.05, 0.025]), []
    exact_w, exact_y = oscillator(w0, y0, r, TIMES[:, None])
    for step in steps:
        w, y = solve_second_order(QUADRATIC, w0, y0, r, TIMES, step=step)
        errors.append(max(np.abs(w - exact_w).max(), np.abs(y - exact_y).max()))
    assert 3.7 < np.polyfit(np.log(steps), np.log(errors), 1)[0] < 4.3
    assert errors[-1] < 1e-5


def parabola(w0, times):
    """w'' = -sgn(w) from rest: quarter period sqrt(2 |w0|), parabolas with their tops at +-w0."""
    quarter = np.sqrt(2 * np.abs(w0))
    half, inside = np.divmod(times + quarter, 2 * quarter)
    sign = np.sign(w0) * (-1) ** half
    from_top = inside - quarter
    return sign * (np.abs(w0) - from_top**2 / 2), -sign * from_top


@pytest.mark.parametrize("step", [0.1, 0.01])
def test_undamped_absolute_value_is_the_parabola_flipped_at_the_kink(step):
    w0 = np.array([-2.0, 0.3, 1.0])
    w, y = solve_second_order(ABSOLUTE, w0, 0.0, 0.0, TIMES, step=step)
    exact_w, exact_y = parabola(w0, TIMES[:, None])
    np.testing.assert_allclose(w, exact_w, atol=1e-12)
    np.testing.assert_allclose(y, exact_y, atol=1e-12)
    energy = lyapunov_second(np.abs, w, y)
    np.testing.assert_allclose(energy, np.abs(w0) + 0 * energy, atol=1e-12)


def test_without_friction_the_energy_is_kept_over_many_periods():
    times = np.linspace(0, 200, 41)
    w, y = solve_second_order(QUADRATIC, 1.0, 0.0, 0.0, times, step=0.02)
    assert np.abs(lyapunov_second(lambda w: w**2 / 2, w, y) - 0.5).max() < 1e-7


@pytest.mark.parametrize(
    ("field", "objective"), [(QUADRATIC, lambda w: w**2 / 2), (ABSOLUTE, np.abs)], ids=["smooth", "kink"]
)
@pytest.mark.parametrize("r", [0.5, 1.0, 2.0])
def test_energy_falls_at_the_rate_r_times_the_square_of_the_velocity(field, objective, r):
    times = np.linspace(0, 3, 6001)
    w, y = solve_second_order(field, [1.0, -0.6], [0.0, 0.5], r, times, step=0.01)
    energy = lyapunov_second(objective, w, y)
    square = (y[1:] ** 2 + y[:-1] ** 2) / 2
    spent = r * np.cumsum(square * np.diff(times)[:, None], axis=0)
    np.testing.assert_allclose(energy[1:], energy[0] - spent, atol=2e-6)
    assert np.all(np.diff(energy, axis=0) <= 1e-12)
    assert np.all(energy[-1] < energy[0] / 2)


def test_damped_oscillation_about_a_kink_ends_within_the_stated_errors():
    times = np.linspace(0.0, 24.0, 241)
    fine_w, fine_y = solve_second_order(ABSOLUTE, 1.0, 0.0, 1.0, times, step=0.005)
    fine_energy = lyapunov_second(np.abs, fine_w, fine_y)
    for step in (0.1, 0.05):
        w, y = solve_second_order(ABSOLUTE, 1.0, 0.0, 1.0, times, step=step)
        assert w[-1] == y[-1] == 0
        assert np.abs(w - fine_w).max() <= step**2 / 8
        assert np.abs(y - fine_y).max() <= step / 2
        assert np.abs(lyapunov_second(np.abs, w, y) - fine_energy).max() <= step**2 / 8


def test_large_friction_is_the_first_order_inclusion_slowed_down_r_times():
    r, times = 50.0, np.linspace(0, 3, 13)
    w, _ = solve_second_order(G, 0.5, -1.5 / r, r, r * times, step=0.01)
    np.testing.assert_allclose(w, solve_first_order(G, 0.5, times), atol=1.5 / r**2 * 4)


def test_rest_at_the_artificial_point_needs_zero_velocity():
    w, y = solve_second_order(
        E1, [0.0, 0.0, 0.0, 1e-9], [0.0, 0.0, 1e-6, 0.0], 1.0, TIMES, rest_times=[np.inf, 2, 0, 0]
    )
    assert np.all(w[:, 0] == 0)
    assert np.all(y[:, 0] == 0)
    assert np.all(w[TIMES <= 2, 1] == 0)
    late = TIMES >= 2
    exact = oscillator(1.0, 0.0, 1.0, TIMES[late] - 2)[0] - 1
    np.testing.assert_allclose(w[late, 1], exact, atol=1e-9)
    assert np.abs(w[:, 2:] - (oscillator(1.0, 0.0, 1.0, TIMES)[0] - 1)[:, None]).max() < 2e-6
    # an orbit through the point does not see its conservative set
    through = solve_second_order(E1, 1.0, 0.0, 0.5, TIMES)[0]
    np.testing.assert_allclose(through, oscillator(2.0, 0.0, 0.5, TIMES)[0] - 1, atol=1e-9)


def test_a_maximum_is_left_by_velocity():
    w, _ = solve_second_order(HILL, 0.0, [0.0, -1.0, 1.0], 0.0, [0.0, 2.0], step=0.1)
    np.testing.assert_allclose(w[-1], [0.0, -4.0, 4.0], atol=1e-12)


def test_heavy_ball_of_regime_r2_tracks_the_inclusion_with_error_of_order_gamma():
    r, w0, gammas, errors = 1.0, np.linspace(0.8, 1.2, 9), np.array([0.04, 0.01, 0.0025]), []
    for gamma in gammas:
        path, previous = [w0], w0
        for _ in range(round(4 / gamma)):
            path.append(path[-1] - gamma**2 * np.sign(path[-1]) + (1 - r * gamma) * (path[-1] - previous))
            previous = path[-2]
        w, y = solve_second_order(ABSOLUTE, w0, 0.0, r, gamma * np.arange(len(path)), step=0.01)
        velocity = iterate_velocity(np.stack(path), gamma)
        # the phase in which the iterates meet the kink is random: mean over starts
        errors.append([np.abs(path - w).max(0).mean(), np.abs(velocity - y[1:]).max(0).mean()])
    slopes = np.polyfit(np.log(gammas), np.log(errors), 1)[0]
    assert np.all(slopes > 0.7)
    assert np.all(errors[-1] < 10 * gammas[-1])


def test_lyapunov_functions_of_paths_in_many_variables():
    path = np.arange(24.0).reshape(4, 2, 3)
    velocity = iterate_velocity(path, np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(velocity[:, 0, 0], [6.0, 3.0, 1.5])
    np.testing.assert_array_equal(lyapunov_first(lambda w: w.sum(-1), path), path.sum(-1))
    energy = lyapunov_second(lambda w: w.sum(-1), path[1:], velocity)
    np.testing.assert_allclose(energy[2], path[3].sum(-1) + 3 * 1.5**2 / 2)


def test_lyapunov_first_falls_along_solutions():
    times = np.linspace(0, 3, 31)
    values = lyapunov_first(np.abs, solve_first_order(ABSOLUTE, [-1.0, 2.0], times))
    np.testing.assert_allclose(values, np.maximum(np.array([1.0, 2.0]) - times[:, None], 0), atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: solve_second_order(G, 0.0, 0.0, -0.1, [0.0, 1.0]), "r="),
        (lambda: solve_second_order(G, 0.0, np.inf, 0.0, [0.0, 1.0]), "y0="),
        (lambda: lyapunov_first(np.sum, np.ones((3, 2))), "objective="),
        (lambda: lyapunov_second(np.abs, np.ones((3, 2)), np.ones((2, 2))), "velocity="),
        (lambda: iterate_velocity(np.ones((3, 2)), [1.0, 0.0]), "gamma="),
        (lambda: iterate_velocity(np.ones((3, 2)), [1.0, 1.0, 1.0]), "gamma="),
    ],
)
def test_wrong_input_is_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
