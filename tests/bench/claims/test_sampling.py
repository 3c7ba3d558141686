"""CL38-CL41: verdicts on synthetic columns of known truth, the observers, and tiny runs."""

import itertools

import numpy as np
import pytest
import torch

import bench.claims.sampling.monitors as monitors
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.sampling import adam, full_batch, matched_steps, networks_converge
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.sampling.oracles import full_batch_loss, spec
from bench.claims.trajectories import run
from bench.claims.verdict import judge
from bench.statistics.estimates import ratio_of_means, ratio_of_ratios
from shb.problems.closed_forms import E1, E6
from tests.shb.problems.tiny import mlp_problem

RNG = np.random.default_rng(1)
NETWORK = ["model=mlp", "model.hidden=[8]", "dataset=digits"]


def verdicts(parts):
    return {one.id: str(one.verdict) for one in judge([part.evidence() for part in parts])}


def compute(claim, protocol):
    planned = claim.CLAIM.experiments(protocol)
    return {name: MEASURES[e.measure].function(e.settings, np.arange(e.seeds)) for name, e in planned.items()}


# -- CL38 -----------------------------------------------------------------------------------------------------

CL38 = {
    "points": 5,
    "trap_seeds": 4,
    "trap_steps": 20,
    "seeds": 2000,
    "constant_seeds": 2000,
    "steps": 384,
    "step": {"E1": 0.5, "E6": 0.2},
    "q": 0.75,
    "k0": 10.0,
}


@pytest.fixture(scope="module")
def cl38():
    protocol = Protocol("quick", CL38)
    return protocol, compute(full_batch, protocol)


@pytest.mark.slow
def test_full_batch_end_to_end(cl38):
    assert verdicts(full_batch.CLAIM.parts(*cl38)) == {"CL38a": "SUPPORTED", "CL38b": "SUPPORTED", "CL38c": "SUPPORTED"}


@pytest.mark.slow
def test_full_batch_verdicts_follow_the_columns(cl38):
    protocol, results = cl38
    noisy = results["random constant"]
    assert verdicts(full_batch.CLAIM.parts(protocol, {**results, "random sampled": noisy}))["CL38c"] == "REFUTED"
    silent = {**results, "random constant": results["random sampled"]}
    assert verdicts(full_batch.CLAIM.parts(protocol, silent))["CL38c"] == "VOID"
    repaired = {**results, "E1 sgd full": results["E1 sgd clarke"]}
    assert verdicts(full_batch.CLAIM.parts(protocol, repaired))["CL38b"] == "REFUTED"
    resting = {**results, "E1 sgd clarke": results["E1 sgd full"]}
    assert verdicts(full_batch.CLAIM.parts(protocol, resting))["CL38b"] == "VOID"
    right = {**results, "E1 oracle t=0.0": {**results["E1 oracle t=0.0"], "at_zero": np.zeros(5)}}
    assert verdicts(full_batch.CLAIM.parts(protocol, right))["CL38a"] == "REFUTED"
    wrong = {**results, "E6 oracle t=0.5": results["E6 oracle t=0.0"]}
    assert verdicts(full_batch.CLAIM.parts(protocol, wrong))["CL38a"] == "VOID"


@pytest.mark.parametrize("problem", [E1(), E6(torch.randn(9, 3).double(), torch.randn(9).double())])
def test_full_batch_oracle_is_the_mean_over_all_samples(problem):
    w = torch.randn(problem.size, dtype=torch.float64)
    drawn = problem.samples_of(np.arange(60_000), 0, 1)[0]
    losses = torch.func.vmap(problem.loss, in_dims=({"w": None}, *(0 for _ in problem.batch(drawn))))
    mean = losses({"w": w}, *problem.batch(drawn)).mean()
    assert full_batch_loss(problem)(w) == pytest.approx(float(problem.objective(w)), rel=1e-12)
    assert float(mean) == pytest.approx(float(problem.objective(w)), rel=0.05)


def test_stationarity_at_artificial_points():
    columns = MEASURES["oracle_error"].function(spec("problem=e1", device="cpu"), np.arange(3))
    assert columns["gradient"] == pytest.approx(1.0) and columns["at_zero"] == pytest.approx(1.0)
    assert (np.abs(columns["stationarity"] - 1) <= 0.01).all()


# -- CL39 -----------------------------------------------------------------------------------------------------

CL39 = {"seeds": 500, "steps": 512, "step": {"E1": 0.5, "E6": 0.2}, "early": 32, "q": 0.75, "k0": 10.0}


@pytest.fixture(scope="module")
def cl39():
    protocol = Protocol("quick", CL39)
    return protocol, compute(matched_steps, protocol)


@pytest.mark.slow
def test_matched_steps_end_to_end(cl39):
    parts = matched_steps.CLAIM.parts(*cl39)
    assert [part.id for part in parts] == ["CL39a", "CL39b", "CL39c"]
    assert verdicts(parts)["CL39c"] == "SUPPORTED" and verdicts(parts)["CL39b"] == "SUPPORTED"


@pytest.mark.slow
def test_matched_steps_verdicts_follow_the_columns(cl39):
    protocol, results = cl39
    swapped = {**results, "E1 shb": results["E1 unmatched"], "E6 shb": results["E6 unmatched"]}
    found = verdicts(matched_steps.CLAIM.parts(protocol, swapped))
    assert found["CL39a"] == found["CL39b"] == found["CL39c"] == "REFUTED"
    same = verdicts(matched_steps.CLAIM.parts(protocol, {**results, "E1 unmatched": results["E1 sgd"]}))
    assert same["CL39a"] == "VOID"


def test_expected_gap_against_sampling():
    protocol = Protocol("quick", CL39)
    beta, x = 0.9, 1 + 2 * RNG.standard_normal(200_000)
    previous = x
    for k in range(20):
        alpha = 0.05 * (k + 11) ** -0.75
        noise = RNG.choice([-1.0, 1.0], len(x))
        x, previous = x - alpha * (x + noise) + beta * (x - previous), x
    assert (x * x).mean() / 2 == pytest.approx(matched_steps.expected_gap(protocol, beta, 20), rel=0.02)


def test_ratio_of_means_covers_the_truth():
    hits = 0
    for _ in range(300):
        y = RNG.exponential(size=200)
        low, high = ratio_of_means(1.5 * y + RNG.normal(0, 0.5, 200), y).interval()
        hits += low <= 1.5 <= high
    assert 0.91 <= hits / 300 <= 0.985
    assert ratio_of_means(np.array([2.0, 4.0]), np.array([1.0, 2.0])).value == 2.0


def test_ratio_of_ratios_covers_the_truth():
    covered = 0
    for _ in range(400):
        x, y = RNG.gamma(4.0, size=(2, 200))
        first, third = 3 * x + RNG.normal(0, 0.5, 200), 2 * y + RNG.normal(0, 0.5, 200)
        low, high = ratio_of_ratios(first, RNG.gamma(4.0, size=200), third, y).interval()
        covered += low <= 1.5 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert ratio_of_ratios(*map(np.array, ([6.0, 6.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0]))).value == 2.0


# -- CL40 -----------------------------------------------------------------------------------------------------


def adam_columns(zero=0.0, half=1.0, random=1.0, far=0.0):
    n = 2000
    columns = {}
    for problem in adam.PROBLEMS:
        for start, artificial in (("zero", zero), ("half", half), ("random", random)):
            clarke = np.full(n, 1.0 if start == "zero" else far)
            columns[f"{problem} {start}"] = {"artificial_distance": np.full(n, artificial), "clarke_distance": clarke}
    return columns


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "SUPPORTED SUPPORTED SUPPORTED"),
        ({"zero": 0.1}, "REFUTED VOID SUPPORTED"),
        ({"half": 0.0}, "VOID SUPPORTED SUPPORTED"),
        ({"random": 0.0}, "SUPPORTED REFUTED SUPPORTED"),
        ({"far": 0.5}, "SUPPORTED SUPPORTED REFUTED"),
        ({"far": np.nan}, "SUPPORTED SUPPORTED REFUTED"),
    ],
)
def test_adam_verdicts_follow_the_columns(changes, wanted):
    protocol = Protocol("quick", {"seeds": 2000, "near": 0.25})
    assert list(verdicts(adam.CLAIM.parts(protocol, adam_columns(**changes))).values()) == wanted.split()


@pytest.mark.slow
def test_adam_end_to_end():
    protocol = Protocol("quick", {"seeds": 3, "steps": 50, "lr": 1.0, "near": 20.0})
    parts = adam.CLAIM.parts(protocol, compute(adam, protocol))
    assert [part.estimate.hits for part in parts] == [12, 0, 0] and parts[0].controls[0].estimate.hits == 0


# -- CL41 -----------------------------------------------------------------------------------------------------

CL41 = {"seeds": 3, "chunk": 3, "steps": 64, "first_window": 8, "radius": 0.01, "samples": 4, "rows": 50}
CL41 |= {"zero_rows": 50, "networks": {"tiny": NETWORK}, "step": {"tiny": 0.5, "loud": 0.5}, "noisy": {"loud": NETWORK}}
CL41 |= {"noisy_seeds": 3, "noisy_chunk": 3}
CL41 |= {"from_zero": ["tiny"], "seconds": {"tiny": 1e-4, "loud": 1e-4}}


@pytest.fixture(scope="module")
def cl41():
    protocol = Protocol("quick", CL41)
    return protocol, compute(networks_converge, protocol)


@pytest.mark.slow
def test_networks_end_to_end(cl41):
    parts = {part.id: part for part in networks_converge.CLAIM.parts(*cl41)}
    assert list(parts) == [f"CL41{letter}" for letter in "abcdef"]
    borders = parts["CL41c"].evidence(), parts["CL41d"].evidence()
    assert borders[0].fires(borders[0].controls[1]) and all(map(borders[1].fires, borders[1].controls))
    assert parts["CL41d"].estimate.value == 1 and parts["CL41e"].estimate.value == 10 / (65 * 8 + 9 * 10)


def synthetic(cl41, slope=-0.5, fall=-1.0, constant=(0.1, 0.1), stall=0, zeros=0):
    protocol, results = cl41
    n = 60

    def columns(slope, fall):
        f = np.zeros((n, len(networks_converge.evaluated(protocol))))
        place = {k: i for i, k in enumerate(networks_converge.evaluated(protocol))}
        for low, high in networks_converge.windows(protocol):
            f[:, place[low] + 1] = -(high**slope) * RNG.lognormal(0, 0.05, n)  # a dip of that depth inside the window
        m = np.stack([np.ones(n), np.exp(fall + RNG.normal(0, 0.05, n))], 1)
        row = {"diverged": np.zeros(n), "sup_norm": np.ones(n), "longest_stall": np.full(n, stall)}
        row |= {"zeros": np.full((n, 2), zeros), "inputs": np.full((n, 2), 1e7), "moved": np.ones(n)}
        return {"objective_at": f, "stationarity": m, **row}

    own = {"tiny random": columns(-0.5, -1.0), "loud decaying": columns(slope, fall)}
    return protocol, {**results, **own, "loud constant": columns(*constant)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {}),
        ({"slope": 0.4}, {"CL41a": "REFUTED"}),
        ({"fall": 0.5}, {"CL41b": "REFUTED"}),
        ({"constant": (-0.5, -1.0)}, {"CL41a": "VOID", "CL41b": "VOID"}),
        ({"slope": -0.2, "fall": -0.1}, {"CL41a": "REFUTED", "CL41b": "REFUTED"}),  # falls, but not with the step
        ({"stall": 50}, {"CL41d": "REFUTED"}),
        ({"zeros": 100}, {"CL41c": "REFUTED"}),
    ],
)
def test_network_verdicts_follow_the_columns(cl41, changes, wanted):
    found = verdicts(networks_converge.CLAIM.parts(*synthetic(cl41, **changes)))
    supported = dict.fromkeys(("CL41a", "CL41b", "CL41c", "CL41d"), "SUPPORTED")
    assert {name: found[name] for name in supported} == {**supported, **wanted}


def test_an_artificial_stall_is_told_from_a_clarke_critical_one(cl41):
    protocol, results = cl41
    artificial = {**results["tiny zero"], "stationarity": np.full((3, 2), 0.6) + RNG.normal(0, 0.01, (3, 2))}
    assert verdicts(networks_converge.CLAIM.parts(protocol, {**results, "tiny zero": artificial}))["CL41f"] == "REFUTED"
    blind = {"stationarity": np.full(10, 0.01)}
    assert verdicts(networks_converge.CLAIM.parts(protocol, {**results, "E6 artificial": blind}))["CL41f"] == "VOID"
    absent = {name: value for name, value in results.items() if not name.startswith("tiny")}
    assert verdicts(networks_converge.CLAIM.parts(protocol, absent)) == {"CL41": "OUT-OF-SCOPE"}


def test_windows_cover_the_run():
    protocol = Protocol("quick", {"steps": 64, "first_window": 8})
    assert networks_converge.windows(protocol) == [(8, 16), (16, 32), (32, 64)]
    assert {8, 16, 32, 64} <= set(networks_converge.evaluated(protocol))


# -- observers and helpers ------------------------------------------------------------------------------------


def test_stall_counts_updates_without_effect():
    one = monitors.Stall(None, None)
    w = [torch.tensor([[x], [0.0]]) for x in (0.0, 1.0, 1.0, 2.0, 2.0, 2.0)]
    one.start({"w": w[0]})
    for before, after in itertools.pairwise(w):
        one(monitors.StackStep(0, {"w": before}, {}, {"w": after}, {}))
    columns = one.columns()
    assert columns["longest_stall"].tolist() == [2, 5] and columns["moved"].tolist() == [1.0, 0.0]


def test_network_observers_do_not_depend_on_the_stack():
    overrides = ["problem=learning", *NETWORK, "optimizer=sgd", "steps=4", "dtype=float32"]
    observe = {"network_stationarity": {"at": [0, 4], "radius": 0.01, "samples": 3, "rows": 40}}
    observe |= {"exact_zeros": {"at": [0, 4], "rows": 40}}
    settings = {"overrides": overrides, "observe": observe, "device": "cpu"}
    both, alone = run(settings, np.arange(2)), run(settings, np.array([1]))
    for name in ("stationarity", "zeros", "inputs"):
        assert both[name].shape == (2, 2) and (both[name][1] == alone[name][0]).all()
    assert (both["inputs"] == 40 * 8).all() and (both["zeros"] == 0).all()
    zero = run({**settings, "overrides": [*overrides, "init=zeros"]}, np.arange(1))
    assert (zero["zeros"] == 40 * 8).all()


def test_networks_without_data_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("SHB_DATA", str(tmp_path))
    protocol = Protocol("full", {"networks": {"here": NETWORK, "absent": ["model=mlp", "dataset=mnist"]}})
    assert list(networks(protocol)) == ["here"]
    assert "absent" in out_of_scope(protocol, {"here sgd": {}}) and "here" not in out_of_scope(protocol, {"here a": {}})
    assert out_of_scope(protocol, {"here sgd": {}, "absent sgd": {}}) is None


def test_the_gradient_of_the_stationarity_measure_is_that_of_all_its_samples(monkeypatch):
    problem = mlp_problem()
    x, y = (part.double() for part in monitors.training_data(problem, 45))
    params = {name: p.double() for name, p in problem.initial_parameters(0).items()}
    exact = torch.func.grad(problem.loss)(params, x, y)
    for piece in (7, 45, 100):  # 45 = 6 * 7 + 3
        monkeypatch.setattr(monitors, "PIECE", piece)
        measure = monitors.NetworkStationarity(problem, None, [0], 0.01, 3, 45)
        torch.testing.assert_close(measure.gradient(params), exact, rtol=1e-12, atol=1e-15)
