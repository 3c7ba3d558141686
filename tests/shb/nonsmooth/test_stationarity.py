"""Stationarity on problems whose Clarke and artificial points are known (theory.md sections 4 and 5.0)."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shb.errors import ConfigurationError
from shb.nonsmooth.min_norm import min_norm_point
from shb.nonsmooth.stationarity import (
    active_piece_hull,
    goldstein,
    goldstein_batch,
    goldstein_members,
    interval_distance,
)

EPS = 0.01


def backprop(*losses):
    """Mean of what backpropagation returns for each sample, rows [m, p] -> [m, p]; ReLU'(0) = 0 and |.|'(0) = 0."""

    def gradient(points):
        rows = torch.as_tensor(points).clone().requires_grad_()
        sum(loss(rows).sum() for loss in losses).backward()
        return rows.grad / len(losses)

    return gradient


E1 = backprop(lambda w: 2 * torch.relu(w) + w**2 / 2, lambda w: -2 * torch.relu(-w) + w**2 / 2)  # F = w + w^2/2
E7 = backprop(lambda w: (w - 1).abs(), lambda w: (w + 1).abs())  # F = (|w - 1| + |w + 1|)/2, critical set [-1, 1]
ABSOLUTE = backprop(torch.abs)


def at(*w):
    return torch.tensor(w, dtype=torch.float64)


def raw_norm(gradient, w):
    return gradient(w[None]).norm().item()


def test_e1_is_about_one_at_the_artificial_point_where_the_raw_norm_is_zero():
    artificial, clarke = at(0.0), at(-1.0)
    assert raw_norm(E1, artificial) == 0
    for seed in range(20):
        assert abs(goldstein(E1, artificial, EPS, 20, seed) - 1) <= EPS
        assert goldstein(E1, clarke, EPS, 20, seed) <= EPS
    assert goldstein(E1, artificial, EPS, 20, 0, centre=True) == 0  # why the gradient at w itself is left out
    assert goldstein(E1, at(1.0), EPS, 20, 0) == pytest.approx(2, abs=EPS)


def test_the_raw_norm_stays_one_at_kinks_whatever_the_radius():
    for distance in (1e-3, 1e-6, 1e-9):
        near = at(distance)
        assert raw_norm(ABSOLUTE, near) == 1
        for seed in range(20):  # 60 points all on one side of the kink: (5/8)^60 < 1e-12
            assert goldstein(ABSOLUTE, near, 4 * distance, 60, seed) == 0
            assert goldstein(ABSOLUTE, near, 0.9 * distance, 60, seed) == 1  # the ball does not reach the kink
    samples = (lambda w: (w - 1).abs()), (lambda w: (w + 1).abs())
    for w in (-0.7, 0.0, 0.3, 1.0, -1.0):
        norms = [raw_norm(backprop(sample), at(w + 1e-12)) for sample in samples]
        assert norms == [1, 1]
        assert goldstein(E7, at(w), EPS, 60, 0) == 0
    assert goldstein(E7, at(1.1), EPS, 60, 0) == 1
    assert goldstein(E7, at(-1.1), EPS, 60, 0) == 1


def test_smooth_function_stays_within_the_lipschitz_bound_and_above_the_exact_distance():
    """F = |w|^2/2: d_eps F(w) is the ball of radius eps around w, at distance max(|w| - eps, 0) from 0."""
    generator = np.random.default_rng(0)
    for p in (1, 2, 3, 30):
        for size in (0.0, 0.005, 0.5, 3.0):
            w = generator.normal(size=p)
            w *= size / np.linalg.norm(w)
            found = goldstein(lambda rows: rows, w, EPS, 20, 1)
            assert max(size - EPS, 0) - 1e-15 <= found <= size + EPS


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_bound_never_increases_with_samples_and_becomes_tight(p):
    w = np.full(p, 0.5)
    exact = np.linalg.norm(w) - EPS
    found = [goldstein(lambda rows: rows, w, EPS, samples, 3) for samples in (1, 2, 5, 20, 100, 2000)]
    assert all(more <= fewer + 1e-15 for fewer, more in itertools.pairwise(found))
    assert found[0] - found[-1] > EPS / 10
    assert exact <= found[-1] <= exact + EPS / 20


def test_few_samples_in_many_dimensions_give_a_loose_bound():
    """sum_i |w_i| at its minimiser, distance 0: the mean of m random sign vectors has length sqrt(p/m)."""
    for p, samples in [(2000, 20), (5000, 50)]:
        assert goldstein(np.sign, np.zeros(p), EPS, samples, 0) == pytest.approx((p / samples) ** 0.5, rel=0.02)
    assert goldstein(np.sign, np.zeros(5), EPS, 50, 0) <= 1e-14


def sampled_points(w, radius, samples, seed=5):
    seen = []
    goldstein(lambda rows: seen.append(rows) or rows, w, radius, samples, seed)
    return seen[0]


def test_sampled_points_are_uniform_in_the_ball():
    for p in (1, 2, 3):
        offsets = sampled_points(np.full(p, 7.0), 2.0, 20_000) - 7.0
        radii = np.linalg.norm(offsets, axis=1)
        assert radii.max() <= 2 * (1 + 1e-14)
        standard_error = 1 / np.sqrt(20_000)
        for share in (0.25, 0.5, 0.75):  # P(|u| <= r) = (r/eps)^p
            assert abs((radii <= 2 * share ** (1 / p)).mean() - share) <= 4 * standard_error
        assert (np.abs((offsets > 0).mean(0) - 0.5) <= 4 * standard_error).all()
        # each coordinate has variance eps^2/(p + 2), and no two are correlated
        np.testing.assert_allclose(np.cov(offsets.T).reshape(p, p), np.eye(p) * 4 / (p + 2), atol=16 * standard_error)

        # no direction is preferred: E (u_1/|u|)^4 = 3/(p (p + 2)), here with sd below 1/2
        fourth = ((offsets / radii[:, None]) ** 4).mean(0)
        np.testing.assert_allclose(fourth, 3 / (p * (p + 2)), atol=2 * standard_error)


def max_affine(slopes, intercepts):
    def gradient(points):
        return slopes[(points @ slopes.T + intercepts).argmax(1)]

    return gradient


def active_pieces(slopes, intercepts, w, radius):
    """Pieces met on a dense grid of the ball around w (independent of the hull code)."""
    angle, length = np.meshgrid(np.linspace(0, 2 * np.pi, 721), np.linspace(0, radius, 121))
    ball = w + np.stack([(length * np.cos(angle)).ravel(), (length * np.sin(angle)).ravel()], 1)
    return np.isin(np.arange(len(slopes)), (ball @ slopes.T + intercepts).argmax(1))


def test_max_affine_in_two_dimensions_matches_the_exact_hull():
    """F = max of 3 faces through the minimiser 0 plus a far piece: the smallest elements are known by hand."""
    slopes = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0], [9.0, 9.0]])
    intercepts = np.array([0.0, 0.0, 0.0, -50.0])
    gradient = max_affine(slopes, intercepts)
    # the minimiser; the edge between the last two faces; an edge of the first; inside a face
    for w, expected in [((0, 0), 0.0), ((-1, 0), 1.0), ((1, 1.5), np.sqrt(16 / 13)), ((1, 0), 2.0)]:
        active = active_pieces(slopes, intercepts, np.array(w), EPS)
        assert active_piece_hull(slopes, active) == pytest.approx(expected, abs=1e-14)
        for seed in range(10):
            # the smallest region is 2 atan(3/2) = 0.31 of the disc: 60 points miss it with probability 3e-10
            assert goldstein(gradient, np.array(w, float), EPS, 60, seed) == pytest.approx(expected, abs=1e-14)


def test_sampled_bound_is_never_below_the_exact_hull_of_random_max_affine_functions():
    generator = np.random.default_rng(7)
    tight = several = 0
    for seed in range(40):
        slopes, intercepts = generator.normal(size=(6, 2)), 0.1 * generator.normal(size=6)
        w = 0.1 * generator.normal(size=2)
        active = active_pieces(slopes, intercepts, w, 0.1)
        exact = active_piece_hull(slopes, active)
        found = goldstein(max_affine(slopes, intercepts), w, 0.1, 20, seed)
        assert found >= exact - 1e-14
        tight += abs(found - exact) <= 1e-14
        several += active.sum() > 1
    assert tight >= 20 and several >= 10


def test_active_piece_hull_of_many_points():
    pieces = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0], [3.0, 4.0]])
    active = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]], dtype=bool)
    expected = [min_norm_point(pieces[mask]).norm for mask in active]
    np.testing.assert_allclose(active_piece_hull(pieces, active), expected, atol=1e-15)
    assert expected[0] == pytest.approx(1) and expected[1] <= 1e-15 and expected[2] == 5
    np.testing.assert_allclose(active_piece_hull(torch.tensor(pieces), torch.tensor(active)), expected, atol=1e-15)
    own = np.stack([pieces, 2 * pieces])  # each point with pieces of its own
    np.testing.assert_allclose(active_piece_hull(own, active[:2]), [1, 0], atol=1e-15)
    assert active_piece_hull(pieces[[0, 1]]) == pytest.approx(1)
    assert active_piece_hull(pieces) <= 1e-15
    with pytest.raises(ConfigurationError, match="active=no piece: allowed is at least one"):
        active_piece_hull(pieces, np.array([[True, False, False, False], [False] * 4]))


def test_interval_distance():
    low, high = torch.tensor([-3.0, -1.0, 0.5, 0.0, -2.0]), torch.tensor([-2.0, 1.0, 0.75, 9.0, 0.0])
    assert interval_distance(low, high).tolist() == [2, 0, 0.5, 0, 0]
    # E1: d_eps F(w) = [1 + w - eps, 1 + w + eps]
    w = np.linspace(-3, 3, 101)
    exact = interval_distance(1 + w - EPS, 1 + w + EPS)
    np.testing.assert_allclose(exact, np.maximum(np.abs(1 + w) - EPS, 0), atol=1e-15)
    sampled = goldstein_batch(E1, torch.tensor(w)[:, None], EPS, 200, range(101))
    assert (sampled >= exact - 1e-15).all() and (sampled <= exact + EPS).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(0, 2**31), st.booleans(), st.booleans())
def test_rows_of_a_batch_are_single_calls(p, samples, seed, centre, as_tensor):
    w = np.random.default_rng(seed).normal(size=(5, p)) / 10
    w = torch.tensor(w) if as_tensor else w

    def gradient(rows):  # kinks on the axes, smooth elsewhere
        return rows + (torch.sign(rows) if as_tensor else np.sign(rows))

    seeds = [seed + i for i in range(5)]
    together = goldstein_batch(gradient, w, 0.1, samples, seeds, centre=centre)
    alone = [goldstein(gradient, w[i], 0.1, samples, seeds[i], centre=centre) for i in range(5)]
    assert together.tolist() == alone


def test_blocks_do_not_change_a_batch(monkeypatch):
    w = np.random.default_rng(1).normal(size=(11, 2))
    expected = goldstein_batch(np.sin, w, 0.5, 7, range(11))
    sizes = []
    monkeypatch.setattr("shb.nonsmooth.stationarity.ROWS", 60)
    found = goldstein_batch(lambda rows: sizes.append(len(rows)) or np.sin(rows), w, 0.5, 7, range(11))
    assert found.tolist() == expected.tolist()
    assert sizes == [28, 28, 21]


def test_draws_differ_between_seeds_and_repeat_with_one():
    w = np.full((3, 2), 0.3)
    found = goldstein_batch(lambda rows: rows, w, EPS, 5, [0, 1, 0])
    assert found[0] == found[2] != found[1]
    offsets = [sampled_points(w[0], EPS, 5, seed) - w[0] for seed in (0, 1)]
    lengths = [np.linalg.norm(offset, axis=1, keepdims=True) for offset in offsets]
    assert (np.abs(lengths[0] - lengths[1]) > 1e-6 * EPS).all()
    assert (np.abs(offsets[0] / lengths[0] - offsets[1] / lengths[1]) > 1e-6).all()


def test_gradient_gets_float64_of_the_kind_of_w():
    tensor = sampled_points(torch.ones(2, dtype=torch.bfloat16), 1e-9, 4)
    array = sampled_points(np.ones(2, dtype=np.float32), 1e-9, 4)
    assert tensor.dtype == torch.float64 and array.dtype == np.float64
    assert np.array_equal(tensor.numpy(), array) and (array != 1).all()
    assert np.abs(array - 1).max() <= 1e-9


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_point_is_nan_and_spoils_no_other(p, bad):
    def gradient(rows):
        return np.where(rows > 5, bad, rows)

    w = np.array([[1.0], [5.0], [2.0]]) * np.ones(p)
    found = goldstein_batch(gradient, w, 0.5, 50, range(3))
    assert np.isnan(found).tolist() == [False, True, False]


def network(dtype=torch.float64):
    """Params, full-batch gradient (dictionaries) and the same gradient on rows, for a small ReLU network."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(15, 3, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randn(15, 1, generator=generator, dtype=torch.float64).to(dtype)
    params = {
        "a": torch.randn(3, 4, generator=generator, dtype=torch.float64).to(dtype),
        "b": torch.randn(4, generator=generator, dtype=torch.float64).to(dtype),
        "c": torch.randn(4, 1, generator=generator, dtype=torch.float64).to(dtype),
    }

    def loss(params):
        return ((torch.relu(x @ params["a"] + params["b"]) @ params["c"] - y) ** 2).mean()

    def by_rows(rows):
        out = []
        for row in rows:
            named = {"a": row[:12].view(3, 4), "b": row[12:16], "c": row[16:].view(4, 1)}
            grads = torch.func.grad(loss)(named)
            out.append(torch.cat([grads["a"].flatten(), grads["b"].flatten(), grads["c"].flatten()]))
        return torch.stack(out)

    return params, torch.func.grad(loss), by_rows


def test_network_is_the_same_as_its_flattened_parameters():
    params, gradient, by_rows = network()
    flat = torch.cat([tensor.flatten() for tensor in params.values()])
    for samples, centre in [(1, False), (10, False), (10, True)]:
        expected = goldstein(by_rows, flat, 0.1, samples, 3, centre=centre)
        found = goldstein_members(gradient, params, 0.1, samples, 3, centre=centre)
        assert isinstance(found, float) and found == pytest.approx(expected, rel=1e-13)
        calls = itertools.count()

        def shuffled(point, calls=calls):  # the keys come in another order every second time
            items = list(gradient(point).items())
            return dict(items[:: 1 if next(calls) % 2 else -1])

        assert found == goldstein_members(shuffled, params, 0.1, samples, 3, centre=centre)
    norm = torch.cat([g.flatten() for g in gradient(params).values()]).norm().item()
    assert goldstein_members(gradient, params, 1e-9, 5, 0) == pytest.approx(norm, rel=1e-6)


def test_network_points_keep_shapes_and_dtypes_and_the_member_is_untouched():
    params, gradient, _ = network(torch.float32)
    before = {name: tensor.clone() for name, tensor in params.items()}
    seen = []
    found = goldstein_members(lambda p: seen.append(p) or gradient(p), params, 0.1, 6, 0)
    assert len(seen) == 6 and np.isfinite(found)
    for point in seen:
        assert {n: (t.shape, t.dtype) for n, t in point.items()} == {n: (t.shape, t.dtype) for n, t in before.items()}
        length = sum(((point[n] - before[n]) ** 2).sum() for n in before) ** 0.5
        assert 0 < length <= 0.1 * (1 + 1e-6)
    assert all(torch.equal(params[name], before[name]) for name in before)
    exact = goldstein_members(network()[1], {n: t.double() for n, t in params.items()}, 0.1, 6, 0)
    assert found == pytest.approx(exact, rel=1e-4)


def test_dead_network_is_clarke_critical_and_e5_zero_init_is_not():
    """Zero hidden weights with a negative bias: F is constant nearby, m_eps = 0. E5 at 0: gradients do not vanish."""
    _, gradient, _ = network()
    dead = {"a": torch.zeros(3, 4).double(), "b": -torch.ones(4).double(), "c": torch.zeros(4, 1).double()}
    assert goldstein_members(gradient, dead, EPS, 10, 0) == 0
    x = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)

    def e5(params):  # h = relu(w x) - relu(-w x), a linear model; loss (h - x)^2, gradient at w = 0 is -2 mean x^2 = -4
        return ((torch.relu(params["w"] * x) - torch.relu(-params["w"] * x) - x) ** 2).mean()

    zero = {"w": torch.zeros((), dtype=torch.float64)}
    assert torch.func.grad(e5)(zero)["w"] == 0
    assert goldstein_members(torch.func.grad(e5), zero, EPS, 10, 0) == pytest.approx(4, abs=4 * EPS)


@pytest.mark.parametrize("radius", [0, -1.0, np.nan, np.inf])
def test_radius_is_checked(radius):
    with pytest.raises(ConfigurationError, match=r"radius=.*allowed is a finite number above 0"):
        goldstein(E1, at(0.0), radius, 5, 0)


@pytest.mark.parametrize("samples", [0, -1, 2.5, "4"])
def test_samples_are_checked(samples):
    for use in (lambda: goldstein(E1, at(0.0), EPS, samples, 0), lambda: goldstein_members(E1, {}, EPS, samples, 0)):
        with pytest.raises(ConfigurationError, match=r"samples=.*allowed is an integer of at least 1"):
            use()


def test_shapes_are_checked():
    with pytest.raises(ConfigurationError, match=r"gradient=shape \[5, 2\]: allowed is shape \[5, 3\]"):
        goldstein(lambda rows: rows[:, :2], np.zeros(3), EPS, 5, 0)
    with pytest.raises(ConfigurationError, match=r"w=shape \[4, 2\] with 3 seeds"):
        goldstein_batch(lambda rows: rows, np.zeros((4, 2)), EPS, 5, range(3))
    with pytest.raises(ConfigurationError, match="samples=51: allowed is at most 50"):
        goldstein_members(*network()[1::-1], EPS, 51, 0)
