"""CL9-CL13: parts on made-up columns whose truth is known, and one tiny run of each claim."""

import math

import numpy as np
import pytest

from bench.cell.cell import build_cell
from bench.cell.config import compose_config
from bench.claims.convergence import essential_accumulation, flat_valley, momentum_range, sample_laws, second_order
from bench.claims.experiment import MEASURES
from bench.claims.step_sizes.constant_step import variance
from bench.claims.step_sizes.heavy_ball import power_steps, window_ends
from bench.claims.trajectories import trajectories
from shb.errors import ConfigurationError
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 400
RNG = np.random.default_rng(6)
BOUNDED = {"diverged": np.zeros(N), "sup_norm": np.ones(N)}


@pytest.fixture(autouse=True)
def same_noise_for_every_test():
    """Whatever tests ran before."""
    RNG.bit_generator.state = np.random.default_rng(6).bit_generator.state


def only(found):
    """The verdicts without the controls."""
    return {part: verdict for part, (verdict, _) in found.items()}


# -- CL9 ----------------------------------------------------------------------------------------------------------


def shares(early, late, controls=1.0, bad=None):
    noise = 1 + 0.1 * RNG.standard_normal((N, 1))
    results = {
        name: {"occupation": noise * np.array([[early, late]]), **BOUNDED} for name in essential_accumulation.CASES
    }
    if bad:
        results["E1, beta 0.9"]["occupation"] = noise * np.array([bad])
    trapped = np.full((20, 2), controls)
    return results | {name: {"occupation": trapped} for name in essential_accumulation.CONTROLS}


def test_cl9_verdicts():
    sizes = {"steps": 8192}
    assert 0.05 < essential_accumulation.limit(8192) < 0.25
    assert essential_accumulation.limit(2**18) == pytest.approx(0.05)
    good = verdicts_of("CL9", sizes, shares(0.1, 0.04))
    assert only(good) == {"CL9a": "SUPPORTED", "CL9b": "SUPPORTED"}
    assert only(verdicts_of("CL9", sizes, shares(0.9, 0.5))) == {"CL9a": "REFUTED", "CL9b": "SUPPORTED"}
    assert only(verdicts_of("CL9", sizes, shares(0.04, 0.04))) == {"CL9a": "SUPPORTED", "CL9b": "REFUTED"}
    assert only(verdicts_of("CL9", sizes, shares(0.1, 0.04, bad=(0.3, 0.3)))) == {"CL9a": "REFUTED", "CL9b": "REFUTED"}
    assert only(verdicts_of("CL9", sizes, shares(0.1, 0.04, controls=0.0))) == {"CL9a": "VOID", "CL9b": "VOID"}
    assert only(verdicts_of("CL9", {"steps": 2**18}, shares(0.2, 0.08)))["CL9a"] == "REFUTED"


# -- CL10 ---------------------------------------------------------------------------------------------------------


def valley(last=1e-9, factor=1.0, undamped=0.5, sgd=0.01):
    def runs(q, factor, last):
        path, drawn = np.empty((4000, 3)), RNG.standard_normal(4000)
        drawn /= math.sqrt(np.mean(drawn**2))  # the known truth is that of the sample
        path[:, 2] = math.sqrt(factor * flat_valley.wandering(q, 4096)) * drawn
        path[:, 1] = path[:, 2] - RNG.standard_normal(4000)
        return {"osc": np.geomspace(1, last, 12) * np.ones((4000, 1)), "w1": path, "diverged": np.zeros(4000)}

    results = {"undamped": runs(0.75, 1.0, undamped)}
    for q in (0.75, 0.4):
        results |= {str(q): runs(q, factor, last), f"sgd {q}": runs(q, sgd, last)}
    return results


def test_the_variance_along_the_valley_is_the_recursion():
    """By the linear recursion of (w, velocity), one unit of noise at a time."""
    alphas, total = power_steps(flat_valley.LR, 0.6, 30), 0.0
    for j in range(30):
        w = velocity = 0.0
        for k in range(30):
            velocity = flat_valley.BETA * velocity - alphas[k] * (k == j)
            w += velocity
        total += w * w
    assert flat_valley.wandering(0.6, 30) == pytest.approx(total, rel=1e-12)


def test_cl10_verdicts():
    sizes = {"steps": 4096}
    good = verdicts_of("CL10", sizes, valley())
    assert only(good) == dict.fromkeys(("CL10a", "CL10b", "CL10c"), "SUPPORTED")
    wrong = only(verdicts_of("CL10", sizes, valley(last=1e-3, factor=1.2)))
    assert wrong == dict.fromkeys(("CL10a", "CL10b", "CL10c"), "REFUTED")
    assert only(verdicts_of("CL10", sizes, valley(undamped=1e-9)))["CL10a"] == "VOID"
    without_momentum = only(verdicts_of("CL10", sizes, valley(sgd=1.0)))
    assert without_momentum["CL10b"] == without_momentum["CL10c"] == "VOID"
    not_growing = flat_valley.wandering(0.4, 256) / flat_valley.wandering(0.4, 4096)
    assert only(verdicts_of("CL10", sizes, valley(factor=not_growing)))["CL10c"] == "REFUTED"


# -- CL11 ---------------------------------------------------------------------------------------------------------


def oscillations(slope=-0.6, level=None, bad=None, cauchy=0.5, features=40.0):
    ends = window_ends(2048)
    shared = np.exp(0.3 * RNG.standard_normal((N, len(ends))))
    results = {
        law: {"osc": (level or {}).get(law, 1.0) * shared * ends**slope, **BOUNDED}
        for law in (*sample_laws.COVERED, *sample_laws.UNCOVERED)
    }
    for law in results:
        results[law]["osc"] = results[law]["osc"] * np.exp(0.02 * RNG.standard_normal(shared.shape))
    if bad:
        results[bad]["osc"] = shared * ends**0.1
    heavy = {"osc": shared * 100 * ends**cauchy, **BOUNDED}
    runaway = {"osc": shared * ends**features, "diverged": np.zeros(N), "sup_norm": np.full(N, 1e9)}
    runaway["osc"][:5] = np.inf  # these overflowed
    return results | {"cauchy": heavy, "cauchy features": runaway}


def test_cl11_verdicts():
    sizes = {"steps": 2048}
    all_parts = ("CL11a", "CL11b", "CL11c")
    good = verdicts_of("CL11", sizes, oscillations())
    assert only(good) == dict.fromkeys(all_parts, "SUPPORTED")
    bad = only(verdicts_of("CL11", sizes, oscillations(bad="mixture")))
    assert (bad["CL11a"], bad["CL11b"]) == ("REFUTED", "SUPPORTED")
    assert only(verdicts_of("CL11", sizes, oscillations(bad="cantor")))["CL11b"] == "REFUTED"
    assert only(verdicts_of("CL11", sizes, oscillations(level={"uniform": 1.3})))["CL11c"] == "REFUTED"
    assert only(verdicts_of("CL11", sizes, oscillations(level={"uniform": 1.05})))["CL11c"] == "SUPPORTED"
    assert verdicts_of("CL11", sizes, oscillations(features=-0.6))["CL11a"] == ("VOID", (False, True))
    tame = verdicts_of("CL11", sizes, oscillations(cauchy=-0.6))
    assert tame["CL11a"] == ("VOID", (True, False))
    diverged = oscillations()
    diverged["uniform"]["diverged"] = np.ones(N)
    assert set(only(verdicts_of("CL11", sizes, diverged)).values()) == {"OUT-OF-SCOPE"}


# -- CL12 ---------------------------------------------------------------------------------------------------------

STEPS = 3072


def decaying(r, start=3.0, flat=False, floor=1.0):
    """Energy in windows of the clock sum gamma: exponential decay to the balance of noise and damping."""
    gammas = np.sqrt(power_steps(second_order.LR, second_order.Q, STEPS))
    at = np.searchsorted(np.cumsum(gammas), np.arange(1, int(gammas.sum()))) + 1
    mean = (0 if flat else start * np.exp(-r * np.arange(1, len(at) + 1))) + second_order.balance(r, STEPS)[at] * floor
    mean = np.append(start, start * 1.05 ** np.arange(1, len(at) + 1) if flat else mean)
    speed2 = mean * (1 + 0.05 * RNG.standard_normal((N, len(mean))))
    gap = np.maximum(mean - speed2.mean(0) / 2, 0) * (1 + 0.02 * RNG.standard_normal((N, 1)))
    row = np.ones((N, 1))
    return {
        "gap": gap,
        "speed2": speed2,
        "gamma": row * np.append(np.nan, gammas[at - 1]),
        "index": row * np.append(0, at),
        **BOUNDED,
    }


def energies(flat=None, floor=1.0, gained=1.0, grows=True):
    results = {f"{p} r{r}": decaying(r, floor=floor) for p in second_order.NOISE for r in second_order.RS}
    if flat:
        results[flat] = decaying(0.5, flat=True)
    share = np.linspace(*((0, 1) if grows else (1, 0.5)), 9) * (1 + 0.5 * RNG.standard_normal((N, 1)))
    total = power_steps(second_order.LR, second_order.Q, STEPS).sum() / 2
    index = np.tile(np.linspace(0, STEPS, 9).round(), (N, 1))
    results["undamped"] = {
        "gap": gained * total * share / 2,
        "speed2": gained * total * share,
        "index": index,
        **BOUNDED,
    }
    return results


def test_the_energy_balance_tends_to_the_floor():
    m, alphas = second_order.balance(1.0, 2**18), power_steps(second_order.LR, second_order.Q, 2**18)
    assert m[0] == 0 and m[-1] == pytest.approx(math.sqrt(alphas[-1]) / 2, rel=0.02)


def test_cl12_verdicts():
    sizes = {"steps": STEPS}
    good = verdicts_of("CL12", sizes, energies())
    assert only(good) == dict.fromkeys(("CL12a", "CL12b", "CL12c"), "SUPPORTED")
    assert only(verdicts_of("CL12", sizes, energies(flat="absolute r1.0")))["CL12a"] == "REFUTED"
    assert only(verdicts_of("CL12", sizes, energies(floor=1.4)))["CL12b"] == "REFUTED"
    assert only(verdicts_of("CL12", sizes, energies(gained=1.4)))["CL12c"] == "REFUTED"
    assert only(verdicts_of("CL12", sizes, energies(gained=0.01)))["CL12c"] == "REFUTED"
    assert verdicts_of("CL12", sizes, energies(grows=False))["CL12a"] == ("VOID", (False,))
    silent = energies()
    like_damped = {name: silent["e1 r1.0"][name][:, -9:] for name in ("speed2", "index")}
    silent["undamped"] = {**silent["undamped"], **like_damped}
    assert verdicts_of("CL12", sizes, silent)["CL12b"][0] == "VOID"
    silent = energies()
    total = power_steps(second_order.LR, second_order.Q, STEPS).sum() / 2
    silent["e1 r2.0"]["gap"] = total - silent["e1 r2.0"]["speed2"] / 2 + 1e-3 * RNG.standard_normal((N, 1))
    assert verdicts_of("CL12", sizes, silent)["CL12c"] == ("VOID", (True, True, False))


def test_an_undamped_second_order_momentum_needs_the_flag():
    base = ("problem=e1", "optimizer=shb", "steps=4", "seeds=1", "device=cpu", "momentum_schedule=second_order")
    with pytest.raises(ConfigurationError, match=r"a number > 0, or 0 with optimizer\.allow_unstable=true"):
        build_cell(compose_config([*base, "momentum_schedule.r=0"]))
    for r in ("-0.1", "-1"):
        with pytest.raises(ConfigurationError, match=r"momentum_schedule\.r="):
            build_cell(compose_config([*base, f"momentum_schedule.r={r}", "optimizer.allow_unstable=true"]))
    cell = build_cell(compose_config([*base, "momentum_schedule.r=0", "optimizer.allow_unstable=true"]))
    assert cell.members[0].hyperparameters["momentum_schedule.r"] == 0.0 and cell.unstable == (True,)


def test_the_energy_observer():
    """F = w^2/2 without noise, by hand: y_{k+1} = (1 - r gamma) y_k - gamma w_k with constant gamma = 0.5."""
    overrides = ("problem=quadratic", "problem.sigma=0.0", "init=point", "init.value=2.0", "optimizer=shb", "steps=6")
    second = ("momentum_schedule=second_order", "momentum_schedule.r=0.4", "optimizer.lr=0.25")
    experiment = trajectories(*overrides, *second, seeds=2, observe={"energy": {"every": 1.0}})
    columns = MEASURES["trajectories"].function(experiment.settings, np.arange(2))
    w, y, rows = 2.0, 0.0, [(2.0, 0.0)]
    for k in range(6):
        y = (1 - 0.4 * 0.5) * y - 0.5 * w
        w += 0.5 * y
        if k % 2:  # the clock has reached 1, 2, 3
            rows.append((w * w / 2, y * y))
    assert np.stack([columns["gap"][0], columns["speed2"][0]], 1) == pytest.approx(np.array(rows), rel=1e-12)
    assert columns["index"][1].tolist() == [0, 2, 4, 6]


# -- CL13 ---------------------------------------------------------------------------------------------------------


def momenta(late=0, at_one=480, beyond=500, sup=1e4, edge=lambda b: 2 * (1 + b), nesterov=lambda b: b * np.nan):
    def ends(n, far):
        distance = np.where(np.arange(n) < far, 9.0, 0.0)
        return {"clarke_distance": distance, "diverged": np.zeros(n), "sup_norm": np.full(n, sup)}

    beta = np.linspace(-0.5, 0.95, 400)
    results = {f"beta {b}": ends(10_000, late if b == 0.9 else 0) for b in momentum_range.BETAS}
    results |= {"beta 1.0": ends(500, at_one), "beta 1.01": ends(500, beyond)}
    others = {"beta": beta, "boundary": nesterov(beta)}
    return results | {"boundary": {"beta": beta, "boundary": edge(beta)}, "boundary nesterov": others}


def test_cl13_verdicts():
    sizes = {"steps": 1536}
    assert only(verdicts_of("CL13", sizes, momenta())) == {"CL13a": "SUPPORTED", "CL13b": "SUPPORTED"}
    assert only(verdicts_of("CL13", sizes, momenta(late=100)))["CL13a"] == "REFUTED"
    assert verdicts_of("CL13", sizes, momenta(at_one=0))["CL13a"] == ("VOID", (False, True))
    assert verdicts_of("CL13", sizes, momenta(beyond=0))["CL13a"] == ("VOID", (True, False))
    assert only(verdicts_of("CL13", sizes, momenta(edge=lambda b: 2.05 * (1 + b))))["CL13b"] == "REFUTED"
    assert only(verdicts_of("CL13", sizes, momenta(edge=lambda b: b * np.nan)))["CL13b"] == "REFUTED"
    assert only(verdicts_of("CL13", sizes, momenta(edge=lambda b: 0 * b + 2.0)))["CL13b"] == "REFUTED"
    assert only(verdicts_of("CL13", sizes, momenta(nesterov=lambda b: 2 * (1 + b))))["CL13b"] == "VOID"
    diverged = momenta()
    diverged["beta 0.99"]["diverged"] = np.ones(10_000)
    assert only(verdicts_of("CL13", sizes, diverged))["CL13a"] == "REFUTED"


@pytest.mark.slow
def test_the_stability_boundary_of_one_momentum():
    """Row i depends on its own seed only, and lies at 2 (1 + beta)."""
    settings = {
        "steps": 512,
        "curvature": 4.0,
        "ratios": [0.97, 0.99, 1.01, 1.03],
        "betas": [0.2, 0.9],
        "device": "cpu",
    }
    both = momentum_range.stability_boundary(settings, np.array([3, 8]))
    alone = momentum_range.stability_boundary(settings, np.array([8]))
    assert both["boundary"][1] == alone["boundary"][0] and both["beta"][0] != both["beta"][1]
    assert both["boundary"] == pytest.approx(2 * (1 + both["beta"]))
    long = {**settings, "steps": 8192, "ratios": [0.97, 0.98, 0.985, 0.99, 1.01], "betas": [-0.5, 0.95]}
    found = momentum_range.stability_boundary(long, np.arange(40))  # stable iterates underflow
    assert found["boundary"] == pytest.approx(2 * (1 + found["beta"]))
    beyond = momentum_range.stability_boundary({**settings, "ratios": [1.02, 1.05]}, np.array([3]))
    assert np.isnan(beyond["boundary"]).all()


# -- tiny runs ------------------------------------------------------------------------------------------------------

TINY = {
    "CL9": {"seeds": 10, "steps": 512, "control_seeds": 4},
    "CL10": {"seeds": 40, "steps": 256, "control_seeds": 10},
    "CL11": {"seeds": 10, "steps": 128},
    "CL12": {"seeds": 10, "steps": 512},
    "CL13": {"seeds": 50, "steps": 200, "control_seeds": 20, "instances": 3, "boundary_steps": 512},
}


@pytest.mark.slow
@pytest.mark.parametrize("claim", TINY)
def test_a_tiny_run(claim):
    results, parts = run_tiny(claim, TINY[claim])
    assert len(parts) in (2, 3) and all(part.controls for part in parts)
    if claim == "CL9":
        evidence = parts[0].evidence()
        assert all(map(evidence.fires, evidence.controls))  # trap and rotation stay at share 1
        assert results["E1, SGD"]["occupation"].max() < 1
    if claim == "CL10":
        path = results["0.4"]["w1"]
        assert path.shape == (40, 3) and (path[:, 0] != path[:, 2]).all()
    if claim == "CL11":
        values = {law: results[law]["w0"] for law in (*sample_laws.COVERED, *sample_laws.UNCOVERED)}
        assert len({tuple(own) for own in values.values()}) == len(values)  # every law differs from every other
    if claim == "CL12":
        assert second_order.energy(results["undamped"])[:, 1:].min() > 0
        assert results["e1 r2.0"]["gap"][:, 0] == pytest.approx(results["e1 r0.5"]["gap"][:, 0])
    if claim == "CL13":
        tolerance = 5 * math.sqrt(variance(float(power_steps(0.1, 0.75, 200)[-1]), 0.9))
        assert momentum_range.failures(results["beta 0.9"], tolerance).hits == 0
        assert results["beta 1.01"]["sup_norm"].mean() > results["beta 0.9"]["sup_norm"].mean()
