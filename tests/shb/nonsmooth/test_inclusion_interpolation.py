"""The interpolated process in its clock, and its distance from the inclusion."""

import numpy as np
import pytest

from shb.errors import ConfigurationError
from shb.nonsmooth.interpolation import clock, interpolate, tracking_error
from shb.optimizers.conversions import effective_step
from tests.shb.nonsmooth.test_inclusion import ABSOLUTE, VALLEY, G, valley


def heavy_ball(oracle, w0, alpha, beta, noise):
    """Polyak form from rest: noise [K, ...] -> path [K + 1, ...]."""
    previous = now = np.broadcast_to(np.asarray(w0, float), noise.shape[1:])
    path = [now]
    for sample in noise:
        previous, now = now, now - alpha * (oracle(now) + sample) + beta * (now - previous)
        path.append(now)
    return np.stack(path)


def signs(shape):
    return np.random.default_rng(20230413).choice([-1.0, 1.0], shape)


def test_clock_sums_the_effective_steps():
    alpha = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(clock(effective_step(alpha, 0.8)), [0, 0.5, 1.5, 3.0])
    np.testing.assert_allclose(clock(alpha), [0, 0.1, 0.3, 0.6])


def test_interpolation_is_affine_between_the_iterates_and_exact_at_them():
    times = np.array([0.0, 0.5, 0.5, 2.0])
    path = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 3.0], [5.0, 0.0]])
    at = np.array([0.0, 0.25, 1.0, 2.0])
    np.testing.assert_allclose(interpolate(times, path, at), [[0, 1], [0.5, 2], [3, 2], [5, 0]])
    np.testing.assert_array_equal(interpolate(times, path, times[[0, 2, 3]]), path[[0, 2, 3]])
    assert interpolate(times, path[..., None], at).shape == (4, 2, 1)


def test_a_solution_tracks_itself_and_a_planted_offset_is_found():
    times = clock(np.full(2000, 0.001))
    path = -1 + np.array([1.5, 0.5]) * np.exp(-times[:, None])
    assert np.all(tracking_error(times, path, G, 2.0) < 1e-6)
    path[1500, 1] += 0.25
    np.testing.assert_allclose(tracking_error(times, path, G, 1.0, start=1.0), [0, 0.25], atol=1e-6)
    assert np.all(tracking_error(times, path, G, 1.0) < 1e-6)  # the window ends before
    np.testing.assert_array_less(tracking_error(times, np.maximum(1 - times, 0)[:, None], ABSOLUTE, 2.0), 1e-3)


@pytest.mark.parametrize("beta", [0.0, 0.8])
@pytest.mark.parametrize(("field", "oracle"), [(G, lambda w: 1 + w), (ABSOLUTE, np.sign)], ids=["e1", "absolute"])
def test_noisy_heavy_ball_tracks_like_the_root_of_the_step_and_only_in_the_right_clock(field, oracle, beta):
    effective, errors, wrong = np.array([4e-2, 1e-2, 2.5e-3]), [], []
    for step in effective:
        steps = int(np.ceil(2 / step))
        alpha = np.full(steps, step * (1 - beta))
        path = heavy_ball(oracle, 1.5, alpha[0], beta, signs((steps, 64)))
        errors.append(tracking_error(clock(effective_step(alpha, beta)), path, field, 2.0, step=2e-3).mean())
        wrong.append(tracking_error(clock(alpha), path, field, 2.0 * (1 - beta), step=2e-3).mean())
    assert 0.4 < np.polyfit(np.log(effective), np.log(errors), 1)[0] < 0.6
    if beta:
        assert np.all(np.array(wrong) > 0.5)
        assert errors[-1] < 0.1


@pytest.mark.slow
def test_varying_momentum_needs_the_varying_clock():
    right, constant = [], []
    for scale in (1.0, 0.25):
        progress = np.arange(int(4000 / scale)) * scale
        beta, alpha = 0.9 * (0.5 + 0.5 * np.sin(progress / 300)), scale * 1e-3 / (1 + progress / 2000)
        path, previous = [np.array([1.0])], np.array([1.0])
        for a, b in zip(alpha, beta):
            path.append(path[-1] - a * (1 + path[-1]) + b * (path[-1] - previous))
            previous = path[-2]
        for errors, steps in ((right, effective_step(alpha, beta)), (constant, alpha / (1 - beta.mean()))):
            times = clock(steps)
            errors.append(tracking_error(times, np.stack(path), G, times[-1])[0])
    assert right[0] < 0.02
    assert right[1] == pytest.approx(right[0] / 4, rel=0.2)  # without noise the error is O(alpha)
    assert constant[1] > 0.9 * constant[0] > 0.05


def test_tracking_in_two_variables_along_an_edge():
    times = clock(np.full(200, 0.01))
    path = np.stack([valley(times), valley(times) + np.array([0.0, 0.3])], 1)
    path[0, 1] = valley(times)[0]
    error = tracking_error(times, path, VALLEY, 2.0, step=2e-3)
    assert error[0] < 2 * np.sqrt(5) * 2e-3
    assert error[1] == pytest.approx(0.3, abs=2 * np.sqrt(5) * 2e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: clock([0.1, -0.1]), "steps="),
        (lambda: clock(0.1), "steps="),
        (lambda: interpolate([0.0, 1.0], np.ones((3, 2)), [0.5]), "times="),
        (lambda: interpolate([1.0, 0.0], np.ones((2, 2)), [0.5]), "times="),
        (lambda: interpolate([0.0, 1.0], np.ones((2, 2)), [1.5]), "at="),
        (lambda: tracking_error([0.0, 1.0], np.ones((2, 2)), G, 1.5), "window="),
        (lambda: tracking_error([0.0, 1.0], np.ones((2, 2)), G, 1.0, start=-0.5), "window="),
        (lambda: tracking_error([0.0, 1.0], np.ones((2, 2)), G, 0.0), "window="),
        (lambda: tracking_error([0.0, 1.0], np.ones(2), G, 1.0), "path="),
        (lambda: tracking_error([0.0, 1.0], np.ones((2, 2)), VALLEY, 1.0), "path="),
    ],
)
def test_wrong_input_is_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
