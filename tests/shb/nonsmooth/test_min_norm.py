"""The minimum-norm element against closed forms, an independent solver, and its own certificate."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from shb.errors import ConfigurationError
from shb.nonsmooth.min_norm import min_norm_interval, min_norm_point, min_norm_points

GAP = 1e-13  # of max |p_i|^2: what rounding may leave of the gap in hulls made to be difficult
NORM = 1e-12  # of max |p_i|: what rounding may change of |x|; difficult hulls in another order: at most 3e-13
BETWEEN = 2 * GAP**0.5  # of max |p_i|: how far two such elements of one hull may be apart, as |x - x*|^2 <= gap


def lower_bound(points, found):
    """min_i <x, p_i> / |x| <= dist(0, hull), computed without the gap that the code returns."""
    return (points @ found.point).min() / np.linalg.norm(found.point)


def check_certificate(points, found, tolerance=GAP):
    """The weights describe an element of the hull, and no element of the hull is nearer to 0."""
    reach = np.linalg.norm(points, axis=1).max()
    assert found.weights.shape == (len(points),) and (found.weights >= 0).all()
    assert found.weights.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(found.weights @ points, found.point, rtol=0, atol=1e-14 * reach)
    gap = max(found.point @ (found.point - point) for point in points)
    assert found.gap == pytest.approx(gap, abs=1e-14 * reach**2)
    assert 0 <= found.gap <= tolerance * reach**2
    if found.norm > 1e-12 * reach:
        assert found.norm - lower_bound(points, found) <= 2 * tolerance * reach**2 / found.norm


def random_hulls():
    """Hulls with 0 far outside, near the boundary and inside, in few and many dimensions."""
    generator = np.random.default_rng(0)
    for m, p in [(2, 1), (9, 1), (3, 2), (20, 2), (20, 3), (4, 10), (30, 29), (40, 6), (100, 50), (25, 1000)]:
        for shift in (0.0, 0.3, 2.0, 100.0):
            yield generator.normal(size=(m, p)) + shift * generator.normal(size=p)


@pytest.mark.parametrize("p", [1, 2, 3, 7, 60])
def test_simplex_of_unit_vectors(p):
    found = min_norm_point(np.eye(p))
    np.testing.assert_allclose(found.point, np.full(p, 1 / p), atol=1e-14)
    np.testing.assert_allclose(found.weights, np.full(p, 1 / p), atol=1e-14)


def test_segments():
    np.testing.assert_allclose(min_norm_point([[1.0, -1.0], [1.0, 3.0]]).point, [1, 0], atol=1e-15)
    np.testing.assert_allclose(min_norm_point([[1.0, -1.0], [1.0, 3.0]]).weights, [0.75, 0.25], atol=1e-15)
    assert min_norm_point([[1.0, 1.0], [2.0, 5.0]]).point.tolist() == [1, 1]  # the end is nearest
    assert min_norm_point([[-1.0, -3.0], [2.0, 6.0]]).norm <= 1e-15  # through 0
    np.testing.assert_allclose(min_norm_point([[4.0, 0.0], [0.0, 3.0]]).norm, 12 / 5, rtol=1e-15)


@pytest.mark.parametrize(
    "centre, nearest", [((3, 0), (2, 0)), ((3, 4), (2, 3)), ((0.5, -0.5), (0, 0)), ((1, 0.2), (0, 0)), ((1, 1), (0, 0))]
)
def test_square_of_side_two(centre, nearest):
    corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]) + centre
    np.testing.assert_allclose(min_norm_point(corners).point, nearest, atol=1e-15)


def test_cube_whose_nearest_point_is_in_a_facet():
    corners = np.array([[x, y, z] for x in (1, 2) for y in (-1, 2) for z in (-3, 1)], dtype=float)
    np.testing.assert_allclose(min_norm_point(corners).point, [1, 0, 0], atol=1e-15)


def test_points_on_a_sphere():
    directions = np.random.default_rng(1).normal(size=(60, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    around = min_norm_point(directions)  # 60 points of a sphere: 0 is inside (seen by the bound below)
    assert around.norm <= 1e-14
    cap = directions[directions[:, 0] > 0.5]
    found = min_norm_point(cap)
    check_certificate(cap, found)
    assert 0.5 < found.norm < 1


def test_one_point_and_the_zero_point():
    found = min_norm_point([[3.0, -4.0]])
    assert found.point.tolist() == [3, -4] and found.weights.tolist() == [1] and found.norm == 5 and found.gap == 0
    zero = min_norm_point(np.zeros((4, 3)))
    assert zero.norm == 0 and zero.weights.sum() == 1
    assert min_norm_point([[5.0, 1.0], [0.0, 0.0], [3.0, 9.0]]).norm == 0


def test_random_hulls_certify_themselves_and_agree_with_a_general_solver():
    inside = outside = 0
    for points in random_hulls():
        found = min_norm_point(points)
        check_certificate(points, found, tolerance=1e-14)
        inside, outside = inside + (found.norm <= 1e-12), outside + (found.norm > 1e-2)
        if len(points) <= 20:
            m = len(points)
            solved = minimize(
                lambda weights, points=points: ((weights @ points) ** 2).sum(),
                np.full(m, 1 / m),
                jac=lambda weights, points=points: 2 * points @ (weights @ points),
                bounds=[(0, 1)] * m,
                constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
                method="SLSQP",
                options={"ftol": 1e-15, "maxiter": 500},
            )
            reach = np.linalg.norm(points, axis=1).max()
            np.testing.assert_allclose(found.point, solved.x @ points, rtol=0, atol=1e-5 * reach)
            assert found.norm <= np.linalg.norm(solved.x @ points) + 1e-14 * reach
    assert inside >= 5 and outside >= 5  # both kinds were tried


def test_nearly_equal_points_keep_their_digits():
    """Gradients in a small ball differ by little; a Gram matrix of the points would lose what they differ by."""
    spread = np.array([[1.0, -1.0], [1.0, 2.0], [3.0, 0.0]])
    points = np.array([0.0, 1.0]) + 1e-9 * spread
    found = min_norm_point(points)
    np.testing.assert_allclose(found.weights, [1, 0, 0], atol=1e-12)
    shifted = points - [2e-9, 0.0]
    np.testing.assert_allclose(min_norm_point(shifted).norm, 1 - 1e-9, rtol=1e-15)
    segment = np.array([[-1e-6, 1.0], [2e-6, 1.0]])  # Gram determinant 1e-11, with relative error 1e-5
    np.testing.assert_allclose(min_norm_point(segment).weights, [2 / 3, 1 / 3], rtol=1e-9)


def test_a_gap_below_the_rounding_of_the_norm_is_closed():
    """The nearest point (-1, 0) and the corner (-1, 1e-8) have the same |x| in float64."""
    found = min_norm_point([[-1.0, -1.0], [-1.0, 1e-8]])
    np.testing.assert_allclose(found.point, [-1, 0], atol=1e-15)
    np.testing.assert_allclose(found.weights[0], 1e-8, rtol=1e-6)


def test_a_thin_hull_that_holds_zero_is_seen_to_hold_it():
    """Its edge from (1, 1e-8) to (-1, 0) passes 0 at 5e-9, where the rounding of x is larger than |x|^2."""
    thin = np.array([[1.0, 1e-8], [-1.0, 0.0], [1.0, 0.0]])
    for order in itertools.permutations(range(3)):
        assert min_norm_point(thin[list(order)]).norm <= 1e-15
    assert min_norm_point(thin[:2]).norm == pytest.approx(5e-9, rel=1e-6)


def test_hulls_with_coordinates_of_many_magnitudes():
    generator = np.random.default_rng(6)
    values = np.array([0, 0, 1, -1, 2, -3, 1e-8, -1e-8, 1e-16, -1e-16, 1e-4, 1e-12, 1 + 1e-8, 1 - 1e-12, 0.3])
    for m, p in itertools.product((2, 4, 6, 9), (2, 3, 4, 5)):
        points = generator.choice(values, size=(500, m, p))
        found = min_norm_points(points)
        reach = np.linalg.norm(points, axis=2).max(1)
        assert (found.gap <= GAP * reach**2).all()
        assert (np.abs(min_norm_points(points[:, ::-1]).norm - found.norm) <= NORM * reach).all()


def test_the_gap_exposes_weights_that_are_not_optimal(monkeypatch):
    points = np.random.default_rng(8).normal(size=(20, 6, 3)) + 0.5
    exact = min_norm_points(points)
    monkeypatch.setattr("shb.nonsmooth.min_norm._wolfe", lambda points: np.full(points.shape[:2], 1 / 6))
    wrong = min_norm_points(points)
    for hull, x, nearest, gap in zip(points, wrong.point, exact.point, wrong.gap):
        np.testing.assert_allclose(x, hull.mean(0), rtol=1e-14)
        assert gap == pytest.approx(max(x @ (x - p) for p in hull), rel=1e-12)
        assert ((x - nearest) ** 2).sum() <= gap


def test_many_dimensions():
    generator = np.random.default_rng(2)
    core = generator.normal(size=(12, 8)) + 1
    basis = np.linalg.qr(generator.normal(size=(20_000, 8)))[0]  # an isometry R^8 -> R^20000
    wide, narrow = min_norm_point(core @ basis.T), min_norm_point(core)
    assert narrow.norm > 1
    np.testing.assert_allclose(wide.point, basis @ narrow.point, atol=1e-13)
    np.testing.assert_allclose(wide.weights, narrow.weights, atol=1e-12)


def test_batch_is_the_hulls_one_by_one():
    generator = np.random.default_rng(3)
    for p in (1, 2, 3, 40):
        points = generator.normal(size=(50, 20, p)) + 2 * generator.normal(size=(50, 1, p))
        together = min_norm_points(points)
        for i, hull in enumerate(points):
            alone = min_norm_point(hull)
            assert np.array_equal(together.point[i], alone.point)
            assert np.array_equal(together.weights[i], alone.weights) and together.gap[i] == alone.gap
        assert together.norm.shape == (50,)
    assert min_norm_points(np.zeros((0, 4, 2))).norm.shape == (0,)


coordinates = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, allow_nan=False, width=32))


@st.composite
def hulls(draw):
    p = draw(st.integers(1, 4))
    m = draw(st.integers(1, 9))
    return np.array(draw(st.lists(st.lists(coordinates, min_size=p, max_size=p), min_size=m, max_size=m)))


@settings(deadline=None, max_examples=300)
@given(hulls())
def test_every_hull_is_certified(points):
    check_certificate(points, min_norm_point(points))


@settings(deadline=None, max_examples=150)
@given(hulls(), st.randoms(use_true_random=False), st.sampled_from([1e-90, 1e-3, 7.0, 1e140]))
def test_order_copies_mirroring_and_units_do_not_matter(points, random, factor):
    reach = np.linalg.norm(points, axis=1).max()
    point = min_norm_point(points).point
    order = random.sample(range(len(points)), len(points))
    copies = np.concatenate([points, points[order[: 1 + len(order) // 2]], points[:1]])
    for same in (points[order], copies, copies[::-1]):
        found = min_norm_point(same)
        assert found.norm == pytest.approx(np.linalg.norm(point), abs=NORM * reach)
        np.testing.assert_allclose(found.point, point, rtol=0, atol=BETWEEN * reach)
    np.testing.assert_allclose(min_norm_point(-points).point, -point, rtol=0, atol=BETWEEN * reach)
    np.testing.assert_allclose(min_norm_point(factor * points).point / factor, point, rtol=0, atol=BETWEEN * reach)


@settings(deadline=None, max_examples=150)
@given(hulls(), hulls())
def test_a_larger_hull_is_not_farther(points, others):
    p = min(points.shape[1], others.shape[1])
    points, others = points[:, :p], others[:, :p]
    larger = np.concatenate([points, others])
    reach = np.linalg.norm(larger, axis=1).max()
    assert min_norm_point(larger).norm <= min_norm_point(points).norm + NORM * reach
    around = np.concatenate([larger, -larger])
    assert min_norm_point(around).norm <= NORM * reach


def test_interval():
    low = np.array([[-2.0, 0.5, -3.0], [0.0, -1.0, 2.0]])
    high = np.array([[1.0, 0.75, -1.0], [4.0, 0.0, 2.0]])
    assert min_norm_interval(low, high).tolist() == [[0, 0.5, -1], [0, 0, 2]]
    for a, b, nearest in zip(low.flat, high.flat, min_norm_interval(low, high).flat):
        assert min_norm_point([[a], [b]]).point[0] == pytest.approx(nearest, abs=1e-15)
    assert np.isnan(min_norm_interval([np.nan, 1.0], [1.0, np.nan])).all()
    with pytest.raises(ConfigurationError, match=r"interval=\[3\.0, 2\.0\]: allowed is low <= high"):
        min_norm_interval([0.0, 3.0], 2.0)


def test_tensors_are_taken_and_computed_in_float64():
    points = np.random.default_rng(4).normal(size=(6, 3)) + 2
    tensor = torch.tensor(points, requires_grad=True)
    assert np.array_equal(min_norm_point(tensor).point, min_norm_point(points).point)
    narrow = torch.tensor(points, dtype=torch.float32)
    assert min_norm_point(narrow).point.dtype == np.float64
    assert np.array_equal(min_norm_point(narrow).point, min_norm_point(narrow.double()).point)
    assert min_norm_interval(torch.tensor(-1.0), torch.tensor(2.0)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e151])
def test_a_diverged_hull_is_nan_and_spoils_no_other(bad):
    points = np.random.default_rng(5).normal(size=(3, 5, 2)) + 3
    expected = min_norm_points(points)
    points[1, 4, 0] = bad
    found = min_norm_points(points)
    assert np.isnan(found.norm).tolist() == [False, True, False]
    assert np.isnan(found.weights[1]).all() and np.isnan(found.gap[1])
    assert np.array_equal(found.point[[0, 2]], expected.point[[0, 2]])
    assert np.isnan(min_norm_point(points[1]).norm)


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 0), (1, 2, 3)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ConfigurationError, match=r"points=shape \[.*\]: allowed is shape \["):
        min_norm_point(np.zeros(shape))
    with pytest.raises(ConfigurationError, match="points=shape"):
        min_norm_points(np.zeros((4, 0, 2)))
