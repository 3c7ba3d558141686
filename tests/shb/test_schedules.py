"""Schedules against their formulas, and the same bits for a member in every table."""

import math

import numpy as np
import pytest

from shb.errors import ConfigurationError
from shb.schedules import SCHEDULES, schedule_table, second_order_momentum

STEPS = 60
K = np.arange(STEPS)

FORMULAS = [
    ("constant", {}, lambda k: 1.0),
    ("power", {}, lambda k: (k + 11) ** -0.75),
    ("power", {"q": 2.0, "k0": 0.0}, lambda k: 1 / (k + 1) ** 2),
    ("inverse_log", {}, lambda k: 1 / math.log(k + 2)),
    ("linear", {}, lambda k: 1 - k / STEPS),
    ("linear", {"final": 0.1}, lambda k: 1 - 0.9 * k / STEPS),
    ("cosine", {}, lambda k: math.cos(math.pi * k / STEPS / 2) ** 2),
    ("cosine", {"final": 0.1}, lambda k: 0.1 + 0.9 * math.cos(math.pi * k / STEPS / 2) ** 2),
    ("step", {}, lambda k: 1.0 if k < 30 else 0.1),
    ("step", {"gamma": 0.5, "step_size": 0.25}, lambda k: 0.5 ** (k // 15)),
]


@pytest.mark.parametrize(("name", "parameters", "formula"), FORMULAS)
def test_table_is_base_times_formula(name, parameters, formula):
    table = schedule_table(name, [0.2, 3.0], parameters, 0, STEPS, STEPS)
    assert table.shape == (STEPS, 2) and table.dtype == np.float64
    expected = np.array([formula(k) for k in range(STEPS)])
    assert np.allclose(table, expected[:, None] * [0.2, 3.0], rtol=1e-13, atol=1e-17)


def test_every_schedule_has_a_formula_here():
    assert {name for name, _, _ in FORMULAS} == set(SCHEDULES)
    assert len({schedule_table(name, [1.0], p, 7, 8, STEPS)[0, 0] for name, p, _ in FORMULAS if p == {}}) == 5


def test_a_chunk_is_a_slice():
    for name in SCHEDULES:
        whole = schedule_table(name, [0.2, 0.3], {}, 0, STEPS, STEPS)
        assert np.array_equal(schedule_table(name, [0.2, 0.3], {}, 13, 29, STEPS), whole[13:29])
        assert schedule_table(name, [0.2], {}, 5, 5, STEPS).shape == (0, 1)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [("power", {"q": (0.5, 1), "k0": (0, 20)}), ("cosine", {"final": (0, 1)}), ("step", {"gamma": (0.1, 1)})],
)
def test_bits_of_a_column_do_not_depend_on_the_other_members(name, ranges):
    source, members = np.random.default_rng(0), 37
    base = source.uniform(0.01, 1, members)
    # few distinct values, so that columns share factors
    parameters = {p: source.choice(source.uniform(*r, size=5), members) for p, r in ranges.items()}
    table = schedule_table(name, base, parameters, 0, STEPS, STEPS)
    for m in range(members):
        alone = schedule_table(name, base[m : m + 1], {p: float(v[m]) for p, v in parameters.items()}, 0, STEPS, STEPS)
        assert np.array_equal(alone[:, 0], table[:, m])


def test_factors_are_those_of_python_math():
    """A vectorised pow would give other last bits for some k."""
    q = 0.6180339887498949
    column = schedule_table("power", np.full(8, 0.3), {"q": q, "k0": 0.0}, 0, 3000, 3000)
    exact = np.array([0.3 * (1 / math.pow(k + 1, q)) for k in range(3000)])
    assert np.array_equal(column, np.repeat(exact[:, None], 8, axis=1))


def test_factor_is_computed_once_per_distinct_parameters(monkeypatch):
    calls = []
    power = SCHEDULES["power"]

    def counted(k, steps, q, k0):
        calls.append((k, q, k0))
        return power.factor(k, steps, q, k0)

    monkeypatch.setitem(SCHEDULES, "power", type(power)("power", power.parameters, counted, power.ranges))
    schedule_table("power", np.ones(100), {"q": np.repeat([0.6, 0.9], 50)}, 0, 10, 10)
    assert len(calls) == len(set(calls)) == 20


def test_step_drops_on_time_despite_rounding():
    # 0.1 * 24 = 2.4000000000000004 in floating point; drops are due at k = 2.4, 4.8, 7.2, 9.6, 12, ...
    table = schedule_table("step", [1.0], {"step_size": 0.1}, 0, 24, 24)[:, 0]
    assert np.allclose(table, 0.1 ** (np.arange(24) * 10 // 24), rtol=1e-12)


def test_cosine_does_not_rise_after_the_end():
    assert schedule_table("cosine", [1.0], {"final": 0.1}, 10, 15, 10)[:, 0] == pytest.approx(0.1)


def test_second_order_momentum():
    alpha = schedule_table("power", [0.04, 0.01], {}, 0, STEPS, STEPS)
    previous = np.concatenate([alpha[:1], alpha[:-1]])
    r = np.array([0.5, 2.0])
    beta = second_order_momentum(previous, alpha, r)
    for k in range(STEPS):
        for m in range(2):
            gamma = math.sqrt(alpha[k, m])
            gamma_before = math.sqrt(alpha[max(k - 1, 0), m])
            assert beta[k, m] == pytest.approx(gamma / gamma_before * (1 - r[m] * gamma), rel=1e-14)
    assert beta[0, 0] == pytest.approx(1 - 0.5 * math.sqrt(alpha[0, 0]))
    assert np.array_equal(second_order_momentum(alpha, alpha, 0.0), np.ones_like(alpha))
    assert np.array_equal(second_order_momentum(previous[:, :1], alpha[:, :1], r[:1]), beta[:, :1])


@pytest.mark.parametrize(
    ("name", "base", "parameters", "window", "message"),
    [
        ("powr", [1.0], {}, (0, 5, 5), "did you mean power"),
        ("power", [1.0], {"gama": 1}, (0, 5, 5), "parameter of schedule power"),
        ("step", [1.0], {"gama": 1}, (0, 5, 5), "did you mean gamma"),
        ("constant", [1.0], {"q": 1}, (0, 5, 5), "no parameters"),
        ("power", [1.0], {"q": float("nan")}, (0, 5, 5), "power.q"),
        ("power", [1.0], {"q": -1}, (0, 5, 5), "power.q=-1.0: allowed is numbers from 0 to 100"),
        ("power", [1.0], {"k0": -1}, (0, 5, 5), "power.k0"),
        ("cosine", [1.0], {"final": 1.5}, (0, 5, 5), "cosine.final"),
        ("step", [1.0], {"step_size": 0}, (0, 5, 5), "step.step_size"),
        ("power", [1.0, 2.0], {"q": [0.5] * 3}, (0, 5, 5), "one value per member"),
        ("power", 1.0, {}, (0, 5, 5), "shape"),
        ("power", [float("inf")], {}, (0, 5, 5), "finite"),
        ("power", [1.0], {}, (3, 2, 5), "start <= stop"),
        ("power", [1.0], {}, (-1, 2, 5), "0 <= start"),
        ("cosine", [1.0], {}, (0, 5, 0), "steps >= 1"),
    ],
)
def test_wrong_input_is_refused(name, base, parameters, window, message):
    with pytest.raises(ConfigurationError, match=message):
        schedule_table(name, base, parameters, *window)


@pytest.mark.parametrize("given", [([0.0], [1.0], 1.0), ([1.0], [-1.0], 1.0), ([1.0], [1.0], -1.0)])
def test_second_order_momentum_refuses_wrong_numbers(given):
    with pytest.raises(ConfigurationError):
        second_order_momentum(*given)
