"""CL55, CL59-CL61: their laws against independent computations, verdicts on made-up columns, tiny runs, the figures."""

import math

import numpy as np
import pytest

from bench.claims.claim import Protocol
from bench.claims.figures import minimality as figures
from bench.claims.figures import step_sizes
from bench.claims.minimality import smooth_spiral, strict_saddle
from bench.claims.step_sizes import heavy_tails, single_jump
from bench.claims.step_sizes.heavy_ball import power_steps, window_ends
from shb.errors import ConfigurationError
from shb.problems import E14
from tests.bench.claims.synthetic import run_tiny, verdicts_of

TINY = {
    "CL55": {"seeds": 20, "engine": "eager", "steps": 256, "first": 32},
    "CL59": {"seeds": 5, "steps": 1024, "control_steps": 512},
    "CL60": {"seeds": 5, "steps": 512, "hulls": 5},
    "CL61": {"seeds": 20, "engine": "eager", "steps": 64, "exit_seeds": 20},
}


# -- CL55 ---------------------------------------------------------------------------------------------------------


def test_the_response_is_the_largest_value_after_one_kick():
    assert single_jump.response(0.1, 0.0) == 0.1
    alpha, beta, w = 0.01, 0.9, [0.0, 0.01]
    for _ in range(300):
        w.append(w[-1] - alpha * w[-1] + beta * (w[-1] - w[-2]))
    assert single_jump.response(alpha, beta) == max(w)
    assert single_jump.response(1e-6, beta) == pytest.approx(1e-5, rel=1e-3)  # alpha / (1 - beta)


def test_the_scales_are_sums_of_powers_over_the_windows():
    alpha = power_steps(2.0, 0.75, 256)
    found = single_jump.log_scales(alpha, 0.0, 1.5, corrected=False)
    w128 = slice(127, 256)  # the steps that lead to w_128 .. w_256
    assert found[-1] == pytest.approx(math.log((alpha[w128] ** 1.5).sum()) / 1.5, abs=1e-3)
    factor = 1 + 1.5 * 2.5 / (2 * 0.5) / alpha[w128].sum()
    assert single_jump.log_scales(alpha, 0.0, 1.5)[-1] - found[-1] == pytest.approx(math.log(factor) / 1.5, abs=1e-9)


@pytest.mark.parametrize("p", [1.2, 1.5])
def test_the_level_of_the_maximum_is_that_of_the_law(p):
    """Mean of log max over [K/2, K] of the plain recursion: (log S + gamma) / p, for SGD within 0.06."""
    random, steps = np.random.default_rng(0), 4096
    alpha, n = power_steps(2.0, 0.75, steps), 1500
    w, largest = np.zeros(n), np.zeros(n)
    for k in range(steps):
        w = w - alpha[k] * (w + random.choice([-1, 1], n) * random.random(n) ** (-1 / p))
        largest = np.maximum(largest, np.abs(w)) if k + 1 >= steps // 2 else largest
    expected = single_jump.log_scales(alpha, 0.0, p)[-1] + np.euler_gamma / p
    assert np.log(largest).mean() == pytest.approx(expected, abs=0.06 + 4 * math.pi / 6**0.5 / p / n**0.5)


def maxima(shift=0.0, gaussian=0.5, dependence=1.0):
    """Slopes of the law, shifted all together; `dependence`: on q, `gaussian`: of the slopes under Gaussian noise."""
    ends, random, n = window_ends(4096), np.random.default_rng(0), 1000

    def columns(slope):
        return {"distance_max": ends**slope * np.exp(0.1 * random.normal(size=(n, len(ends)))), "diverged": np.zeros(n)}

    runs = {
        heavy_tails.case(p, q, b): columns(1 / p - 0.75 - dependence * (q - 0.75) + shift)
        for p, q in heavy_tails.LAWS
        for b in heavy_tails.BETAS
    }
    for b in heavy_tails.BETAS:
        for q, suffix in ((0.75, ""), (0.6, " slow")):
            runs[f"gaussian beta {b:g}{suffix}"] = columns(-q * gaussian)
    return runs


def test_cl55_verdicts():
    sizes = {"steps": 4096, "first": 64}
    assert {v for v, _ in verdicts_of("CL55", sizes, maxima()).values()} == {"SUPPORTED"}
    off = verdicts_of("CL55", sizes, maxima(shift=-0.15))
    assert (off["CL55a"][0], off["CL55b"][0], off["CL55c"][0]) == ("SUPPORTED", "REFUTED", "VOID")
    assert verdicts_of("CL55", sizes, maxima(dependence=0.0))["CL55a"][0] == "REFUTED"
    assert verdicts_of("CL55", sizes, maxima(gaussian=1.0))["CL55a"] == ("VOID", (True, True, False, False))
    diverged = maxima()
    diverged[heavy_tails.case(1.2, 0.75, 0.0)]["diverged"][0] = 1
    assert {v for v, _ in verdicts_of("CL55", sizes, diverged).values()} == {"OUT-OF-SCOPE"}


# -- CL59 ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_speed_in_the_valley_is_that_of_gradient_flow():
    """Small gradient steps from anywhere near the valley: du / dt after the transient."""
    problem = E14(winding=smooth_spiral.WINDING, width=smooth_spiral.WIDTH)
    gradient, step = problem.field().pieces, 0.05
    w = np.array([2.3, 0.9])
    for _ in range(2000):
        w = w - step * gradient(w, 0.0)[0]
    u = [smooth_spiral.WIDTH / (np.hypot(*w) - 1)]
    for _ in range(200):
        w = w - step * gradient(w, 0.0)[0]
    u.append(smooth_spiral.WIDTH / (np.hypot(*w) - 1))
    assert (u[1] - u[0]) / (200 * step) == pytest.approx(smooth_spiral.valley_speed((u[0] + u[1]) / 2), rel=0.01)


def test_the_speed_tends_to_its_limit():
    k = smooth_spiral.WINDING
    limit = (k * k - 1) / (k * k * (k * k + 1))
    assert smooth_spiral.valley_speed(60.0) * math.exp(60.0) == pytest.approx(limit, rel=0.2)  # 1 / r^2 is left
    assert smooth_spiral.valley_speed(60.0) * math.exp(60.0) * (1 + 4 / 60) ** 2 == pytest.approx(limit, rel=0.02)


def test_too_few_steps_to_record_are_refused():
    assert len(smooth_spiral.recorded(512)) == 65 and smooth_spiral.recorded(512)[-17] == 256
    with pytest.raises(ConfigurationError, match=r"claim\.steps=100: allowed is at least 512"):
        smooth_spiral.recorded(100)


# -- CL61 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "beta"), [(0.02, 0.0), (0.02, 0.9), (0.005, 0.5)])
def test_the_clock_to_leave_is_that_of_the_plain_recursion(step, beta):
    random, n, alpha = np.random.default_rng(1), 4000, step * (1 - beta)
    before = now = np.zeros(n)
    left = np.full(n, -1)
    for k in range(round(10 / step)):
        drift = -2 * now + 4 * now**3 + strict_saddle.SIGMA * random.normal(size=n)
        before, now = now, now - alpha * drift + beta * (now - before)
        left = np.where((left < 0) & (np.abs(now) > strict_saddle.LEVEL), k + 1, left)
        now = np.clip(now, -1, 1)  # what comes after does not matter
    assert (left > 0).all()
    clock = step * left
    assert clock.mean() == pytest.approx(strict_saddle.clock_to_leave(step, beta), abs=0.02 + 4 * clock.std() / n**0.5)


def test_the_clock_grows_like_a_quarter_of_the_logarithm():
    early, late = (strict_saddle.clock_to_leave(step, 0.9) for step in (1e-5, 1e-7))
    assert late - early == pytest.approx(math.log(100) / 4, abs=1e-3)


# -- tiny runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return {claim: run_tiny(claim, sizes) for claim, sizes in TINY.items()}


@pytest.mark.slow
def test_a_tiny_run_of_each(tiny):
    for claim, (_, parts) in tiny.items():
        assert [part.id for part in parts] == [f"{claim}{letter}" for letter in "abc"]
        assert all(part.controls and part.of for part in parts)
    fires = [part.prediction.refuted_by(one.estimate, 0.05) for part in tiny["CL60"][1][:2] for one in part.controls]
    assert sum(fires) >= 6
    assert [part.shown.value for part in tiny["CL60"][1]] == pytest.approx([1, 0, 1], abs=0.2)


@pytest.mark.slow
def test_the_figures(tiny):
    protocols = {claim: Protocol("quick", sizes) for claim, sizes in TINY.items()}
    results = {claim: columns for claim, (columns, _) in tiny.items()}
    assert figures.figure({}, {}) is None
    whole = figures.figure(protocols, {claim: results[claim] for claim in ("CL59", "CL60", "CL61")})
    assert [panel.get_xlabel() for panel in whole.axes] == ["k (steps)", "k (steps)", "effective step a"]
    (panel,) = step_sizes.figure(protocols, {"CL55": results["CL55"]}).axes
    assert panel.get_title().startswith("E13")
