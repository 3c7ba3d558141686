"""CL19-CL21: parts on made-up columns whose truth is known, the measures against scalar recursions, tiny runs."""

import numpy as np
import pytest
import torch

from bench.claims.claim import Protocol
from bench.claims.figures import inclusion as figures
from bench.claims.inclusion import crossing_time, lyapunov_decrease, tracking
from bench.claims.inclusion.paths import heavy_ball, paths
from bench.claims.trajectories import overrides_of
from shb.problems import E1
from shb.training import Plan, StackStep
from tests.bench.claims.synthetic import run_tiny, verdicts_of

STEPS = [0.04, 0.01, 0.0025]
N = 400
TRACKING = {"seeds": N, "effective_steps": STEPS}
TINY = {
    "CL19": {"seeds": 8, "effective_steps": [0.1, 0.05]},
    "CL20": {"replicas": 4},
    "CL21": {"seeds": 8, "control_seeds": 4, "effective_step": 0.02},
}


# -- CL19 -------------------------------------------------------------------------------------------------------


def tracked(slope=0.5, scale=1.0, smooth_slope=1.0, average_slope=0.0, average=1.4):
    """Errors `scale` times the predicted one at slope 1/2, with 30 % noise."""
    rng = np.random.default_rng(3)
    results = {}
    for problem, beta in tracking.RUNS:
        for step in STEPS:
            noise = np.exp(0.3 * rng.standard_normal(N) - 0.3**2 / 2)
            law = scale * tracking.expected_supremum(tracking.WINDOW) * 0.0025**0.5 * (step / 0.0025) ** slope
            columns = {"error": law * noise, "wrong": 1.4 * noise}
            other = average * (step / 0.0025) ** average_slope * noise[:64]
            results[tracking.name_of(problem, tracking.AVERAGE, step)] = {"error": other}
            if problem == "smooth":
                columns = {"error": np.full(2, step**smooth_slope)}
            results[tracking.name_of(problem, beta, step)] = columns
    return results


@pytest.mark.slow
def test_errors_of_order_sqrt_are_supported():
    assert {v for v, _ in verdicts_of("CL19", TRACKING, tracked()).values()} == {"SUPPORTED"}


@pytest.mark.parametrize("slope", [0.3, 1.0])
@pytest.mark.slow
def test_another_order_is_refuted(slope):
    got = verdicts_of("CL19", TRACKING, tracked(slope=slope))
    assert [got[f"CL19{letter}"][0] for letter in "abcd"] == ["REFUTED"] * 4


def test_the_size_of_the_error_is_judged_apart_from_its_order():
    got = verdicts_of("CL19", TRACKING, tracked(scale=1.3))
    assert got["CL19b"][0] == "SUPPORTED"
    assert got["CL19e"][0] == "REFUTED"


def test_an_average_that_tracks_as_well_voids_the_parts_with_momentum():
    got = verdicts_of("CL19", TRACKING, tracked(average_slope=0.5))
    assert [got[f"CL19{letter}"][0] for letter in "abcde"] == ["SUPPORTED", "VOID", "VOID", "VOID", "SUPPORTED"]
    law = tracking.expected_supremum(tracking.WINDOW) * 0.0025**0.5
    assert verdicts_of("CL19", TRACKING, tracked(average=law))["CL19e"][0] == "VOID"


def test_noise_that_makes_no_difference_voids_the_part_without_momentum():
    got = verdicts_of("CL19", TRACKING, tracked(smooth_slope=0.5))
    assert [got[f"CL19{letter}"][0] for letter in "ab"] == ["VOID", "SUPPORTED"]


def test_expected_supremum_agrees_with_simulated_ornstein_uhlenbeck_paths():
    rng, dt, runs = np.random.default_rng(0), 1e-3, 4000
    u, highest = np.zeros(runs), np.zeros(runs)
    for _ in range(round(2 / dt)):
        u = u * np.exp(-dt) + np.sqrt((1 - np.exp(-2 * dt)) / 2) * rng.standard_normal(runs)
        highest = np.maximum(highest, np.abs(u))
    missed = 0.5826 * np.sqrt(dt)  # between the nodes, -zeta(1/2) / sqrt(2 pi) (Broadie, Glasserman, Kou 1997)
    standard_error = highest.std() / np.sqrt(runs)
    assert abs(highest.mean() + missed - tracking.expected_supremum(2.0)) < 4 * standard_error


def test_without_noise_the_error_halves_with_the_step():
    def error(step):
        overrides = overrides_of(tracking.PROBLEMS["smooth"], heavy_ball(step, 0.0), {"steps": round(2 / step)})
        columns = tracking.run({"overrides": overrides, "device": "cpu"}, np.arange(1))
        assert "wrong" not in columns  # both clocks are one without momentum
        return columns["error"][0]

    w, x, largest = 1.5, 2.5, 0.0  # w' = -(1 + w), explicit steps against the exact flow
    for k in range(1, 41):
        w -= 0.05 * (1 + w)
        largest = max(largest, abs(1 + w - x * np.exp(-0.05 * k)))
    assert error(0.05) == pytest.approx(largest, rel=1e-3)
    assert error(0.05) / error(0.025) == pytest.approx(2, rel=0.1)


# -- CL20 -------------------------------------------------------------------------------------------------------


def measured(mean_z, mean_w=None, m=1.0, starts=3, replicas=100):
    """Replicas of `starts` starts whose F changes by mean_z and mean_w (per start, or one number) with spread 1/10."""
    rng = np.random.default_rng(1)
    index = np.arange(starts * replicas) % starts
    mean_w = mean_z if mean_w is None else mean_w

    def series(mean):
        last = np.broadcast_to(mean, starts)[index] + 0.1 * rng.standard_normal(len(index))
        return np.linspace(0, 1, 6) * last[:, None]

    return {
        "start": index,
        "m": np.broadcast_to(m, starts)[index].astype(float),
        "objective_z": series(mean_z),
        "objective_w": series(mean_w),
    }


def lyapunov(e11=1.0, e1=-1.0, m=1.0, uphill=0.5, sgd=-0.5, minimum=0.1):
    names = [f"{problem}_{sign}" for problem in ("e1", "plane") for sign in ("rest", "up", "down")]
    results = {name: measured(e1, m=m) for name in names}
    return results | {
        "e11": measured(e11),
        **{f"{problem}_minimum": measured(minimum, starts=1) for problem in ("e1", "plane")},
        "uphill": measured(-1.0, uphill, starts=1),
        "sgd": measured(sgd, starts=1),
    }


def test_decrease_from_every_start_is_supported_and_one_increase_refutes():
    assert {v for v, _ in verdicts_of("CL20", {}, lyapunov()).values()} == {"SUPPORTED"}
    got = verdicts_of("CL20", {}, lyapunov(e1=[-1.0, -1.0, 0.2]))
    assert [got[f"CL20{letter}"][0] for letter in "abc"] == ["REFUTED", "REFUTED", "SUPPORTED"]


def test_nearly_stationary_starts_do_not_count():
    got = verdicts_of("CL20", {}, lyapunov(e1=[-1.0, -1.0, 0.2], m=[1.0, 1.0, 0.2]))
    assert got["CL20a"][0] == "SUPPORTED"


def test_silent_controls_of_the_decrease_void_it():
    got = verdicts_of("CL20", {}, lyapunov(e11=-1.0))
    assert [got[f"CL20{letter}"][0] for letter in "abc"] == ["VOID", "VOID", "SUPPORTED"]
    got = verdicts_of("CL20", {}, lyapunov(minimum=-0.1))
    assert [got[f"CL20{letter}"][0] for letter in "abc"] == ["VOID", "VOID", "SUPPORTED"]
    assert verdicts_of("CL20", {}, lyapunov(sgd=0.5))["CL20c"][0] == "VOID"
    assert verdicts_of("CL20", {}, lyapunov(uphill=-0.5))["CL20c"][0] == "REFUTED"


def test_objective_along_w_and_z_of_a_scalar_recursion():
    lr, beta, w, previous = 0.002, 0.9, 1.0, 0.95  # E11: F = 0.32 w^2, v = -0.8 w
    path = [(previous, w)]
    for _ in range(4):
        w, previous = w + 0.8 * lr * w + beta * (w - previous), w
        path.append((previous, w))
    settings = {
        "overrides": overrides_of({"problem": "e11"}, heavy_ball(0.02, 0.9), {"steps": 4}),
        "starts": [[1.0]],
        "velocity": 0.05,
        "device": "cpu",
    }
    columns = lyapunov_decrease.run(settings, np.arange(2))
    np.testing.assert_allclose(columns["objective_w"][1], [0.32 * w**2 for _, w in path], rtol=1e-12)
    along_z = [0.32 * (w + 9 * (w - before)) ** 2 for before, w in path]
    np.testing.assert_allclose(columns["objective_z"][1], along_z, rtol=1e-12)
    assert columns["m"] == pytest.approx(0.64 * (1 - lyapunov_decrease.RADIUS))


def test_seeds_take_the_starts_in_turn_and_replicas_differ():
    settings = {
        "overrides": overrides_of({"problem": "e1"}, heavy_ball(0.02, 0.9), {"steps": 20}),
        "starts": [[1.0], [2.0]],
        "velocity": 0.0,
        "device": "cpu",
    }
    columns = lyapunov_decrease.run(settings, np.arange(7, 12))
    assert columns["start"].tolist() == [1, 0, 1, 0, 1]
    assert columns["objective_w"][:, 0].tolist() == [4.0, 1.5, 4.0, 1.5, 4.0]
    assert len(set(columns["objective_w"][:, -1].tolist())) == 5


# -- CL21 -------------------------------------------------------------------------------------------------------

FLOW = np.log(3.0)
CROSSING = {"seeds": N, "control_seeds": 50, "effective_step": 0.01}


def crossings(factor=1.0, clock=0.1, never=0, leave=False):
    """Crossings that take `factor` of the flow's time with 5 % spread; `clock` = 1 - beta of the second experiment;
    with `leave`, the runs from 0 do not rest there."""
    taken = factor * FLOW * (1 + 0.05 * np.random.default_rng(2).standard_normal(N))
    results = {}
    for letter, scale in (("a", 1.0), ("b", clock)):
        zero = scale * taken[:50] if leave else np.full(50, -1.0)
        results[f"{letter}_zero"] = {"left": zero, "entered": np.zeros(50)}
        left = 0.3 + scale * taken
        left[:never] = -1.0
        results[letter] = {"entered": np.full(N, 0.3), "left": left}
    return results


def test_crossing_in_the_time_of_the_flow_is_supported():
    assert verdicts_of("CL21", CROSSING, crossings()) == {
        "CL21a": ("SUPPORTED", (True,)),
        "CL21b": ("SUPPORTED", (True,)),
    }


def test_resting_for_a_while_is_refuted_and_so_is_the_wrong_clock():
    assert {v for v, _ in verdicts_of("CL21", CROSSING, crossings(factor=1.3)).values()} == {"REFUTED"}
    assert verdicts_of("CL21", CROSSING, crossings(clock=1.0))["CL21b"] == ("REFUTED", (True,))


def test_a_trap_that_lets_go_voids_and_runs_that_never_cross_are_out_of_scope():
    assert {v for v, _ in verdicts_of("CL21", CROSSING, crossings(leave=True)).values()} == {"VOID"}
    assert {v for v, _ in verdicts_of("CL21", CROSSING, crossings(never=1)).values()} == {"OUT-OF-SCOPE"}


def test_crossing_observer_keeps_first_times_in_the_clock_sum_alpha():
    one = crossing_time.Crossing(E1(), Plan(4), half_width=0.5)
    paths = torch.tensor([[1.0, 0.4, -0.6, 0.7, -0.7], [0.2, 0.6, 0.4, 0.0, 0.1]], dtype=torch.float64)
    one.start({"w": paths[:, :1]})
    for k in range(4):
        lr = torch.full((2,), [0.1, 0.2, 0.4, 0.8][k], dtype=torch.float64)
        one(StackStep(k, {"w": paths[:, k : k + 1]}, {}, {"w": paths[:, k + 1 : k + 2]}, {"lr": lr}))
    columns = one.columns()
    assert columns["entered"].tolist() == pytest.approx([0.1, 0.0])
    assert columns["left"].tolist() == pytest.approx([0.3, -1.0])


# -- shared -----------------------------------------------------------------------------------------------------


def test_paths_start_as_told_and_follow_polyak():
    starts = np.array([[0.5], [-2.0], [3.0]])
    overrides = overrides_of({"problem": "e2"}, heavy_ball(0.1, 0.5), {"steps": 70})
    found = paths(overrides, "cpu", np.arange(3), starts, velocity=0.25)
    assert found.w.shape == (71, 3, 1)
    assert found.previous[:, 0].tolist() == [0.25, -2.25, 2.75]
    assert found.lr == pytest.approx(np.full(70, 0.05)) and found.momentum.tolist() == [0.5] * 70
    w, previous = starts.copy(), found.previous
    for k in range(70):  # E2 has gradient 1 + w off 0
        w, previous = w - 0.05 * (1 + w) + 0.5 * (w - previous), w
        np.testing.assert_allclose(found.w[k + 1], w, atol=1e-13)


@pytest.fixture(scope="module")
def tiny():
    return {claim: run_tiny(claim, sizes) for claim, sizes in TINY.items()}


@pytest.mark.slow
def test_tiny_runs_give_every_part_with_controls(tiny):
    parts = {claim: [part.id for part in rows] for claim, (_, rows) in tiny.items()}
    assert parts == {
        "CL19": ["CL19a", "CL19b", "CL19c", "CL19d", "CL19e"],
        "CL20": ["CL20a", "CL20b", "CL20c"],
        "CL21": ["CL21a", "CL21b"],
    }
    assert all(part.controls and part.estimate for _, rows in tiny.values() for part in rows)
    evidence = [part.evidence() for part in tiny["CL21"][1]]
    assert all(one.fires(control) for one in evidence for control in one.controls)


@pytest.mark.slow
def test_the_figure_copes_with_some_of_the_claims(tiny):
    protocols = {claim: Protocol("quick", sizes) for claim, sizes in TINY.items()}
    results = {claim: columns for claim, (columns, _) in tiny.items()}
    assert figures.figure({}, {}) is None
    assert len(figures.figure(protocols, {"CL20": results["CL20"]}).axes) == 1
    whole = figures.figure(protocols, results)
    assert [ax.get_xlabel() != "" and ax.get_ylabel() != "" for ax in whole.axes] == [True] * 4
