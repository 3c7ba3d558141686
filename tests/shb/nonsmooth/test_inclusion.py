"""First-order inclusion against solutions found by hand."""

import numpy as np
import pytest

from shb.errors import ConfigurationError
from shb.nonsmooth.inclusion import solve_first_order
from shb.nonsmooth.piecewise import MaxAffine, PiecewiseField

ABSOLUTE = PiecewiseField([0.0], lambda w: np.where(w > 0, 1.0, -1.0), lambda w: np.where(w < 0, -1.0, 1.0))
HILL = PiecewiseField([0.0], lambda w: np.where(w > 0, -1.0, 1.0), lambda w: np.where(w < 0, 1.0, -1.0))  # -|w|
G = PiecewiseField([], lambda w: 1 + w, lambda w: 1 + w)  # Clarke field of E1
E1 = PiecewiseField([], lambda w: 1 + w, lambda w: 1 + w, conservative={0.0: (0.0, 2.0)})
TIMES = np.linspace(0.0, 4.0, 33)


def two_signs(w, sign):
    """Derivative of E7 with s = +-1, F = (|w - 1| + |w + 1|)/2, with sgn(0) = sign."""
    return sum(np.where(w == kink, sign, np.sign(w - kink)) for kink in (-1.0, 1.0)) / 2


E7 = PiecewiseField([-1.0, 1.0], lambda w: two_signs(w, -1.0), lambda w: two_signs(w, 1.0))


def test_the_field_is_the_hull_of_the_one_sided_derivatives():
    low, high = E7.interval([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert low.tolist() == [-1, -1, 0, 0, 1]
    assert high.tolist() == [-1, 0, 0, 1, 1]
    assert E7.minimal([-2.0, -1.0, 0.0, 1.0, 2.0]).tolist() == [-1, 0, 0, 0, 1]
    assert [ends.tolist() for ends in E1.interval([0.0, 1e-300])] == [[0, 1], [2, 1]]
    assert (G.minimal(0.0), E1.minimal(0.0)) == (1.0, 0.0)


@pytest.mark.parametrize("step", [1.0, 0.3, 0.01])
def test_absolute_value_slides_at_its_kink_with_no_error_of_the_step(step):
    w0 = np.array([[-5.0, -1.3, -1e-9], [0.0, 0.7, 2.1]])
    path = solve_first_order(ABSOLUTE, w0, TIMES, step=step)
    exact = np.sign(w0) * np.maximum(np.abs(w0) - TIMES[:, None, None], 0)
    assert path.shape == (33, 2, 3)
    np.testing.assert_allclose(path, exact, atol=1e-14)
    assert np.all(path[TIMES > 2.2][:, 1] == 0)


def test_e1_and_e7_follow_their_closed_forms():
    w0 = np.array([-3.0, -1.0, -0.5, 0.0, 0.4, 2.0])
    path = solve_first_order(G, w0, TIMES, step=0.01)
    np.testing.assert_allclose(path, -1 + (w0 + 1) * np.exp(-TIMES[:, None]), atol=1e-9)
    w0 = np.array([-3.0, -1.5, -1.0, 0.3, 1.0, 3.0])
    path = solve_first_order(E7, w0, TIMES, step=0.07)
    exact = np.sign(w0) * np.maximum(np.abs(w0) - TIMES[:, None], np.minimum(np.abs(w0), 1))
    np.testing.assert_allclose(path, exact, atol=1e-14)


def kinked(w0, times):
    """w' = -(1 + w) above 0 and -2(1 + w) below: crosses its kink at time log(1 + w0)."""
    before = -1 + (w0 + 1) * np.exp(-times)
    return np.where(before >= 0, before, -1 + np.exp(-2 * (times - np.log1p(w0))))


def test_the_order_is_four_through_a_kink():
    field = PiecewiseField([0.0], lambda w: np.where(w > 0, 1, 2) * (1 + w), lambda w: np.where(w < 0, 2, 1) * (1 + w))
    w0 = np.linspace(0.1, 2.0, 12)
    steps = TIMES[1] / 2.0 ** np.arange(4)
    errors = [
        np.abs(solve_first_order(field, w0, TIMES, step=step) - kinked(w0, TIMES[:, None])).max() for step in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 3.7 < slope < 4.6
    assert errors[-1] < 1e-7


def test_times_need_not_start_at_zero_nor_be_equally_spaced():
    times = np.array([5.0, 5.0, 5.3, 7.0])
    path = solve_first_order(G, 0.0, times, step=0.01)
    np.testing.assert_allclose(path, -1 + np.exp(-(times - 5)), atol=1e-9)


@pytest.mark.parametrize("w0", [0.0, 0.5])
def test_conservative_field_of_e1_lets_solutions_rest_at_the_artificial_point_for_any_time(w0):
    rest = np.array([0.0, 0.25, 1.0, np.inf])
    path = solve_first_order(E1, np.full(4, w0), TIMES, step=0.01, rest_times=rest)
    arrival = np.log1p(w0)
    moving = np.where(TIMES[:, None] < arrival, TIMES[:, None], np.maximum(arrival, TIMES[:, None] - rest))
    np.testing.assert_allclose(path, -1 + (w0 + 1) * np.exp(-moving), atol=1e-9)
    assert np.all(path[arrival <= TIMES, -1] == 0)
    # all of them are solutions: the slow one is the default, and only the one that never rests is Clarke's
    default = solve_first_order(E1, w0, TIMES, step=0.01)
    np.testing.assert_array_equal(default, path[:, 3])
    np.testing.assert_allclose(solve_first_order(G, w0, TIMES, step=0.01), path[:, 0], atol=1e-9)


def test_crossing_time_of_e1_is_the_one_of_the_clarke_flow():
    d = 0.3
    crossing = np.log((1 + d) / (1 - d))  # CL21, in the clock sum alpha^eff
    at = solve_first_order(E1, d, [0.0, crossing], rest_times=0.0)[-1]
    assert at == pytest.approx(-d, abs=1e-12)
    assert solve_first_order(E1, d, [0.0, crossing])[-1] == 0.0


def test_a_maximum_is_left_only_after_its_rest_time():
    path = solve_first_order(HILL, [0.0, 0.0, -0.1, 0.1], [0.0, 1.0, 3.0], step=0.1, rest_times=[np.inf, 2.0, 0, 0])
    np.testing.assert_allclose(path[-1], [0.0, 1.0, -3.1, 3.1], atol=1e-12)
    assert path[1, 1] == 0.0


def test_a_stationary_kink_needs_no_rest_time():
    assert np.all(solve_first_order(ABSOLUTE, [0.0, 0.5], [0.0, 1.0, 9.0], rest_times=0.0)[1:] == 0)


# F = max(2 a + b, -a + b/2, -1): from (1, 0) along -(2, 1) to the edge 3 a + b/2 = 0 at time 6/13, along the edge with
# the point of the segment [(2, 1), (-1, 1/2)] nearest to 0, which is (-4, 24)/37, and to rest on F = -1 at a time
# (9/13)/(16/37) = 333/208 later, because F = -4/13 at the hit and falls at the rate |(-4, 24)/37|^2 = 16/37.
VALLEY = MaxAffine([[2.0, 1.0], [-1.0, 0.5], [0.0, 0.0]], [0.0, 0.0, -1.0])
SLIDE = np.array([-4.0, 24.0]) / 37


def valley(times):
    first = np.minimum(times, 6 / 13)[:, None]
    second = np.clip(times - 6 / 13, 0, 333 / 208)[:, None]
    return np.array([1.0, 0.0]) - first * np.array([2.0, 1.0]) - second * SLIDE


def test_max_affine_slides_along_its_edge_to_the_minimum():
    steps = np.array([0.02, 0.01, 0.005, 0.0025])
    lipschitz, errors = np.sqrt(5), []
    # the tube around the edge and one step are L step wide each; F + 1 <= L^2 step makes the flat piece active
    linear = 2 * lipschitz + lipschitz**2 / np.linalg.norm(SLIDE)
    for step in steps:
        path = solve_first_order(VALLEY, [1.0, 0.0], TIMES, step=step)
        distance = np.linalg.norm(path - valley(TIMES), axis=1)
        assert np.all(distance <= 2 * lipschitz * np.sqrt(2 * TIMES * step) + 1e-12)  # the stated bound
        assert np.all(distance <= linear * step)
        errors.append(distance.max())
        # no zigzag: along the edge every step is that of the element of minimal norm
        sliding = path[(TIMES > 0.6) & (TIMES < 1.7)]
        np.testing.assert_allclose(np.diff(sliding, axis=0) / -TIMES[1], SLIDE + 0 * sliding[1:], atol=1e-12)
    assert errors[-1] < 0.5 * errors[0]
    assert VALLEY(path[-1]) == pytest.approx(-1, abs=lipschitz**2 * steps[-1])


def test_many_runs_of_one_start_are_one_solution():
    starts = np.array([[1.0, 0.0], [-1.0, 2.0], [1.0, 0.0]])
    paths = solve_first_order(VALLEY, starts, [0.0, 0.5, 1.5], step=0.01)
    for start, path in zip(starts, np.moveaxis(paths, 1, 0)):
        np.testing.assert_array_equal(path, solve_first_order(VALLEY, start, [0.0, 0.5, 1.5], step=0.01))


def test_hidden_pieces_are_not_active_at_radius_zero():
    assert VALLEY.pieces(np.array([1.0, 0.0]), 0.0).tolist() == [[2.0, 1.0]]
    edge = np.array([1.0, -6.0]) / 100
    assert len(VALLEY.pieces(edge, 1e-9)) == 2
    assert VALLEY.pieces(np.array([0.25, -1.6]), 0.0).tolist() == [[0.0, 0.0]]
    assert len(VALLEY.pieces(np.array([0.25, -1.6]), 0.3)) == 3


class E3:
    """E3 with b = 1 and t = 0: on {w_1 = 0} the conservative field has the first component [0, 2]."""

    def pieces(self, w, radius):
        first = [2.0, 0.0] if w[0] == 0 else [1 + w[0]]
        return np.array([[slope, w[1] - 1] for slope in first])


def test_e3_converges_to_the_artificial_point_along_its_line_and_to_the_clarke_point_beside_it():
    times, step = np.linspace(0, 6, 7), 2e-3
    paths = solve_first_order(E3(), [[0.0, 3.0], [1e-12, 3.0]], times, step=step)
    np.testing.assert_array_equal(paths[:, 0, 0], 0)
    np.testing.assert_allclose(paths[:, 0, 1], 1 + 2 * np.exp(-times), atol=2 * step)
    np.testing.assert_allclose(paths[:, 1, 0], -1 + np.exp(-times), atol=step)
    np.testing.assert_allclose(paths[:, 1, 1], 1 + 2 * np.exp(-times), atol=2 * step)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PiecewiseField([1.0, 1.0], np.sign, np.sign), "kinks="),
        (lambda: PiecewiseField([np.nan], np.sign, np.sign), "kinks="),
        (lambda: PiecewiseField([], lambda w: 1 + w, lambda w: 1 + w, {0.0: (0.0, 0.5)}), "contains the Clarke"),
        (lambda: MaxAffine([[1.0, 2.0]], [1.0, 2.0]), "slopes, offsets="),
        (lambda: solve_first_order(G, 0.0, [1.0, 0.0]), "times="),
        (lambda: solve_first_order(G, 0.0, []), "times="),
        (lambda: solve_first_order(G, 0.0, [0.0, 1.0], step=0.0), "step="),
        (lambda: solve_first_order(G, np.nan, [0.0, 1.0]), "w0="),
        (lambda: solve_first_order(G, 0.0, [0.0, 1.0], rest_times=-1.0), "rest_times="),
        (lambda: solve_first_order(VALLEY, [0.0, 0.0], [0.0, 1.0], rest_times=1.0), "rest_times="),
        (lambda: solve_first_order(VALLEY, 0.0, [0.0, 1.0]), "w0="),
    ],
)
def test_wrong_input_is_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()
