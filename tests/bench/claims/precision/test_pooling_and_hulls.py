"""CL36, CL37, and what all claims of the family share."""

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.figures import precision as drawing
from bench.claims.precision import limiting_gradients
from bench.claims.precision.pool_accuracy import pool_form, pooled
from bench.claims.trajectories import cell_of
from shb.nonsmooth import BetaMaxPool2d
from shb.streams import stream
from tests.bench.claims.precision.columns import init_results, pool_results, training_results, trap_columns, verdicts

RIGHT = dict.fromkeys((f"CL36{letter}" for letter in "abcdghi"), "SUPPORTED") | {"CL36e": "REFUTED", "CL36f": "REFUTED"}


@pytest.mark.parametrize(
    ("accuracy", "others"),
    [
        ({}, {}),
        ({"float32_100_published": 0.9}, {"a": "REFUTED", "g": "VOID", "i": "VOID"}),
        ({"float32_100_published": 0.5}, {"a": "REFUTED", "b": "VOID", "g": "VOID", "i": "VOID"}),
        ({"float32_10000_published": 0.6}, {"c": "REFUTED"}),
        ({"float32_1e+06_ties": 0.4}, {"d": "REFUTED"}),
        ({"bfloat16_1000_ties": 0.9}, {"d": "VOID", "h": "VOID"}),
        ({"float16_1000_ties": 0.95}, {"e": "SUPPORTED", "i": "REFUTED"}),
        ({"bfloat16_100_ties": 0.95}, {"f": "SUPPORTED", "g": "REFUTED"}),
        ({"bfloat16_100_rounding": 0.945}, {"g": "REFUTED"}),
        ({"bfloat16_100_published": 0.6}, {"h": "REFUTED"}),
        ({"bfloat16_1000_published": 0.95}, {"c": "VOID"}),
        ({"bfloat16_100_published": 0.95}, {"a": "VOID", "f": "VOID", "h": "REFUTED"}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_cl36_on_known_accuracies(accuracy, others):
    found = verdicts("CL36", {}, pool_results(**accuracy))
    assert found == RIGHT | {f"CL36{letter}": verdict for letter, verdict in others.items()}


def test_the_form_reaches_the_network_and_leaves_the_shared_problem_alone():
    planned = [pooled("bfloat16", 100.0, form, 2, 2, "cpu") for form in ("published", "ties")]
    first, ties = (pool_form(one.settings, np.arange(2))["objective"] for one in planned)
    assert (first != ties).any()
    shared = cell_of(tuple(planned[0].settings["overrides"]), "cpu").problem().module
    assert {m.form for m in shared.modules() if isinstance(m, BetaMaxPool2d)} == {"published"}


def test_backpropagation_with_biases_lies_in_the_hull_of_limits():
    rows = limiting_gradients.hull_distances({"network": "biases"}, np.arange(3))
    assert (rows["kinks"] >= 1).all() and max(rows[t].max() for t in ("zero", "half", "one")) < 1e-12
    assert (rows["injected"] > 1e-3).any()
    for network in ("e5", "e1"):
        rows = limiting_gradients.hull_distances({"network": network}, np.arange(2))
        assert (rows["zero"] > 0.5).all() and rows["kinks"].tolist() == [2, 2] and rows["patterns"].tolist() == [2, 2]


def test_a_linear_program_finds_the_same_membership():
    """Independent check: a point in the hull has weights >= 0, sum 1 (scipy.optimize.linprog)."""
    from scipy.optimize import linprog

    loss, params = limiting_gradients.biased(stream(1, "init"))
    relu = limiting_gradients.relu
    found = limiting_gradients._gradient(loss, params, lambda x: relu(x, 0.5))
    seen = []
    loss(params, lambda x: seen.append(x) or torch.relu(x))
    m = int((torch.cat([x.flatten() for x in seen]) == 0).sum())
    patterns = [tuple(bool(i >> j & 1) for j in range(m)) for i in range(2**m)]
    limits = np.stack([limiting_gradients._gradient(loss, params, limiting_gradients._fixed(p)) for p in patterns])
    equal = np.vstack([limits.T, np.ones(len(limits))])
    assert linprog(np.zeros(len(limits)), A_eq=equal, b_eq=np.r_[found, 1.0], bounds=(0, None)).status == 0
    outside = np.r_[found + 10 * np.abs(limits).max(), 1.0]
    assert linprog(np.zeros(len(limits)), A_eq=equal, b_eq=outside, bounds=(0, None)).status == 2


def test_cl37_on_known_distances():
    n = 200

    def results(inside=0.0, injected=1.0, e1=1.0, half=0.0):
        own = {t: np.full(n, inside) for t in ("zero", "half", "one")} | {"injected": np.full(n, injected)}
        own |= {"patterns": np.full(n, 4.0), "kinks": np.full(n, 2.0)}
        others = {"e5": np.ones(n), "e1": np.full(n, e1)}
        return {"biases": own} | {name: {"zero": zero, "half": np.full(n, half)} for name, zero in others.items()}

    sizes = {"instances": n}
    assert set(verdicts("CL37", sizes, results()).values()) == {"SUPPORTED"}
    assert verdicts("CL37", sizes, results(inside=1e-4))["CL37a"] == "REFUTED"
    assert verdicts("CL37", sizes, results(injected=0.0))["CL37a"] == "VOID"
    assert verdicts("CL37", sizes, results(half=1.0)) == {"CL37a": "SUPPORTED", "CL37b": "VOID", "CL37c": "VOID"}
    assert verdicts("CL37", sizes, results(e1=0.0))["CL37c"] == "REFUTED"


@pytest.mark.parametrize("claim", [f"CL{n}" for n in range(32, 38)])
def test_experiments_are_known_measures_of_a_known_family(claim):
    planned = CLAIMS[claim].experiments(Protocol("quick", _Any()))
    assert CLAIMS[claim].family == "precision" and all(one.measure in MEASURES for one in planned.values())
    assert ("mnist" in CLAIMS[claim].datasets) == (claim in ("CL33", "CL34", "CL35"))


class _Any(dict):
    """Sizes of a protocol: 2, whatever is asked for."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return 2


def test_the_figure_copes_with_any_subset():
    results = {"CL32": trap_columns(n=4096), "CL33": init_results(), "CL36": pool_results()}
    results["CL34"] = {"float32": results["CL33"]["float32"]} | training_results()
    for present in (["CL32"], ["CL33", "CL36"], ["CL34"], list(results)):
        figure = drawing.figure({}, {claim: results[claim] for claim in present})
        assert len(figure.axes) == len(present) + (len(present) % 2 if len(present) > 1 else 0)
    assert drawing.figure({}, {"CL37": {}}) is None
