"""Laws to their next order (theory.md 2.6) against exact recursions and simulations that share no code with them."""

import numpy as np
import pytest

from bench.claims.convergence.finite_step import moment_ratio, sharp_distance
from bench.claims.convergence.window_maximum import mean_maximum
from bench.claims.convergence.window_memory import window_oscillations
from bench.claims.step_sizes.quasipotential import largest_distance, quasipotential


def second_moment(momentum, curvature, last, q, k0, steps):
    """E w_K^2 over last / (2 lambda), propagated exactly from w = 0 with a_k = last ((K + k0) / (k + k0))^q."""
    moment = np.zeros((2, 2))  # of (w_k, w_{k-1})
    for a in (1 - momentum) * last * ((steps + k0) / (np.arange(steps) + k0)) ** q:
        one = np.array([[1 + momentum - a * curvature, -momentum], [1, 0]])
        moment = one @ moment @ one.T
        moment[0, 0] += a * a
    return moment[0, 0] / (last / (2 * curvature))


@pytest.mark.parametrize("momentum", [-0.5, 0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("last, q, k0, steps", [(0.02, 0.6, 2.5, 1024), (0.005, 0.6, 20, 8192), (0.2, 0.75, 300, 4096)])
def test_second_moment_of_the_recursion(momentum, last, q, k0, steps):
    """L3 with its next order, within 3 % of what it adds."""
    for curvature in (1.0, 0.4):
        exact = second_moment(momentum, curvature, last, q, k0, steps)
        law = moment_ratio(last, momentum, curvature, q, steps + k0)
        assert abs(exact - 1) > 0.002 and law == pytest.approx(exact, abs=0.03 * abs(exact - 1) + 2e-4)


@pytest.mark.parametrize("momentum, memory", [(0.0, 0.0), (0.5, 1.833), (0.9, 13.974), (0.95, 28.987)])
def test_lag_of_the_second_moment(momentum, memory):
    """The lag alone, in steps: 1 / (2 a lambda) + m, within 0.4 steps; 3/2 beta / (1 - beta) for m would not be."""
    exact = second_moment(momentum, 1.0, 0.03, 0.75, 4000, 8000)
    constant = 0.03 * (1 - momentum) / (2 * (1 + momentum))
    lag = (1 - constant - 1 / exact) * 12_000 / 0.75
    law = (1 - constant - 1 / moment_ratio(0.03, momentum, 1.0, 0.75, 12_000)) * 12_000 / 0.75
    assert lag == pytest.approx(law, abs=0.4)
    assert law == pytest.approx(1 / 0.06 + memory, abs=1e-2)


def sharp_run(momentum, noise, runs=1000, steps=3000, seed=2):
    """E|w| and E[|w_{k-1}|; sign change] of F = |w| at alpha = 1: per run, after 20 relaxation times."""
    rng = np.random.default_rng(seed)
    w = u = np.zeros(runs)
    start = int(20 * (noise**2 + 1) / (1 - momentum))
    size, crossing = np.zeros((2, runs))
    for k in range(start + steps):
        old, u = w, momentum * u - np.sign(w) - noise * rng.standard_normal(runs)
        w = w + u
        if k >= start:
            size += abs(w) / steps
            crossing += np.where(w * old < 0, abs(old), 0) / steps
    return size, crossing


@pytest.mark.parametrize("momentum, noise, tolerance", [(0.0, 1.0, 0.01), (0.5, 2.0, 0.04), (0.9, 2.0, 0.03)])
def test_distance_from_a_sharp_minimum(momentum, noise, tolerance):
    """L4: the identity with sign changes holds within 4 standard errors, its limit of large noise within a few %."""
    size, crossing = sharp_run(momentum, noise)
    a = 1 / (1 - momentum)
    residual = size + 2 * momentum * a * crossing - a * (1 + noise**2) / 2
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(len(size)) < 0.02 * size.mean()
    assert size.mean() / sharp_distance(a, momentum, noise) == pytest.approx(1, abs=tolerance)
    if momentum:
        assert size.mean() / (a * noise**2 / 2) > 1 + tolerance / 4  # L4 without the next order is too small


def test_quasipotential_of_gaussian_and_bounded_noise():
    """lambda L^2 / sigma^2 for Gaussian noise; below every large level for bounded noise, and the same near 0."""
    levels = np.array([0.0, 0.01, 0.5, 0.8])
    gaussian = quasipotential(levels, lambda p: 2.0 * p * p, curvature=3.0)  # sigma = 2
    np.testing.assert_allclose(gaussian, 3 * levels**2 / 4, rtol=1e-5)
    assert largest_distance(0.3, lambda p: 2.0 * p * p, curvature=3.0) == pytest.approx(np.sqrt(0.3 * 4 / 3), rel=1e-5)
    bounded = quasipotential(levels)
    assert bounded[1] == pytest.approx(1e-4, rel=1e-3) and (bounded[2:] > levels[2:] ** 2).all()
    ratios = [largest_distance(c) ** 2 / c for c in (0.05, 0.1, 0.3, 1.0)]
    np.testing.assert_allclose(ratios, [0.9834, 0.9668, 0.9015, 0.6882], atol=1e-4)
    with pytest.raises(ValueError, match=r"level 1, allowed: at most 0\.99"):
        quasipotential(1.0)
    with pytest.raises(ValueError, match=r"c=9, allowed"):
        largest_distance(9.0)


def test_quasipotential_is_the_rate_of_rare_levels():
    """-a log P(|x| > L) of x' = x - a (x + s), s = +-1, by the exact distribution on a grid: V(L) as a falls."""
    level, found = 0.6, []
    grid = np.linspace(-1, 1, 4001)
    for a in (0.05, 0.025):
        mass = np.full(len(grid), 1 / len(grid))
        moves = [np.clip((grid - a * (grid + s) + 1) / (grid[1] - grid[0]), 0, len(grid) - 1) for s in (-1, 1)]
        for _ in range(int(20 / a)):
            new = np.zeros(len(grid) + 1)
            for to in moves:
                low = to.astype(int)
                np.add.at(new, low, mass * (1 - (to - low)) / 2)
                np.add.at(new, low + 1, mass * (to - low) / 2)
            mass = new[:-1]
        found.append(np.log(mass[abs(grid) > level].sum()))
    rate = -(found[1] - found[0] - np.log(0.5) / 2) / (1 / 0.025 - 1 / 0.05)  # P ~ sqrt(a) exp(-V / a)
    assert rate == pytest.approx(quasipotential(level), rel=0.005)
    assert quasipotential(level) / level**2 > 1.09


@pytest.mark.slow
def test_quasipotential_straightens_the_window_maxima():
    """Slope of V(max) log K / c against log K at c / log k: 1 within 0.1, and above that of max^2 log K / c."""
    c, runs, steps = 0.3, 300, 2**16
    rng = np.random.default_rng(3)
    x, ends = np.zeros(runs), 2 ** np.arange(9, 17)
    highest = np.zeros((len(ends), runs))
    for k in range(steps):
        x = x - c / np.log(k + 2) * (x + rng.integers(0, 2, runs) * 2 - 1)
        row = (k + 1).bit_length() - 9
        if 0 <= row < len(ends):
            highest[row] = np.maximum(highest[row], abs(x))
    log_k = np.log(ends)
    weights = (log_k - log_k.mean()) / ((log_k - log_k.mean()) ** 2).sum()
    slope = weights @ (quasipotential(highest) / c * log_k[:, None])
    gaussian = weights @ (highest**2 / c * log_k[:, None])
    error = slope.std() / np.sqrt(runs)
    assert abs(slope.mean() - 1) < 0.1 + 2 * error < 0.15 and gaussian.mean() < slope.mean() - 2 * error


def test_window_maxima_with_memory():
    """SGD agrees with the limit process; the heavy ball stays below it, more so where steps are larger."""
    stops = (1024, 4096)
    a = 2 / (np.arange(4097) + 11.0) ** 0.75
    limit = np.array([mean_maximum(a[stop // 2 : stop + 1]) for stop in stops])
    sgd = window_oscillations(a, 0.0, stops, paths=500).mean(0) / limit
    shb = window_oscillations(a, 0.9, stops, paths=500).mean(0) / limit
    np.testing.assert_allclose(sgd, 1, atol=0.06)
    np.testing.assert_allclose(shb, [0.79, 0.88], atol=0.06)
