"""CL22-CL24 and CL26: parts on made-up columns whose truth is known, the measures, tiny runs, the figure."""

from fractions import Fraction

import numpy as np
import pytest

from bench.claims.artificial import dyadic_start, random_start, trap
from bench.claims.artificial.comparable import frozen
from bench.claims.claim import Observed, Part, Protocol
from bench.claims.experiment import MEASURES
from bench.claims.figures import artificial as figures
from bench.claims.share import never
from bench.claims.trajectories import trajectories
from bench.claims.verdict import judge
from bench.statistics.estimates import Proportion
from shb.nonsmooth.gadgets import DERIVATIVE_AT_ZERO
from shb.problems import E1
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 10_000
LIMIT = {"seeds": N, "steps": 2000, "million": N, "million_steps": 10, "control_seeds": 100, "paths": 1}
TINY = {
    "CL22": {"seeds": 4, "control_seeds": 4, "steps": 5},
    "CL23": {"seeds": 4, "control_seeds": 20, "steps": 5, "million": 6, "million_steps": 5, "paths": 2},
    "CL24": {"seeds": 4, "control_seeds": 20, "steps": 5},
    "CL26": {"seeds": 10, "control_seeds": 10, "steps": 200},
}


def hits(count, n=N, first=0):
    return ((np.arange(n) >= first) & (np.arange(n) < first + count)).astype(float)


def letters(claim, sizes, results):
    return {part.removeprefix(claim): verdict for part, (verdict, _) in verdicts_of(claim, sizes, results).items()}


# -- what the claims share --------------------------------------------------------------------------------------


def test_never_is_a_bound_that_few_runs_cannot_give():
    control = (Observed("", True, "", "made up"),)
    found = [Proportion(0, 100), Proportion(0, 10_000), Proportion(50, 10_000)]
    parts = [Part("", "", never(), one, control, id=f"P{i}") for i, one in enumerate(found)]
    assert [str(j.verdict) for j in judge([part.evidence() for part in parts])] == [
        "INCONCLUSIVE",
        "SUPPORTED",
        "REFUTED",
    ]
    assert "upper bound 3.0e-04" in parts[1].remarks and "upper bound" not in parts[2].remarks


def test_a_run_that_became_nan_or_moved_is_not_frozen():
    columns = {"sup_norm": np.array([0.0, 1e-300, np.nan, 0.0]), "diverged": np.array([0.0, 0.0, 0.0, 1.0])}
    assert frozen(columns).tolist() == [True, False, False, False]


# -- CL22 -------------------------------------------------------------------------------------------------------


def stays(count=N, n=N, first=0):
    """`count` runs that never moved."""
    return {"sup_norm": 1 - hits(count, n, first), "diverged": np.zeros(n)}


def trapped_world(**changes):
    results = {f"{x}_{o}": stays() for x in trap.PROBLEMS for o in ("sgd", "shb", "nesterov", "adam")}
    results |= {f"{x}_t0.5": stays(0, 100) for x in trap.PROBLEMS}
    results |= {f"a_t{t}": stays(0, 100) for t in (0.25, 1.0)}
    results |= {f"form_{form}": stays(0) for form in trap.FORMS}
    results |= {f"injected_e2_t{t}": stays() for t in trap.DERIVATIVES}
    return results | {"clamp": stays(), "injected_e1": stays(0, 100)} | changes


@pytest.fixture
def clamp_traps(monkeypatch):
    monkeypatch.setattr(trap, "DERIVATIVE_AT_ZERO", {**DERIVATIVE_AT_ZERO, "clamp": 0.0})


def test_a_world_with_the_trap_is_supported(clamp_traps):
    assert set(letters("CL22", {}, trapped_world()).values()) == {"SUPPORTED"}


def test_runs_that_leave_refute_the_trap_and_each_optimizer_counts(clamp_traps):
    assert letters("CL22", {}, trapped_world(b_adam=stays(N - 200)))["b"] == "REFUTED"
    some = {f"a_{o}": stays(N - 20, first=20 * i) for i, o in enumerate(("sgd", "shb"))}
    both = trap.everywhere(trapped_world(**some), ["a_sgd", "a_shb"])
    assert both == Proportion(N - 40, N)


def test_forms_that_trap_refute_and_a_control_that_stays_voids(clamp_traps):
    assert letters("CL22", {}, trapped_world(form_abs=stays()))["f"] == "REFUTED"
    got = letters("CL22", {}, trapped_world(**{"a_t0.25": stays(100, 100), "form_maximum": stays()}))
    assert got["a"] == "VOID" and got["g"] == "VOID" and got["b"] == "SUPPORTED"
    for letter in "bcde":
        assert letters("CL22", {}, trapped_world(**{f"{letter}_t0.5": stays(100, 100)}))[letter] == "VOID"
    assert letters("CL22", {}, trapped_world(**{"b_t0.5": stays(100, 100)}))["h"] == "VOID"
    assert letters("CL22", {}, trapped_world(injected_e1=stays(100, 100)))["h"] == "VOID"
    assert letters("CL22", {}, trapped_world(a_shb=stays(0)))["f"] == "VOID"


def test_the_prediction_for_clamp_follows_the_version_of_torch(monkeypatch):
    monkeypatch.setattr(trap, "DERIVATIVE_AT_ZERO", {**DERIVATIVE_AT_ZERO, "clamp": 1.0})
    assert letters("CL22", {}, trapped_world())["g"] == "REFUTED"
    assert letters("CL22", {}, trapped_world(clamp=stays(0)))["g"] == "SUPPORTED"
    assert letters("CL22", {}, trapped_world(clamp=stays(0), a_shb=stays(0)))["g"] == "VOID"
    monkeypatch.setattr(trap, "DERIVATIVE_AT_ZERO", {**DERIVATIVE_AT_ZERO, "clamp": 0.0})
    assert letters("CL22", {}, trapped_world(clamp=stays(0)))["g"] == "REFUTED"


# -- CL23 -------------------------------------------------------------------------------------------------------


def avoided(trapped=0, ratio=1.0, diverged=0, stuck=100, stuck_ratio=200.0, unscaled=10.0, landed=50, million=0):
    """Final gaps chi-square around `ratio` times law L3; `stuck` of 100 runs from 0 are trapped."""
    law = random_start.last_effective_step(Protocol("quick", LIMIT)) / 4
    gap = ratio * law * np.random.default_rng(4).standard_normal(N) ** 2
    runs = {"trapped": hits(trapped), "touched": hits(trapped), "diverged": hits(diverged), "objective": gap - 0.5}
    zeros = {
        "trapped": hits(stuck, 100),
        "objective": np.full(100, stuck_ratio * law - 0.5),
    }
    spread = np.random.default_rng(5).standard_normal(1000) ** 2
    large = {"trapped": hits(million), "touched": hits(million), "diverged": np.zeros(N)}
    return {
        "sgd": runs,
        "shb": runs,
        "sgd_zeros": zeros,
        "shb_zeros": zeros,
        "shb_unscaled": {"objective": unscaled * law * spread / spread.mean() - 0.5},
        "sgd_exceptional": {"trapped": hits(landed, 100)},
        "million": large,
    }


def test_random_starts_that_avoid_the_trap_are_supported():
    assert letters("CL23", LIMIT, avoided()) == dict.fromkeys("abcde", "SUPPORTED")


def test_trapped_runs_refute_and_so_does_another_final_gap():
    assert letters("CL23", LIMIT, avoided(trapped=100)) == dict.fromkeys("ab", "REFUTED") | dict.fromkeys(
        "cde", "SUPPORTED"
    )
    assert letters("CL23", LIMIT, avoided(million=100))["e"] == "REFUTED"
    got = letters("CL23", LIMIT, avoided(ratio=1.4))
    assert got["c"] == got["d"] == "REFUTED"


def test_silent_controls_void_and_divergence_is_out_of_scope():
    got = letters("CL23", LIMIT, avoided(stuck=0))
    assert got["a"] == got["b"] == got["e"] == "VOID" and got["c"] == "SUPPORTED"
    got = letters("CL23", LIMIT, avoided(landed=0))
    assert got["a"] == got["e"] == "VOID" and got["b"] == "SUPPORTED"
    got = letters("CL23", LIMIT, avoided(stuck_ratio=1.0))
    assert got["c"] == got["d"] == "VOID" and got["a"] == "SUPPORTED"
    got = letters("CL23", LIMIT, avoided(unscaled=1.0))  # then 1 - beta would make no difference
    assert got["d"] == "VOID" and got["c"] == "SUPPORTED"
    got = letters("CL23", LIMIT, avoided(diverged=1))
    assert got["c"] == got["d"] == "OUT-OF-SCOPE"


def test_the_large_run_counts_what_the_common_measure_counts():
    overrides = ["problem=e1", "init=zeros", "optimizer=shb", "velocity=normal", "steps=70"]  # all start on the trap
    seeds = np.arange(5)
    small = random_start.run({"overrides": overrides, "device": "cpu"}, seeds)
    one = trajectories(*overrides, seeds=5)
    whole = MEASURES["trajectories"].function(one.settings, seeds)
    assert small.keys() == {"trapped", "touched", "diverged"}
    assert all(small[name].tolist() == whole[name].tolist() for name in small)
    assert small["touched"].all() and not small["trapped"].any()


def test_both_optimizers_have_the_effective_step_of_the_law():
    cells = [random_start.cell(optimizer) for optimizer in ("sgd", "shb")]
    effective = [cell["optimizer.lr"] / (1 - cell.get("optimizer.momentum", 0)) for cell in cells]
    assert effective == pytest.approx([random_start.EFFECTIVE] * 2)
    step = random_start.EFFECTIVE * (2000 + 1 + 10) ** -0.6
    assert random_start.last_effective_step(Protocol("quick", LIMIT)) == pytest.approx(step)


# -- CL24 -------------------------------------------------------------------------------------------------------


def randomised(**changes):
    def runs(count=0, n=N):
        return {"trapped": hits(count, n), "touched": hits(count, n), "sup_norm": 1 - hits(count, n)}

    results = {name: runs() for name in ("harmonic", "half", "from_zero")}
    results |= {name: runs(50, 100) for name in ("sgd_harmonic", "sgd_half", "rest_harmonic")}
    results |= {"rest_from_zero": runs(100, 100)}
    results |= {name: runs(*value) for name, value in changes.items()}
    return {name: {**columns, "diverged": np.zeros(len(columns["trapped"]))} for name, columns in results.items()}


def test_phase_space_randomisation_verdicts():
    assert letters("CL24", {}, randomised()) == dict.fromkeys("abcd", "SUPPORTED")
    assert letters("CL24", {}, randomised(harmonic=(100, N)))["a"] == "REFUTED"
    assert letters("CL24", {}, randomised(harmonic=(100, N)))["d"] == "REFUTED"
    assert letters("CL24", {}, randomised(half=(100, N)))["b"] == "REFUTED"
    assert letters("CL24", {}, randomised(from_zero=(100, N)))["c"] == "REFUTED"


@pytest.mark.parametrize(
    ("control", "part"), [("sgd_harmonic", "a"), ("sgd_half", "b"), ("rest_from_zero", "c"), ("rest_harmonic", "d")]
)
def test_each_silent_control_voids_its_part_only(control, part):
    got = letters("CL24", {}, randomised(**{control: (0, 100)}))
    assert got == dict.fromkeys("abcd", "SUPPORTED") | {part: "VOID"}


# -- CL26 -------------------------------------------------------------------------------------------------------


def dyadic(**changes):
    seeds = np.arange(N)
    e1, e2 = dyadic_start.start_of("e1", seeds), dyadic_start.start_of("e2", np.arange(dyadic_start.POWERS))
    share = dyadic_start.predicted_share(e1)
    lucky = np.random.default_rng(6).random(N) < share
    counts = {
        "e1_sgd": lucky,
        "e1_shb": hits(0),
        "e2_sgd": np.ones(len(e2)),
        "e2_shb": (e2 == 0).astype(float),
        "e6_sgd": hits(N),
        "e6_shb": hits(0),
    }
    counts |= {f"{problem}_ulp{sign}": hits(0, 100) for problem in ("e1", "e2", "e6") for sign in ("+1", "-1")}
    results = {}
    for name, trapped in (counts | changes).items():
        starts = {"e1_sgd": e1, "e2_sgd": e2, "e2_shb": e2}.get(name, np.zeros(len(trapped)))
        results[name] = {"trapped": trapped, "touched": trapped, "w0": starts}
    return results


def test_dyadic_verdicts():
    assert letters("CL26", {}, dyadic()) == dict.fromkeys("abcdef", "SUPPORTED")
    assert letters("CL26", {}, dyadic(e1_sgd=hits(N // 3)))["a"] == "REFUTED"
    assert letters("CL26", {}, dyadic(e1_shb=hits(100)))["b"] == "REFUTED"
    assert letters("CL26", {}, dyadic(e2_sgd=hits(50, dyadic_start.POWERS)))["c"] == "REFUTED"
    assert letters("CL26", {}, dyadic(e2_shb=hits(2, dyadic_start.POWERS)))["d"] == "REFUTED"
    assert letters("CL26", {}, dyadic(e6_sgd=hits(N - 200)))["e"] == "REFUTED"
    assert letters("CL26", {}, dyadic(e6_shb=hits(100)))["f"] == "REFUTED"


def test_an_ulp_that_makes_no_difference_voids_and_so_does_a_trap_nobody_falls_into():
    for problem, part, predicted in (("e1", "a", 23), ("e2", "c", 100), ("e6", "e", 100)):
        for sign in ("+1", "-1"):
            assert letters("CL26", {}, dyadic(**{f"{problem}_ulp{sign}": hits(predicted, 100)}))[part] == "VOID"
    assert letters("CL26", {}, dyadic(e1_sgd=hits(0)))["b"] == "VOID"
    assert letters("CL26", {}, dyadic(e2_sgd=hits(1, dyadic_start.POWERS)))["d"] == "VOID"
    assert letters("CL26", {}, dyadic(e6_sgd=hits(0)))["f"] == "VOID"


def share_of(w: Fraction, depth: int) -> Fraction:
    """P(SGD at E1 with step 1/2 reaches 0 within `depth` steps), exactly, from the gradients of E1."""
    if w == 0 or depth == 0:
        return Fraction(w == 0)
    after = [w - (1 + w + s * (1 if w > 0 else -1)) / 2 for s in (1, -1)]
    return sum(share_of(x, depth - 1) for x in after) / 2


def test_the_predicted_share_agrees_with_the_tree_of_all_samples():
    even = np.arange(2, 34, 2)
    exact = [float(share_of(Fraction(int(w)), 9)) for w in even]
    assert dyadic_start.predicted_share(even.astype(float)).tolist() == exact
    assert share_of(Fraction(3), 9) == share_of(Fraction(-2), 9) == 0


def test_dyadic_measure_starts_on_and_beside_the_predicted_points():
    settings = {"problem": "e2", "optimizer": "sgd", "ulps": 0, "steps": 60}
    on = dyadic_start.run(settings, np.arange(5))
    above = dyadic_start.run(settings | {"ulps": 1}, np.arange(5))
    below = dyadic_start.run(settings | {"ulps": -1}, np.arange(5))
    assert on["w0"].tolist() == [0, 1, 3, 7, 15] and on["trapped"].all()
    assert (above["w0"] == np.nextafter(on["w0"], np.inf)).all() and not above["trapped"].any()
    assert (below["w0"] == np.nextafter(on["w0"], -np.inf)).all() and not below["trapped"].any()
    heavy = dyadic_start.run(settings | {"optimizer": "shb"}, np.arange(5))
    assert heavy["trapped"].tolist() == [True, False, False, False, False]


# -- end to end -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return {claim: run_tiny(claim, sizes) for claim, sizes in TINY.items()}


@pytest.mark.slow
def test_tiny_runs_show_what_the_claims_say(tiny):
    parts = {part.id: part for _, rows in tiny.values() for part in rows}
    expected = {"CL22": "abcdefgh", "CL23": "abcde", "CL24": "abcd", "CL26": "abcdef"}
    assert list(parts) == [claim + letter for claim, own in expected.items() for letter in own]
    few = {"CL23d", "CL23e", "CL26a"}  # too few runs to refute a ratio or a share of 0.23, and a bound of 10 / n > 1
    evidence = {name: part.evidence() for name, part in parts.items() if name not in few}
    assert not [name for name, one in evidence.items() if not all(map(one.fires, one.controls))]
    shares = {name: part.estimate.value for name, part in parts.items() if part.prediction.unit == "share"}
    full = {"CL22a", "CL22b", "CL22c", "CL22d", "CL22e", "CL22h", "CL26e"}
    full |= {"CL22g"} if DERIVATIVE_AT_ZERO["clamp"] == 0 else set()
    assert {name for name, value in shares.items() if value == 1} == full
    assert {name for name, value in shares.items() if 0 < value < 1} <= {"CL26a"}
    assert parts["CL26c"].estimate.value == parts["CL26d"].estimate.value == 0


@pytest.mark.slow
def test_the_figure_copes_with_some_of_the_claims(tiny):
    results = {claim: columns for claim, (columns, _) in tiny.items()}
    assert figures.figure({}, {}) is None
    assert len(figures.figure({}, {"CL26": results["CL26"]}).axes) == 1
    assert len(figures.figure({}, {"CL23": results["CL23"]}).axes) == 4
    whole = figures.figure({}, results)
    assert all(ax.get_xlabel() for ax in whole.axes)
    random = results["CL23"]["e1_shb"]["w0"]
    assert random.shape == (2, 201) and (random[:, 0] > 0).all() and (random[:, -1] < E1.minimum).all()
