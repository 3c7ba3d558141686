"""CL42, CL43, CL46: verdicts on synthetic columns of known truth, the pieces, and tiny runs."""

import numpy as np
import pytest

from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.practice import first_pass, grid, initialization, step_control
from bench.claims.trajectories import run
from bench.claims.verdict import judge

NETWORK = ["model=mlp", "model.hidden=[8]", "dataset=digits"]


def verdicts(parts):
    return {one.id: str(one.verdict) for one in judge([part.evidence() for part in parts])}


def compute(claim, protocol):
    return {
        name: MEASURES[e.measure].function(e.settings, np.arange(e.first_seed, e.first_seed + e.seeds))
        for name, e in claim.CLAIM.experiments(protocol).items()
    }


# -- CL42 -----------------------------------------------------------------------------------------------------

CL42 = {"seeds": 2000, "steps": 20, "grid_seeds": 10_000, "grid_steps": 30, "network_seeds": 8, "network_steps": 10}
CL42 |= {"networks": {"tiny": NETWORK}}


def starts(zero=0.0, random=1.0, half=0.5, near=1.0, small=0.9, default=0.9):
    rng = np.random.default_rng(2)
    columns = {}
    for problem in initialization.PROBLEMS:
        for optimizer in initialization.MOMENTUM:
            for start, value in (("zero", zero), ("random", random)):
                columns[f"{problem} {optimizer} {start}"] = {"artificial_distance": np.full(2000, value)}
    for name, share in (("E1", half), ("E6", 1.0)):
        columns[f"grid {name} grid"] = {"artificial_distance": np.where(np.arange(10_000) < share * 10_000, 0.0, 1.0)}
        columns[f"grid {name} near"] = {"artificial_distance": np.full(10_000, near)}
    for start, accuracy in (("zero", 0.1), ("small", small), ("default", default)):
        columns[f"tiny {start}"] = {"accuracy": accuracy + rng.normal(0, 0.01, 8)}
    return columns


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {}),
        ({"zero": 0.2}, {"CL42a": "REFUTED", "CL42b": "VOID"}),
        ({"random": 0.0}, {"CL42a": "VOID", "CL42b": "REFUTED"}),
        ({"half": 0.4}, {"CL42c": "REFUTED"}),
        ({"near": 0.0}, {"CL42d": "VOID"}),
        ({"small": 0.12}, {"CL42e": "VOID"}),  # and the default start learns: the two starts differ
        ({"small": 0.3, "default": 0.3}, {"CL42e": "REFUTED"}),
    ],
)
def test_initialization_verdicts_follow_the_columns(changes, wanted):
    found = verdicts(initialization.CLAIM.parts(Protocol("quick", CL42), starts(**changes)))
    assert found == {**dict.fromkeys([f"CL42{letter}" for letter in "abcde"], "SUPPORTED"), **wanted}


def test_every_network_must_learn():
    columns, sizes = starts(), CL42 | {"networks": {"tiny": NETWORK, "other": NETWORK}}
    columns |= {f"other {start}": columns["tiny zero"] for start in ("zero", "small", "default")}
    (part,) = (p for p in initialization.CLAIM.parts(Protocol("quick", sizes), columns) if p.id == "CL42e")
    assert verdicts([part])["CL42e"] == "REFUTED" and "Least favourable of 2 cases: other." in part.remarks


def test_learning_from_zero_refutes_the_network_part():
    columns = starts(small=0.9)
    columns["tiny zero"] = columns["tiny small"]
    assert verdicts(initialization.CLAIM.parts(Protocol("quick", CL42), columns))["CL42e"] == "REFUTED"


@pytest.mark.slow
def test_initialization_end_to_end():
    protocol = Protocol("quick", CL42 | {"seeds": 20, "grid_seeds": 50, "network_seeds": 2})
    parts = {part.id: part for part in initialization.CLAIM.parts(protocol, compute(initialization, protocol))}
    assert parts["CL42a"].estimate.value == 1 and parts["CL42b"].estimate.value == 0
    assert 0 < parts["CL42c"].estimate.value < 1 and parts["CL42d"].estimate.value > 0.9
    few = [parts[name].evidence() for name in ("CL42a", "CL42b", "CL42c", "CL42d")]
    assert all(one.fires(control) for one in few for control in one.controls)


# -- CL43 -----------------------------------------------------------------------------------------------------

LEVELS = {"init": [0.1, 1.0], "momentum": [0.0, 0.9], "q": [0.6, 0.9], "lr": [0.01, 0.1, 1.0, 10.0]}
STEPS = [0.1, 1.0, 10.0]  # effective steps that both momenta have
TINY = {"title": "E1", "overrides": ["problem=e1", "dtype=float64", "steps=5"], "levels": LEVELS, "target": 0.5}
TINY |= {"seeds": 10, "chunk": 10, "seconds": 1.0}
CL43 = Protocol("quick", {"problems": {"only": TINY}})


def outcome(effective=0.0, raw=0.0, momentum=0.0, init=0.0, n=10):
    """Objective below the target with a probability that depends on the factors named, by level."""
    rng = np.random.default_rng(3)
    lr, beta = np.array(LEVELS["lr"]), np.array(LEVELS["momentum"])[:, None]
    chance = 0.1 + effective * (lr / (1 - beta) >= 1) + raw * (lr >= 1) + momentum * (beta > 0)  # [momenta, lr]
    chance = chance[:, None] + init * np.arange(2)[:, None, None, None] + np.zeros((n, 2, 2, 2, 4))
    return {"only": {"objective": np.where(rng.random(chance.shape) < chance, 0.0, 1.0).reshape(n, -1)}}


@pytest.mark.parametrize(
    ("effects", "wanted"),
    [
        ({"effective": 0.8}, ("SUPPORTED", "SUPPORTED")),
        ({"raw": 0.8}, ("SUPPORTED", "VOID")),  # the raw step decides: momentum matters beside the effective one
        ({"effective": 0.4, "momentum": 0.4}, ("SUPPORTED", "REFUTED")),
        ({"init": 0.8}, ("REFUTED", "VOID")),  # nothing depends on a step: the raw one hides no momentum
    ],
)
def test_step_control_verdicts_follow_the_columns(effects, wanted):
    found = verdicts(step_control.CLAIM.parts(CL43, outcome(**effects, n=40)))
    assert found == dict(zip(("CL43a", "CL43b"), wanted))


def test_runs_are_compared_at_equal_effective_step():
    a = np.divide.outer(LEVELS["lr"], 1 - np.array(LEVELS["momentum"])).T[None, None, :, None]  # [1, 1, momenta, 1, lr]
    table = a + np.zeros((1, 2, 2, 2, 4))
    matched = step_control.same_effective_step(table, LEVELS)
    assert matched.shape == (1, 2, 2, 2, 3) and np.allclose(matched, STEPS)
    assert step_control.same_raw_step(table, LEVELS).shape == table.shape
    three = {**LEVELS, "momentum": [0.0, 0.5, 0.9]}
    assert step_control.same_raw_step(np.zeros((1, 2, 3, 2, 4)), three).shape == (1, 2, 2, 2, 4)


def test_a_diverged_run_is_no_success():
    columns = {"only": {"objective": np.full((10, 32), np.nan)}}
    assert step_control.success(CL43, columns, "only").sum() == 0


def test_variance_shares_of_known_tables():
    table = np.zeros((5, 2, 2, 2, 3))
    table[:, 1] += 1.0  # init alone
    assert [step_control.explained(table, factor) for factor in grid.FACTORS] == [1.0, 0.0, 0.0, 0.0]
    table = np.arange(3.0) + np.zeros((5, 2, 2, 2, 3)) + np.arange(2.0).reshape(2, 1, 1)  # lr, and momentum
    shares = [step_control.explained(table, factor) for factor in grid.FACTORS]
    assert shares == pytest.approx([0.0, 0.25 / (2 / 3 + 0.25), 0.0, (2 / 3) / (2 / 3 + 0.25)])
    assert step_control.explained(table, "momentum", "lr") == pytest.approx(1.0)
    assert step_control.momentum_beside(table).value == pytest.approx(shares[1])
    assert step_control.explained(np.ones_like(table), "lr") == 0.0


def test_grid_is_the_same_as_single_runs():
    settings = {"overrides": TINY["overrides"], "levels": LEVELS, "device": "cpu"}
    table = MEASURES["grid"].function(settings, np.arange(3))["objective"].reshape(3, 2, 2, 2, 4)
    one = ["problem=e1", "steps=5", "optimizer=shb", "optimizer.lr=0.1", "optimizer.momentum=0.9", "schedule=power"]
    one += ["schedule.q=0.6", "init=normal", "init.std=1.0"]
    alone = run({"overrides": one, "observe": {}, "device": "cpu"}, np.arange(3))["objective"]
    assert (table[:, 1, 1, 0, 1] == alone).all() and len(np.unique(table[0])) > 12


def test_heat_map_rows_are_initialisation_scales():
    heat = step_control.by_cell(step_control.success(CL43, outcome(init=0.7), "only"))
    assert heat.shape == (2, 4) and (heat[1] > heat[0]).all()


# -- CL46 -----------------------------------------------------------------------------------------------------

CL46 = {"seeds": 3000, "control_seeds": 500, "steps": 64, "momentum": 0.9, "q": 0.6, "k0": 10.0}
CL46 |= {"step": {"e1": 0.5, "e3": 0.5, "e6": 0.4, "max_affine": 0.5}}
PASS = Protocol("quick", CL46)


def paths(share=1.0, control=0.0):
    """Runs of which `share` pass at the last two of K = 16, 32, 64."""
    columns = {}
    for name in first_pass.TITLES:
        m = np.full((3000, 3), np.inf)
        m[: int(share * 3000), 1:] = 0.0
        columns[name] = {"stationarity_at": m}
    controls = [f"{name} artificial" for name in first_pass.TRAPS_AT_ZERO]
    for name in (*controls, *(f"{name} summable" for name in first_pass.SUMMABLE)):
        m = np.full((500, 3), np.nan)
        m[: int(control * 500)] = 0.0
        columns[name] = {"stationarity_at": m}
    return columns


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({}, "SUPPORTED"), ({"share": 0.9}, "REFUTED"), ({"share": 0.992}, "INCONCLUSIVE"), ({"control": 1.0}, "VOID")],
)
def test_first_pass_verdicts_follow_the_columns(changes, wanted):
    parts = first_pass.CLAIM.parts(PASS, paths(**changes))
    assert set(verdicts(parts).values()) == {wanted} and len(parts) == 4
    assert ("pass from K = 32 on" in parts[0].remarks) == (changes.get("share", 1.0) >= 0.99)


def test_first_pass_must_last():
    at = [16, 32, 64, 128]
    assert first_pass.first_pass(np.array([1.0, 0.5, 0.99, 1.0]), at) == 64
    assert first_pass.first_pass(np.array([0.99, 1.0, 1.0, 1.0]), at) == 16
    assert first_pass.first_pass(np.array([1.0, 1.0, 1.0, 0.98]), at) is None


def test_thresholds():
    a = first_pass.last_steps(PASS, "e1")
    assert a == pytest.approx([0.5 * (k + 10) ** -0.6 for k in (16, 32, 64)])
    tau, eps = first_pass.thresholds(PASS, "e1")
    assert tau == pytest.approx(3 * np.sqrt(a / 2)) and (eps == 0).all()  # H = C = 1
    tau, eps = first_pass.thresholds(PASS, "max_affine")
    assert (tau == first_pass.FLAT).all() and (np.diff(eps) < 0).all()


@pytest.mark.slow
def test_first_pass_end_to_end():
    protocol = Protocol("quick", CL46 | {"seeds": 50, "control_seeds": 20})
    results = compute(first_pass, protocol)
    at_zero = results["e1 artificial"]["stationarity_at"]
    assert at_zero.shape == (20, 3) and (at_zero == 1).all()
    parts = first_pass.CLAIM.parts(protocol, results)
    assert parts[0].estimate.value > 0.5 and all(len(part.controls) for part in parts)
    assert all(part.evidence().fires(control.estimate) for part in parts for control in part.controls)
