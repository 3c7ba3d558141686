"""CL14-CL18: parts on made-up columns whose truth is known, and one tiny run of each claim."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.claims.claim import Protocol
from bench.claims.figures import step_sizes as figures
from bench.claims.step_sizes import boundedness, constant_step, logarithmic_steps, slow_horizon, summable_steps
from bench.claims.step_sizes.heavy_ball import late_slopes, unbounded, window_ends
from bench.claims.step_sizes.quasipotential import quasipotential
from bench.claims.verdict import alone
from bench.statistics.estimates import PartlyIdentified, Proportion
from shb.errors import ConfigurationError
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 400
RNG = np.random.default_rng(5)
BOUNDED = {"diverged": np.zeros(N)}


@pytest.fixture(autouse=True)
def same_noise_for_every_test():
    """Whatever tests ran before."""
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state


def power_law(exponent, steps, level=1.0, n=N):
    """Window maxima level K^exponent with independent 20 % noise: [n, J]."""
    ends = window_ends(steps)
    return level * ends**exponent * np.exp(0.2 * RNG.standard_normal((n, len(ends))))


# -- what the claims share --------------------------------------------------------------------------------------


def test_late_slopes_are_exact_for_a_power_law_and_ignore_early_windows():
    ends = window_ends(1024)
    assert ends.tolist() == [2**j for j in range(1, 11)]
    values = np.where(ends < 64, 7.0, ends**-0.6) * np.array([[1.0], [3.0]])
    assert late_slopes(values, 1024, 64) == pytest.approx([-0.6, -0.6], abs=1e-12)
    assert abs(late_slopes(values, 1024, 2)[0] + 0.6) > 0.1


def test_divergence_is_named():
    assert unbounded(a=BOUNDED, b=BOUNDED) is None
    assert "3 of 5 runs of b" in unbounded(a=BOUNDED, b={"diverged": np.array([1.0, 1, 1, 0, 0])})


def test_a_partly_identified_share_does_not_shrink_to_a_point():
    for n in (100, 10_000):
        low, high = PartlyIdentified(n // 10, n // 5, n).interval()
        assert low < 0.1 < 0.8 < high
    low, high = PartlyIdentified(10_000 // 10, 10_000 // 5, 10_000).interval()
    assert (low, high) == pytest.approx((0.1, 0.8), abs=0.01)
    decided = PartlyIdentified(60, 40, 100)
    assert decided.ends(0.05) == pytest.approx(Proportion(60, 100).test_ends(0.05))
    with pytest.raises(ConfigurationError):
        PartlyIdentified(60, 41, 100)


# -- CL14 ---------------------------------------------------------------------------------------------------------


def summable(stop=summable_steps.LIMIT, arrived=0.01, shift=0.0, sgd=8.36):
    noise = 0.5 * RNG.standard_normal(N)
    noisy = summable_steps.stopping_point(1024) + shift + noise
    return {
        "summable": {"clarke_distance": np.array([stop])},
        "divergent_sum": {"clarke_distance": np.array([arrived])},
        "noisy": {"w0": noisy},
        "noisy_divergent_sum": {"w0": arrived + noise - noise.mean()},
        "sgd": {"clarke_distance": np.array([sgd])},
        "noisy_sgd": {"w0": sgd + noise - noise.mean()},
    }


def test_the_stopping_point_is_the_recursion():
    w, velocity = 10.0, 0.0
    for k in range(50):
        velocity = 0.5 * velocity - 1 / (k + 1) ** 2
        w += velocity
    assert summable_steps.stopping_point(50) == pytest.approx(w, abs=1e-12)
    assert pytest.approx(6.7101, abs=1e-4) == summable_steps.LIMIT


def test_cl14_verdicts():
    sizes = {"noisy_steps": 1024}
    assert verdicts_of("CL14", sizes, summable()) == {
        "CL14a": ("SUPPORTED", (True, True)),
        "CL14b": ("SUPPORTED", (True, True)),
    }
    wrong = verdicts_of("CL14", sizes, summable(stop=6.8, shift=0.4))
    assert (wrong["CL14a"][0], wrong["CL14b"][0]) == ("REFUTED", "REFUTED")
    silent = verdicts_of("CL14", sizes, summable(arrived=6.71))
    assert silent == {"CL14a": ("VOID", (False, True)), "CL14b": ("VOID", (False, True))}
    silent = verdicts_of("CL14", sizes, summable(sgd=6.71))
    assert silent == {"CL14a": ("VOID", (True, False)), "CL14b": ("VOID", (True, False))}


# -- CL15 ---------------------------------------------------------------------------------------------------------

LOG_SIZES = {"power_steps": 4096, "log_steps": 16384}


def gumbel_maxima(scale=1.0):
    """Window maxima m at c / log k by extreme value theory: V(m) / c log K = log K + Gumbel noise."""
    log_k = np.log(window_ends(16384))
    cost = np.maximum(log_k + stats.gumbel_r.rvs(size=(N, len(log_k)), random_state=3) - 2, 0.1) / log_k
    levels = np.linspace(0, 0.99, 2000)
    return scale * np.interp(logarithmic_steps.C * cost, quasipotential(levels), levels)


def maxima(power=1.0, log=None, sgd=None):
    results = {
        f"q{q} beta{b}": {"distance_max": power_law(-power * q / 2, 4096), **BOUNDED}
        for q in logarithmic_steps.QS
        for b in logarithmic_steps.BETAS
    }
    log = gumbel_maxima() if log is None else log
    sgd = 0.3 * gumbel_maxima() if sgd is None else sgd
    results["sgd unscaled"] = {"distance_max": sgd[:, : len(window_ends(4096))], **BOUNDED}
    return results | {f"log beta{b}": {"distance_max": log, **BOUNDED} for b in logarithmic_steps.BETAS}


def test_cl15_verdicts():
    assert {part: verdict for part, (verdict, _) in verdicts_of("CL15", LOG_SIZES, maxima()).items()} == {
        "CL15a": "SUPPORTED",
        "CL15b": "SUPPORTED",
        "CL15c": "SUPPORTED",
    }
    assert verdicts_of("CL15", LOG_SIZES, maxima(log=gumbel_maxima(1.5)))["CL15c"][0] == "REFUTED"
    rising = verdicts_of("CL15", LOG_SIZES, maxima(power=-0.2))
    assert (rising["CL15a"][0], rising["CL15b"][0]) == ("REFUTED", "VOID")
    falling = verdicts_of("CL15", LOG_SIZES, maxima(log=power_law(-0.2, 16384)))
    assert (falling["CL15a"][0], falling["CL15b"][0]) == ("VOID", "REFUTED")
    assert verdicts_of("CL15", LOG_SIZES, maxima(sgd=gumbel_maxima()))["CL15c"][0] == "VOID"
    same = maxima()
    same["q0.4 beta0.0"]["distance_max"] = gumbel_maxima()[:, : len(window_ends(4096))]
    assert verdicts_of("CL15", LOG_SIZES, same)["CL15c"][0] == "VOID"
    one = maxima()
    one["q0.6 beta0.9"]["distance_max"] = power_law(0.1, 4096)  # one bad case among six refutes
    assert verdicts_of("CL15", LOG_SIZES, one)["CL15a"][0] == "REFUTED"
    diverged = maxima()
    diverged["log beta0.9"]["diverged"] = np.ones(N)
    assert {verdict for verdict, _ in verdicts_of("CL15", LOG_SIZES, diverged).values()} == {"OUT-OF-SCOPE"}


# -- CL16 ---------------------------------------------------------------------------------------------------------

CONSTANT_SIZES = {"window_steps": 4096}


def spread(factor=lambda a, b: 1.0, constant=0.05, decaying=-0.7, nesterov=0.5, decayed=0.01):
    deviation = RNG.standard_normal((N, 100))
    results = {
        f"{a} beta{b}": {
            "w0": -1 + math.sqrt(constant_step.variance(a, b) * factor(a, b)) * deviation,
            **BOUNDED,
        }
        for a in constant_step.ALPHAS
        for b in constant_step.BETAS
    }
    largest = constant_step.variance(constant_step.ALPHAS[0], constant_step.BETAS[1])
    results["nesterov"] = {"w0": -1 + math.sqrt(nesterov * largest) * deviation, **BOUNDED}
    law = constant_step.variance(constant_step.WINDOW_STEP, constant_step.BETAS[1])
    last = np.sign(deviation[:, 0]) * (1 + 0.01 * deviation[:, 1])  # of square 1, nearly
    results["constant"] = {"osc": power_law(constant, 4096), **BOUNDED}
    results["decaying"] = {"osc": power_law(decaying, 4096), "w0": -1 + math.sqrt(decayed * law) * last, **BOUNDED}
    return results


def test_l1_solves_the_stationary_equations():
    """P = A P A' + alpha^2 e e' for (w_k, w_{k-1}), solved by iteration."""
    alpha, beta = 0.3, 0.6
    transition, p = np.array([[1 + beta - alpha, -beta], [1.0, 0.0]]), np.zeros((2, 2))
    for _ in range(2000):
        p = transition @ p @ transition.T + np.diag([alpha**2, 0.0])
    assert constant_step.variance(alpha, beta) == pytest.approx(p[0, 0], rel=1e-9)
    assert constant_step.relaxation(0.1, 0.0) == 10  # 0.9^10 = 0.35
    assert constant_step.relaxation(0.2, 0.9) == 19  # |z|^2 = beta


def test_cl16_verdicts():
    good = verdicts_of("CL16", CONSTANT_SIZES, spread())
    assert {v for v, _ in good.values()} == {"SUPPORTED"} and all(all(fired) for _, fired in good.values())
    off = verdicts_of("CL16", CONSTANT_SIZES, spread(lambda a, b: 1.1 if (a, b) == (0.05, 0.9) else 1.0))
    assert off["CL16a"][0] == "REFUTED"
    same = {a: constant_step.variance(0.1, 0.0) / constant_step.variance(a, 0.0) for a in constant_step.ALPHAS}
    assert verdicts_of("CL16", CONSTANT_SIZES, spread(lambda a, b: same[a] / (1 + a)))["CL16b"][0] == "REFUTED"
    assert verdicts_of("CL16", CONSTANT_SIZES, spread(constant=-0.2))["CL16c"] == ("REFUTED", (True,))
    assert verdicts_of("CL16", CONSTANT_SIZES, spread(decaying=0.1))["CL16c"] == ("VOID", (False,))
    assert verdicts_of("CL16", CONSTANT_SIZES, spread(nesterov=1.0))["CL16a"] == ("VOID", (False, True))
    assert verdicts_of("CL16", CONSTANT_SIZES, spread(decayed=1.0))["CL16a"] == ("VOID", (True, False))
    # a momentum that makes the spread smaller still: then raising it is what halving the step is
    smaller = verdicts_of("CL16", CONSTANT_SIZES, spread(lambda a, b: 0.01 if b else 1.0))
    assert smaller["CL16b"][0] == "VOID"


# -- CL17 ---------------------------------------------------------------------------------------------------------

SLOW_SIZES = {"steps": 4096}


def horizon(slow=-0.2, level=3.0, good=0.05, constant=0.05, unscaled=-0.02):
    ends = window_ends(4096)
    exact = level * ends**slow * np.exp(0.01 * RNG.standard_normal((N, len(ends))))
    return {
        "slow_shb": {"distance_max": exact, **BOUNDED},
        "slow_sgd": {"distance_max": exact, **BOUNDED},
        "unscaled_sgd": {"distance_max": power_law(unscaled, 4096, level), **BOUNDED},
        "good": {"distance_max": np.full((N, len(ends)), good) + 1e-3 * ends**-0.5, **BOUNDED},
        "constant": {"distance_max": power_law(constant, 4096), **BOUNDED},
    }


def test_cl17_verdicts():
    assert verdicts_of("CL17", SLOW_SIZES, horizon()) == {
        "CL17a": ("INCONCLUSIVE", (True, True)),
        "CL17b": ("SUPPORTED", (True, True)),
    }
    assert verdicts_of("CL17", SLOW_SIZES, horizon(slow=-0.3, level=20.0))["CL17b"][0] == "REFUTED"
    assert verdicts_of("CL17", SLOW_SIZES, horizon(slow=0.1))["CL17a"][0] == "REFUTED"  # stalled
    assert verdicts_of("CL17", SLOW_SIZES, horizon(level=0.2))["CL17a"][0] == "SUPPORTED"  # arrived
    assert verdicts_of("CL17", SLOW_SIZES, horizon(good=0.5))["CL17a"] == ("VOID", (False, True))
    assert verdicts_of("CL17", SLOW_SIZES, horizon(constant=-0.3))["CL17a"] == ("VOID", (True, False))
    assert verdicts_of("CL17", SLOW_SIZES, horizon(unscaled=-0.2))["CL17b"] == ("VOID", (False, True))
    assert verdicts_of("CL17", SLOW_SIZES, horizon(constant=-0.2))["CL17b"] == ("VOID", (True, False))


# -- CL18 ---------------------------------------------------------------------------------------------------------


def runs(n, escaped=0, distance=0.1):
    sup = np.where(np.arange(n) < escaped, np.nan, 5.0)
    return {"sup_norm": sup, "diverged": np.isnan(sup) * 1.0, "clarke_distance": np.full(n, distance)}


def bounded(e1=0, quartic=200, small=0, slow=0.04, network=0.08, unstable=200, far=0, kept=200):
    def distances(n, beyond):
        bound = 6 * boundedness.deviation(256, 0.0)
        return {"distance_max": np.where(np.arange(n) < beyond, 1.1, 0.8)[:, None] * bound}

    results = {f"{p} beta{b}": runs(10_000) for p in ("e1", "e6") for b in (0.0, 0.9)}
    results["e1 beta0.9"] = runs(10_000, e1)
    results = {name: one | distances(10_000, far) for name, one in results.items()}
    results["kept step"] = runs(200) | distances(200, kept)
    results |= {"quartic": runs(200, quartic), "quartic small": runs(200, small), "unstable": runs(200, unstable)}
    for loss, growth in (("cross_entropy", network), ("squared", slow)):
        early = runs(16)["sup_norm"]
        late = early * np.exp(growth * RNG.lognormal(0, 0.1, 16))
        results |= {f"network {loss}": {"sup_norm": late, "diverged": np.zeros(16)}}
        results |= {f"network {loss} K/4": {"sup_norm": early, "diverged": np.zeros(16)}}
    return results


@pytest.mark.parametrize(("sup", "diverged"), [(math.nan, 0), (math.inf, 0), (2e6, 0), (5.0, 1)])
def test_an_escaped_run_is_counted_however_it_shows(sup, diverged):
    columns = {"sup_norm": np.array([5.0, sup]), "diverged": np.array([0.0, diverged])}
    assert boundedness.escaped(columns) == Proportion(1, 2)


def test_cl18_verdicts():
    sizes = {"network_steps": 500, "steps": 512}
    assert {part: v for part, (v, _) in verdicts_of("CL18", sizes, bounded()).items()} == {
        "CL18a": "SUPPORTED",
        "CL18b": "OUT-OF-SCOPE",
        "CL18c": "SUPPORTED",
        "CL18d": "SUPPORTED",
    }
    assert verdicts_of("CL18", sizes, bounded(far=100))["CL18d"][0] == "REFUTED"
    assert verdicts_of("CL18", sizes, bounded(kept=0))["CL18d"] == ("VOID", (False,))
    assert boundedness.deviation(256, 0.0) == pytest.approx((0.5 / 266**0.75 / 2) ** 0.5, rel=0.01)
    assert boundedness.deviation(256, 0.9) == pytest.approx(boundedness.deviation(256, 0.0), rel=0.01)
    assert verdicts_of("CL18", sizes, bounded(e1=100))["CL18a"][0] == "REFUTED"
    assert verdicts_of("CL18", sizes, bounded(e1=5))["CL18a"][0] == "INCONCLUSIVE"
    tame = verdicts_of("CL18", sizes, bounded(quartic=0))
    assert (tame["CL18a"][0], tame["CL18b"][0]) == ("VOID", "SUPPORTED")  # not OUT-OF-SCOPE by construction
    assert verdicts_of("CL18", sizes, bounded(small=200))["CL18b"][1] == (False,)
    assert verdicts_of("CL18", sizes, bounded(network=0.01))["CL18c"][0] == "REFUTED"
    assert verdicts_of("CL18", sizes, bounded(slow=0.08))["CL18c"][0] == "VOID"
    assert verdicts_of("CL18", sizes, bounded(unstable=0))["CL18a"] == ("VOID", (False, True))


# -- tiny runs ------------------------------------------------------------------------------------------------------

TINY = {
    "CL14": {"steps": 256, "noisy_steps": 64, "seeds": 50, "control_seeds": 5},
    "CL15": {"seeds": 20, "log_seeds": 20, "power_steps": 1024, "log_steps": 1024},
    "CL16": {"seeds": 10, "points": 3, "burn_in": 2, "window_steps": 512, "window_seeds": 10},
    "CL17": {"seeds": 20, "steps": 512},
    "CL18": {"seeds": 20, "steps": 20, "quartic_seeds": 5, "network_seeds": 2, "network_steps": 8},
}


@pytest.mark.parametrize("claim", TINY)
def test_a_tiny_run(claim):
    results, parts = run_tiny(claim, TINY[claim])
    assert len(parts) in (2, 3, 4) and all(part.controls for part in parts)
    if claim == "CL14":
        tail = 2 / 256  # of sum alpha / (1 - beta)
        assert results["summable"]["w0"][0, -1] == pytest.approx(summable_steps.LIMIT + tail, abs=1e-3)
        assert results["noisy"]["w0"].std() > 0.5
    if claim == "CL17":
        assert results["slow_shb"]["distance_max"][:, 0] == pytest.approx(3.0, abs=0.2)
        assert alone(slow_horizon.ARRIVES, slow_horizon.convergence(results["slow_sgd"], 512)) == "INCONCLUSIVE"
    if claim == "CL18":
        assert parts[1].out_of_scope and results["quartic small"]["diverged"].sum() == 0


@pytest.mark.slow
def test_the_figure_has_a_panel_for_each_claim_that_ran():
    protocols = {claim: Protocol("quick", TINY[claim]) for claim in ("CL14", "CL15", "CL17", "CL18")}
    results = {claim: run_tiny(claim, TINY[claim])[0] for claim in ("CL14", "CL17", "CL18")}
    assert figures.figure({"CL18": protocols["CL18"]}, {"CL18": results["CL18"]}) is None
    whole = figures.figure(protocols, results)
    assert [panel.get_xlabel() for panel in whole.axes] == ["k (steps)", "K (steps)"]
    assert all(panel.get_ylabel() for panel in whole.axes)
    limit = whole.axes[0].get_lines()[2].get_ydata()
    assert limit[0] == summable_steps.LIMIT
