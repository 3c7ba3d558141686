"""CL25 and CL27-CL31 on synthetic columns with known truth, and at tiny sizes."""

import itertools

import numpy as np
import pytest
import torch

from bench.claims.artificial import chain_rule
from bench.claims.artificial.regular_samples import hausdorff, max_affine, oracle, signed_affine
from bench.claims.artificial.unique_preimage import run as phase_points
from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.verdict import Verdict, judge
from bench.store.store import Store

N = 10_000


def verdicts(claim, results, **sizes):
    parts = CLAIMS[claim].parts(Protocol("quick", sizes), results)
    return {j.id: j.verdict.name for j in judge([part.evidence() for part in parts])}


def hits(count, n=N):
    return np.arange(n) < count


def phase(shb=0, sgd=500, reset=500, touched=1000, n=200_000):
    return {
        "shb": {"trapped": hits(shb, n), "touched": hits(touched, n)},
        "sgd": {"trapped": hits(sgd), "touched": hits(sgd)},
        "reset": {"trapped": hits(reset), "touched": hits(reset)},
    }


def test_unique_preimage_verdicts():
    assert verdicts("CL27", phase()) == {"CL27": "SUPPORTED"}
    assert verdicts("CL27", phase(shb=200)) == {"CL27": "REFUTED"}
    assert verdicts("CL27", phase(n=1000)) == {"CL27": "INCONCLUSIVE"}
    for silent in ({"sgd": 0}, {"reset": 0}):
        assert verdicts("CL27", phase(**silent)) == {"CL27": "VOID"}


def settings(optimizer="shb", reset=False):
    return {"optimizer": optimizer, "lr": 0.5, "momentum": 0.5, "reset": reset, "steps": 30}


def test_phase_points_never_start_in_the_trap_and_are_exact():
    columns = phase_points(settings(), np.arange(3000))
    start = np.stack([columns["w0"], columns["velocity0"]])
    assert np.array_equal(start * 8, np.round(start * 8)) and abs(start).max() == 4
    assert not ((start == 0).all(0)).any()
    assert columns["touched"].sum() > 30 and not columns["trapped"].any()
    assert phase_points(settings("sgd"), np.arange(3000))["trapped"].sum() > 10
    assert phase_points(settings(reset=True), np.arange(3000))["trapped"].sum() > 10
    alone = phase_points(settings(reset=True), np.arange(7, 8))
    assert all(alone[n][0] == phase_points(settings(reset=True), np.arange(20))[n][7] for n in alone)


def manifold(on=N, off=0, missed=0, on_clarke=0):
    def ends(at_trap, at_clarke):
        return {
            "artificial_distance": np.where(hits(at_trap), 0.0, 1.0),
            "w0": np.where(hits(at_trap), 0.0, -1.0),
            "clarke_distance": np.where(hits(at_clarke), 0.1, 1.0),
        }

    return {f"{o}_{start}": ends(on if start == "on" else off, on_clarke if start == "on" else N - missed)
            for o in ("sgd", "shb") for start in ("on", "off")}  # fmt: skip


def test_trap_manifold_verdicts():
    assert set(verdicts("CL28", manifold(), seeds=N).values()) == {"SUPPORTED"}
    assert verdicts("CL28", manifold(on=N // 2), seeds=N)["CL28a"] == "REFUTED"
    assert {verdicts("CL28", manifold(off=N), seeds=N)[part] for part in ("CL28a", "CL28b")} == {"VOID"}
    assert verdicts("CL28", manifold(on_clarke=N), seeds=N)["CL28c"] == "VOID"
    assert verdicts("CL28", manifold(missed=100), seeds=N)["CL28c"] == "REFUTED"


def exceptional(sgd=5000, shb=0, generic=0, touched=5000, generic_touched=0):
    counts = {"sgd": (sgd, sgd), "shb": (shb, touched), "sgd_generic": (generic, generic_touched)}
    return {n: {"trapped": hits(a), "first_touch": np.where(hits(b), 1, -1)} for n, (a, b) in counts.items()}


@pytest.mark.parametrize(
    ("changed", "part", "verdict"),
    [
        ({}, None, "SUPPORTED"),
        ({"sgd": 4000}, "CL25a", "REFUTED"),
        ({"shb": 100}, "CL25b", "REFUTED"),
        ({"touched": 0}, "CL25c", "REFUTED"),
        ({"generic": 5000}, "CL25a", "VOID"),
        ({"sgd": 0}, "CL25b", "VOID"),
        ({"generic_touched": 5000}, "CL25c", "VOID"),
    ],
)
def test_exceptional_step_verdicts(changed, part, verdict):
    found = verdicts("CL25", exceptional(**changed), seeds=N)
    assert found[part] == verdict if part else set(found.values()) == {verdict}


def atoms(**changed):
    count = {"start2": 5000, "start6": 2500, "start8": 1250, "start5": 0, "zeros": N, "normal": 0, "shb": 0, **changed}
    results = {name: {"trapped": hits(count[name])} for name in ("start2", "start6", "start8", "start5", "zeros")}
    results |= {name: {"trapped": hits(count[name])} for name in ("normal", "shb")}
    kinks = {"zero": count.get("kink_zero", N), "random": count.get("kink_random", 0)}
    return results | {f"e10_{n}": {"w1": np.where(hits(k), 0.0, 1.0)[:, None]} for n, k in kinks.items()}


@pytest.mark.parametrize(
    ("changed", "part", "verdict"),
    [
        ({}, None, "SUPPORTED"),
        ({"start2": 2500}, "CL29a", "REFUTED"),
        ({"start6": 5000}, "CL29b", "REFUTED"),
        ({"start8": 0}, "CL29c", "REFUTED"),
        ({"start5": 300}, "CL29d", "REFUTED"),
        ({"zeros": 0}, "CL29e", "REFUTED"),
        ({"shb": 5000}, "CL29f", "REFUTED"),
        ({"kink_zero": 0}, "CL29g", "REFUTED"),
        ({"normal": 5000}, "CL29a", "VOID"),
        ({"normal": 2500}, "CL29b", "VOID"),
        ({"normal": 1250}, "CL29c", "VOID"),
        ({"normal": N}, "CL29e", "VOID"),
        ({"start2": 0}, "CL29d", "VOID"),
        ({"start2": 0}, "CL29f", "VOID"),
        ({"kink_random": N}, "CL29g", "VOID"),
    ],
)
def test_atomic_start_verdicts(changed, part, verdict):
    found = verdicts("CL29", atoms(**changed), seeds=N)
    assert found[part] == verdict if part else set(found.values()) == {verdict}


def test_regular_samples_verdicts():
    def kinks(distance=0.0, signed=1.0):
        values = {"max_affine": distance, "signed_affine": signed, "e7_signs": 0.0, "e7_atoms": 0.0, "e1": 1.0}
        return {name: {"distance": np.where(hits(30, 500), last, 0.0)} for name, last in values.items()}

    assert verdicts("CL30", kinks()) == {"CL30": "SUPPORTED"}
    assert verdicts("CL30", kinks(distance=1e-5)) == {"CL30": "REFUTED"}
    assert verdicts("CL30", kinks(signed=0.0)) == {"CL30": "VOID"}


def test_distance_of_the_sum_of_subdifferentials():
    """By hand: max(x, -x) and max(2x, 0) sum to the kink [-1, 3] / 2 on both sides: equal; |x| and -|x| do not.

    Nor do max(x, -x) and -max(2x, 0): the means [-3, 1] / 2 against the kink [-1, -1] / 2.
    """
    slopes = torch.tensor([[1.0, -1.0], [2.0, 0.0]], dtype=torch.float64)
    assert hausdorff(0.7, max_affine(slopes, 0.7)) == pytest.approx(0, abs=1e-12)
    assert hausdorff(0.7, signed_affine(slopes, 0.7)) == pytest.approx(1, abs=1e-12)
    assert hausdorff(0.0, oracle("e4", {}, [-1.0, 1.0])) == pytest.approx(1)
    assert hausdorff(0.0, oracle("e1", {}, [-1.0, 1.0])) == pytest.approx(1, abs=1e-6)
    assert hausdorff(0.5, oracle("e1", {}, [-1.0, 1.0])) == pytest.approx(0, abs=1e-6)


def oracles(missed=0, control=2000, stuck=2000, defect=1e-9, **wrong):
    far = {"w0": np.full(2000, -1.0), "w1": np.zeros(2000)}
    ends = {f"end_e1_{form}": dict(far) for form in ("relu", "sort")}
    ends["end_e1_relu"]["w0"] = np.where(hits(missed, 2000), 0.0, -1.0)
    ends["end_control"] = {"w0": np.where(hits(control, 2000), 5.0, 0.0), "w1": np.zeros(2000)}
    ends["stuck"] = {"w0": np.where(hits(stuck, 2000), 0.0, -1.0)}
    chains = {"chain_e1_relu": {"defect": np.where(hits(20, 200), defect, 1e-12)}}
    kinds = ("one_sample", "detached", "rotation")
    return {**ends, **chains, **{f"control_{k}": {"defect": np.full(9, wrong.get(k, 2.0))} for k in kinds}}


def test_oracle_verdicts():
    enlarged = {k: {c: np.tile(v, 5) for c, v in columns.items()} for k, columns in oracles().items()}
    assert verdicts("CL31", enlarged) == {"CL31a": "SUPPORTED", "CL31b": "SUPPORTED"}
    assert verdicts("CL31", oracles(missed=500))["CL31a"] == "REFUTED"
    assert verdicts("CL31", oracles(control=0))["CL31a"] == verdicts("CL31", oracles(stuck=0))["CL31a"] == "VOID"
    assert verdicts("CL31", oracles(defect=1e-4))["CL31b"] == "REFUTED"
    for kind in ("one_sample", "detached", "rotation"):
        assert verdicts("CL31", oracles(**{kind: 0.0}))["CL31b"] == "VOID"


def test_integral_of_a_function_with_jumps():
    """By hand; jumps at 1/3, on and beside a cell's edge, and two in one cell on either side of a node."""
    for function, exact in [
        (lambda t: (t > 1 / 3).double(), 2 / 3),
        (lambda t: (t > 2**-7).double() + t**3, 1 - 2**-7 + 1 / 4),
        (lambda t: (t > 0.5 + 1e-5).double(), 0.5 - 1e-5),
        (lambda t: ((t > 0.5002) & (t < 0.5022)).double(), 2e-3),
        (lambda t: 6 * t**5, 1.0),
    ]:
        assert chain_rule.integrate(function) == pytest.approx(exact, abs=1e-8)


def test_chain_rule_holds_for_a_gradient_and_not_for_half_of_it():
    corners = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-0.5, 0.3]], dtype=torch.float64)
    objective = lambda w: (w * w).sum(-1) / 2 + w[..., 0].abs()  # noqa: E731
    gradient = lambda w: w + torch.stack([w[:, 0].sign(), 0 * w[:, 1]], 1)  # noqa: E731
    assert chain_rule.defect(objective, gradient, corners) < 1e-8
    expected = abs((objective(corners[-1:]) - objective(corners[:1])).item()) / 2
    assert chain_rule.defect(objective, lambda w: gradient(w) / 2, corners) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("claim", ["CL27", "CL28", "CL29", "CL30", "CL31"])
def test_end_to_end_at_tiny_sizes(claim, tmp_path):
    """Every experiment runs, and no verdict contradicts the theory at sizes too small to support it."""
    sizes = {"seeds": 200, "control_seeds": 600, "steps": {"CL27": 30, "CL28": 1000}.get(claim, 300), "kinks": 5}
    protocol = Protocol("quick", {**sizes, "polygons": 2, "network_polygons": 1})
    store = Store(tmp_path)
    experiments = CLAIMS[claim].experiments(protocol)
    if claim == "CL31":  # three oracles are enough here
        keep = itertools.chain(("end_e1_sort", "end_e8_discrete", "end_control", "chain_e8", "chain_network"))
        keep = {*keep, "stuck", "control_one_sample", "control_detached", "control_rotation"}
        experiments = {name: one for name, one in experiments.items() if name in keep}
    for experiment in experiments.values():
        experiment.compute(store)
    parts = CLAIMS[claim].parts(protocol, {name: one.load(store) for name, one in experiments.items()})
    judged = judge([part.evidence() for part in parts])
    assert {j.verdict for j in judged} <= {Verdict.SUPPORTED, Verdict.INCONCLUSIVE}
