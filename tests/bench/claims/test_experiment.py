"""Ensembles: identity, storing, resuming, extending; trajectories and their observers."""

import numpy as np
import pytest
import torch

from bench.cell.cell import NUMERICS
from bench.claims import experiment as module
from bench.claims.experiment import Experiment, measure
from bench.claims.observers import dyadic
from bench.claims.trajectories import run, trajectories
from bench.store.store import Store
from shb.errors import ConfigurationError
from shb.problems import E1
from shb.training import Plan

CALLS = []


@measure("test_squares")
def squares(settings, seeds):
    CALLS.append(list(seeds))
    if settings.get("fail_at") in seeds:
        raise RuntimeError("broken on purpose")
    return {"square": seeds**2 * settings["scale"], "pair": np.stack([seeds, -seeds], 1)}


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def squared(seeds, **options):
    settings = {"scale": 1.0, **options.pop("settings", {})}
    return Experiment("test_squares", settings, seeds, chunk=4, **options)


def test_columns_come_back_in_the_order_of_the_seeds(tmp_path):
    store, one = Store(tmp_path), squared(10, first_seed=3)
    one.compute(store)
    columns = one.load(Store(tmp_path))
    assert columns["square"].tolist() == [s**2 for s in range(3, 13)]
    assert columns["pair"].tolist() == [[s, -s] for s in range(3, 13)]
    assert CALLS == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12]]


def test_nothing_is_computed_twice_and_more_seeds_cost_only_what_is_new(tmp_path):
    store = Store(tmp_path)
    squared(8).compute(store)
    squared(8).compute(Store(tmp_path))
    assert len(CALLS) == 2
    squared(12).compute(Store(tmp_path))
    assert CALLS[2:] == [[8, 9, 10, 11]]


def test_an_interrupted_experiment_keeps_its_finished_ensembles(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"):
        squared(12, settings={"fail_at": 9}).compute(Store(tmp_path))
    broken = squared(12, settings={"fail_at": 9})
    assert broken.missing(Store(tmp_path)) == [(8, 12)]


def test_identity_is_measure_version_settings_and_seeds(monkeypatch):
    one = squared(4)
    own = one.ensemble_id(0, 4)
    assert own == squared(40).ensemble_id(0, 4)
    assert own != squared(4, settings={"scale": 2.0}).ensemble_id(0, 4)
    assert own != one.ensemble_id(0, 3)
    assert own != one.ensemble_id(4, 8)
    monkeypatch.setitem(module.MEASURES, "test_squares", module.Measure(squares, 2))
    assert own != one.ensemble_id(0, 4)


def test_a_torn_ensemble_is_computed_again(tmp_path):
    squared(4).compute(Store(tmp_path))
    (shard,) = (tmp_path / "ensembles").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-7])
    store = Store(tmp_path)
    assert squared(4).missing(store) == [(0, 4)]
    assert store.damaged == [shard]


def test_a_wrong_number_of_rows_is_refused(tmp_path):
    name = "test_wrong_rows"
    if name not in module.MEASURES:
        measure(name)(lambda settings, seeds: {"x": np.zeros(len(seeds) + 1)})
    with pytest.raises(ValueError, match="column x"):
        Experiment(name, {}, 3).compute(Store(tmp_path))
    with pytest.raises(ConfigurationError, match="did you mean test_squares"):
        Experiment("test_square", {}, 3)


SGD = ("problem=e1", "optimizer=sgd", "optimizer.lr=0.3", "schedule=power", "schedule.k0=0", "steps=70")


def columns_of(*overrides, seeds=5, first=0, observe=None):
    one = trajectories(*overrides, seeds=seeds, first_seed=first, observe=observe)
    return run(one.settings, np.arange(first, first + seeds))


def by_hand(seed):
    """SGD on E1 in plain Python: w_0, ..., w_70."""
    problem = E1()
    w = [problem.initial_parameters(seed)["w"].item()]
    for k, s in enumerate(problem.sample(seed, 0, 70).tolist()):
        v = w[-1] + (2 * (w[-1] > 0) if s > 0 else 2 * (w[-1] < 0))
        w.append(w[-1] - 0.3 / (k + 1) ** 0.75 * v)
    return np.array(w)


def test_the_bits_of_compiled_steps_are_part_of_the_identity(monkeypatch):
    eager, compiled = (trajectories(*SGD, f"engine={engine}", seeds=2) for engine in ("eager", "compiled"))
    monkeypatch.setitem(NUMERICS, "compiled", NUMERICS["compiled"] + 1)
    later = [trajectories(*SGD, f"engine={engine}", seeds=2).ensemble_id(0, 2) for engine in ("eager", "compiled")]
    assert eager.ensemble_id(0, 2) == later[0]
    assert compiled.ensemble_id(0, 2) != later[1]


def test_trajectories_against_a_loop_by_hand():
    at = [0, 1, 2, 64, 70]
    observe = {"path": {"at": at}, "windows": {}, "objective": {"at": at}}
    columns = columns_of(*SGD, observe=observe)
    for seed in range(5):
        w = by_hand(seed)
        f, far = w + w * w / 2, abs(w + 1)
        assert columns["w0"][seed] == pytest.approx(w[at], abs=1e-12)
        assert columns["objective_at"][seed] == pytest.approx(f[at], abs=1e-12)
        assert columns["objective"][seed] == pytest.approx(f[-1], abs=1e-12)
        assert columns["sup_norm"][seed] == pytest.approx(abs(w).max(), abs=1e-12)
        assert columns["speed"][seed] == pytest.approx(abs(w[-1] - w[-2]), abs=1e-12)
        windows = [slice(2**j // 2, 2**j + 1) for j in range(1, 7)]
        assert columns["osc"][seed] == pytest.approx([np.ptp(f[i]) for i in windows], abs=1e-12)
        assert columns["f_max"][seed] == pytest.approx([f[i].max() for i in windows], abs=1e-12)
        assert columns["distance_max"][seed] == pytest.approx([far[i].max() for i in windows], abs=1e-12)


def test_a_row_does_not_depend_on_its_neighbours():
    observe = {"windows": {}, "occupation": {"radius": 0.1, "delta": 0.2, "at": [64]}}
    whole = columns_of(*SGD, seeds=9, observe=observe)
    part = columns_of(*SGD, seeds=3, first=4, observe=observe)
    for name, values in part.items():
        assert np.array_equal(values, whole[name][4:7]), name


def test_touching_and_trapping_are_told_apart():
    exceptional = ("problem=e1", "optimizer.lr=1.0", "schedule=power", "schedule.q=1.0", "schedule.k0=0", "steps=70")
    sgd = columns_of(*exceptional, "optimizer=sgd", seeds=40)
    shb = columns_of(*exceptional, "optimizer=shb", "optimizer.momentum=0.5", seeds=40)
    assert 5 < sgd["trapped"].sum() < 35
    assert np.array_equal(sgd["trapped"], sgd["first_touch"] == 1)
    assert np.array_equal(shb["first_touch"] == 1, sgd["first_touch"] == 1)
    assert not shb["trapped"].any() and shb["touched"].sum() == (shb["first_touch"] >= 0).sum()


def test_occupation_is_weighted_by_the_step_size():
    columns = columns_of(*SGD, observe={"occupation": {"radius": 0.1, "delta": 0.2, "at": [10, 70]}})
    alpha = 0.3 / np.arange(1, 71) ** 0.75
    for seed in range(5):
        far = np.maximum(abs(by_hand(seed)[:-1] + 1) - 0.1, 0) > 0.2
        expected = [(alpha * far)[:k].sum() / alpha[:k].sum() for k in (10, 70)]
        assert columns["occupation"][seed] == pytest.approx(expected, abs=1e-12)


def test_networks_report_the_loss_over_all_training_data():
    columns = columns_of(
        "dataset=digits", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=0.1", "steps=3", "dtype=float32",
        seeds=2, observe={"objective": {"at": [0, 3]}},
    )  # fmt: skip
    assert columns["objective_at"].shape == (2, 2)
    assert np.array_equal(columns["objective_at"][:, 1], columns["objective"])
    assert abs(columns["objective_at"][:, 0] - np.log(10)).max() < 0.5
    assert "trapped" not in columns


def test_windows_end_at_powers_of_two():
    assert dyadic(70) == [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64)]
    assert dyadic(64)[-1] == (32, 64)
    assert Plan(1).steps == 1 and dyadic(1) == []


def test_float64_is_the_default_and_a_given_dtype_is_kept():
    assert columns_of(*SGD, seeds=2)["w0"].dtype == np.float64
    coarse = columns_of(*SGD, "dtype=bfloat16", seeds=4)["w0"]
    assert np.array_equal(coarse, torch.tensor(coarse).bfloat16().double().numpy())
