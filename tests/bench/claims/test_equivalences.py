"""CL1 to CL3: verdicts on synthetic columns, and on real ones with broken conversions and formulas."""

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.equivalences import momentum_forms, neuron_identity, z_transform
from bench.claims.experiment import MEASURES
from bench.claims.verdict import judge
from shb.optimizers import conversions

SIZES = Protocol("quick", {"seeds": 3, "steps": 60})  # too few to support, enough to refute
ENOUGH = 400


def verdicts(claim, results, sizes=SIZES):
    parts = CLAIMS[claim].parts(sizes, results)
    return {part.id: str(one.verdict) for part, one in zip(parts, judge([part.evidence() for part in parts]))}


def agreeing(claim, results, sizes=SIZES):
    """Part -> share of the instances in which the identity holds, of the least favourable case."""
    return {part.id: part.shown.value for part in CLAIMS[claim].parts(sizes, results)}


def measured(claim, sizes=SIZES):
    planned = CLAIMS[claim].experiments(sizes)
    return {name: MEASURES[one.measure].function(one.settings, np.arange(one.seeds)) for name, one in planned.items()}


@pytest.mark.parametrize("claim", ["CL1", "CL2", "CL3"])
def test_every_part_holds_on_real_instances(claim):
    results = measured(claim)
    found = agreeing(claim, results)
    assert set(found.values()) == {1.0} and set(verdicts(claim, results).values()) == {"INCONCLUSIVE"}
    assert len(found) == {"CL1": 7, "CL2": 2, "CL3": 2}[claim]


def columns(claim, good, bad, wrong=0):
    """Synthetic columns of a claim: every difference `good` but for `wrong` instances, in its controls `bad`."""
    good, bad = np.where(np.arange(ENOUGH) < wrong, 2e-10, good), np.full(ENOUGH, bad)
    forms = [form for form, *_ in momentum_forms.FORMS]
    if claim == "CL2":  # the formula with the wrong c decides nothing
        own = {f"{name}{wrong}": np.array([0.0]) for name in ("residual", "impulse") for wrong in ("", "_wrong")}
        return {n: own | dict.fromkeys(("residual", "impulse"), v) for n, v in (("z", good), ("nesterov", bad))}
    pairs = {
        "CL1": {"forms": [(f"{form}_converted", f"{form}_unconverted") for form in forms]},
        "CL3": {data: [(n, f"{n}_raw") for n in ("objective", "gradient")] for data in ("random", "diabetes")},
    }[claim]
    return {name: {key: values for a, b in own for key, values in ((a, good), (b, bad))} for name, own in pairs.items()}


@pytest.mark.parametrize("claim", ["CL1", "CL2", "CL3"])
def test_wrong_instances_refute_and_a_silent_control_voids(claim):
    assert set(verdicts(claim, columns(claim, 1e-14, 0.1)).values()) == {"SUPPORTED"}
    assert set(verdicts(claim, columns(claim, 1e-14, 0.1, wrong=12)).values()) == {"INCONCLUSIVE"}
    assert set(verdicts(claim, columns(claim, 1e-14, 0.1, wrong=60)).values()) == {"REFUTED"}
    assert set(verdicts(claim, columns(claim, 1e-14, 1e-14)).values()) == {"VOID"}


def test_a_wrong_conversion_is_refuted_where_it_is_used(monkeypatch):
    right = conversions.torch_to_polyak
    monkeypatch.setattr(conversions, "torch_to_polyak", lambda lr, mu, tau=0.0: (right(lr, mu, tau)[0], mu + 0 * lr))
    results = measured("CL1")
    assert [part for part, share in agreeing("CL1", results).items() if share < 1] == ["CL1b"]
    assert verdicts("CL1", results)["CL1b"] == "REFUTED"


@pytest.mark.parametrize(
    ("name", "wrong", "part"),
    [
        ("polyak_to_torch", lambda alpha, beta: (alpha, beta), "CL1c"),
        ("ema_to_polyak", lambda lr, mu: ((1 - mu) * lr, mu), "CL1d"),
        ("nesterov_to_polyak", lambda lr, mu: conversions.Nesterov(mu, lr, 0.0), "CL1e"),
        ("adam_to_polyak", lambda lr, mu, eps, v: ((1 - mu) * lr[:, None] / np.sqrt(v), mu + 0 * v), "CL1f"),
        ("velocity_to_polyak", lambda lr, mu, w, u: conversions.Polyak(lr, mu, w + u), "CL1a"),
    ],
)
def test_each_conversion_is_tested_by_its_own_part(monkeypatch, name, wrong, part):
    monkeypatch.setattr(conversions, name, wrong)
    results = measured("CL1")
    assert [one for one, share in agreeing("CL1", results).items() if share < 1] == [part]
    assert verdicts("CL1", results)[part] == "REFUTED"


def test_wrong_weights_of_the_z_transform_are_refuted(monkeypatch):
    monkeypatch.setattr(z_transform, "z_weights", lambda beta: np.append(beta, beta[-1]))
    assert verdicts("CL2", measured("CL2")) == {"CL2a": "REFUTED", "CL2b": "INCONCLUSIVE"}


def test_a_wrong_effective_step_is_refuted(monkeypatch):
    monkeypatch.setattr(z_transform, "effective_step", conversions.constant_momentum_step)
    assert verdicts("CL2", measured("CL2")) == {"CL2a": "REFUTED", "CL2b": "REFUTED"}


def test_the_neuron_without_its_mirror_images_is_refuted(monkeypatch):
    monkeypatch.setattr(neuron_identity.E6, "_data", lambda self, x, y: (x, y))
    assert verdicts("CL3", measured("CL3"))["CL3a"] == "REFUTED"


def test_the_control_of_the_neuron_is_silent_on_data_that_have_their_mirror_images(monkeypatch):
    draw = neuron_identity._data

    def mirrored(name, seed):
        x, y, generator = draw(name, seed)
        return torch.cat([x, -x]), torch.cat([y, -y]), generator

    monkeypatch.setattr(neuron_identity, "_data", mirrored)
    assert verdicts("CL3", measured("CL3")) == {"CL3a": "VOID", "CL3b": "VOID"}
