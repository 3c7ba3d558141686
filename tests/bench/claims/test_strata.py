"""CL56: integrals along many paths, strata and oracles of known truth, verdicts, a tiny run."""

import numpy as np
import pytest
import torch

from bench.claims.artificial import strata
from bench.claims.artificial.kink_strata import defects, field, integrals, stratum
from tests.bench.claims.synthetic import run_tiny, verdicts_of

SIZES = {"polygons": 30, "chunk": 30}
KINDS = tuple(strata.PLACES)


def test_integrals_of_many_functions_with_jumps():
    """By hand, all refined together: a jump at 1/3, a polynomial of degree 5, a jump beside an edge of a cell."""
    functions = [lambda t: (t > 1 / 3).double(), lambda t: 6 * t**5, lambda t: (t > 0.5 + 1e-5).double() + t]

    def function(path, t):
        return torch.stack([one(t) for one in functions])[path, torch.arange(len(t))]

    assert integrals(function, 3).numpy() == pytest.approx([2 / 3, 1.0, 0.5 - 1e-5 + 0.5], abs=1e-10)


def test_a_defect_is_that_of_the_polygon_by_hand():
    """F = |w|^2 / 2 with half of its gradient: half of F(end) - F(start), over the largest F at a corner."""
    corners = torch.tensor([[[0.0, 1.0], [2.0, -1.0], [3.0, 0.0]]], dtype=torch.float64)
    found = defects(lambda w: (w * w).sum(1) / 2, lambda w: w / 2, corners)
    assert found.item() == pytest.approx((4.5 - 0.5) / 2 / 4.5)


@pytest.mark.parametrize("kind", KINDS)
def test_points_of_a_stratum_lie_on_a_kink_of_every_sample_or_of_one(kind):
    """The oracle depends on ReLU'(0) there, not beside it, and the dependence is normal to the stratum."""
    zero, one = (stratum(kind, t) for t in (0.0, 1.0))
    u = torch.from_numpy(np.random.default_rng(0).normal(size=(20, len(zero.basis))))
    w = zero.points(u)
    assert zero.holds(w).all() and not zero.holds(w + 1e-9).any() and torch.equal(zero.free(w), u)
    difference = field(one)[1](w) - field(zero)[1](w)
    assert (difference.norm(dim=1) > 1e-3).double().mean() > 0.5
    assert (difference @ zero.basis.T).abs().max() < 1e-12
    beside = w + 1e-6 * torch.from_numpy(np.random.default_rng(1).normal(size=w.shape))
    assert torch.equal(field(one)[1](beside), field(zero)[1](beside))


def test_garbage_is_on_the_stratum_only_and_along_it():
    place = stratum("line")
    w = torch.tensor([[0.0, 0.5], [1e-300, 0.5]], dtype=torch.float64)
    assert (field(place, "garbage")[1](w) - field(place)[1](w)).tolist() == [[0.0, 100.0], [0.0, 0.0]]


def columns(defect, n=30):
    return {"defect": np.full(n, defect), "oracle": np.ones(n), "crossings": np.full(n, 2.0)}


def world(**changes):
    results = {f"{kind} {rule} {t:g}": columns(1e-12) for kind in KINDS for t, rule in strata.CONVENTIONS}
    results |= {f"{kind} {wrong}": columns(1.0) for kind in KINDS for wrong in strata.WRONG}
    results |= {f"{kind} across": columns(1e-12, 210) for kind in strata.CLOSED}
    return results | {name.replace("_", " "): one for name, one in changes.items()}


@pytest.mark.parametrize(
    ("changes", "part", "verdict"),
    [
        ({}, "b", "SUPPORTED"),
        ({"tied_chain_0.5": columns(1e-6)}, "b", "REFUTED"),
        ({"dead_garbage": columns(1e-12)}, "b", "VOID"),
        ({"line_injected_1": columns(1e-6)}, "a", "REFUTED"),
        ({"bias_detached": columns(1e-12)}, "a", "VOID"),
        ({"line_across": columns(1e-3, 210)}, "c", "REFUTED"),
        ({"line_garbage": columns(1e-12)}, "c", "VOID"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else value,
)
def test_another_world_has_another_verdict(changes, part, verdict):
    found = {name: one for name, (one, _) in verdicts_of("CL56", SIZES, world(**changes)).items()}
    assert found[f"CL56{part}"] == verdict
    assert changes or set(found.values()) == {"SUPPORTED"}


@pytest.mark.slow
def test_a_tiny_run_shows_what_the_claim_says():
    results, parts = run_tiny("CL56", {"polygons": 2, "chunk": 2})
    assert [part.shown.hits for part in parts] == [0, 0, 0]
    assert all(one.estimate.hits == one.estimate.n for part in parts for one in part.controls)
    assert all((results[f"{kind} across"]["crossings"] == strata.CORNERS - 1).all() for kind in strata.CLOSED)
