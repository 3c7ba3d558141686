"""CL33, CL34, CL35: verdicts on columns with known truth."""

import numpy as np

from bench.claims.precision import literature
from tests.bench.claims.precision.columns import BORDER, init_results, split_columns, training_results, verdicts


def test_shares_like_the_published_ones_support_cl33():
    found = verdicts("CL33", BORDER, init_results())
    assert found["CL33g"] == "SUPPORTED" and {found[f"CL33{x}"] for x in "abcdef"} == {"SUPPORTED"}


def test_cl33_sees_wrong_worlds():
    results = init_results(injected=np.zeros((60, 5)))
    assert verdicts("CL33", BORDER, results)["CL33b"] == "REFUTED"
    flat = init_results() | {"float32": split_columns(60, [0.1] * 5)}
    found = verdicts("CL33", BORDER, flat)
    assert found["CL33c"] == "REFUTED" and found["CL33a"] != "SUPPORTED"
    double = init_results() | {"float64": split_columns(16, [1] * 5)}
    found = verdicts("CL33", BORDER, double)
    assert found["CL33e"] == "REFUTED" and found["CL33d"] == "VOID"
    smooth = verdicts("CL33", BORDER, init_results() | {"border_float64": {"differs": np.zeros(200)}})
    assert smooth["CL33e"] == "VOID" and smooth["CL33f"] == "REFUTED"
    kinked = init_results() | {"border_random": {"differs": np.ones(200)}}
    assert verdicts("CL33", BORDER, kinked)["CL33f"] == "VOID"
    agree = init_results() | {"underflow": split_columns(10, [1] * 5)}
    assert verdicts("CL33", BORDER, agree)["CL33b"] == "VOID"


def test_the_table_shows_published_and_measured_shares():
    text = literature.table(init_results())
    assert "| float32 | 6 | 69.7 [66.8, 72.5], n = 1000 |" in text and text.count("\n") == 16
    assert "| float64 | 6 | not compared by the public code | 0.0 [" in text
    assert "(published 5.4 / 25.8 / 46.3 / 64.7 / 69.7 %)" in literature.summary(init_results(), "float32", "chain")


def test_cl34_on_known_effects():
    sizes = {"seeds": 10}
    good = {"float32": split_columns(60, [0.05, 0.26, 0.46, 0.65, 0.7])} | training_results()
    assert set(verdicts("CL34", sizes, good).values()) == {"SUPPORTED"}
    swapped = good | {"float32": split_columns(60, [0.5] * 5, effect=(1.5, 1.5))}
    assert verdicts("CL34", sizes, swapped)["CL34a"] == "REFUTED"
    same = good | {"float32": split_columns(60, [0.5] * 5, effect=(-2.5, -2.5))}
    assert verdicts("CL34", sizes, same)["CL34a"] == "VOID"
    assert verdicts("CL34", sizes, good | training_results(fine_chain_1=0.85))["CL34c"] == "REFUTED"
    assert verdicts("CL34", sizes, good | training_results(coarse_chain_1=0.3))["CL34e"] == "VOID"
    mild = verdicts("CL34", sizes, good | training_results(coarse_injected_1=0.94))
    assert mild["CL34e"] == "REFUTED" and mild["CL34d"] == "VOID"
    rare = {**good, "coarse_chain_1": good["coarse_chain_0"]}  # bfloat16 as rare in zeros as float32
    assert verdicts("CL34", sizes, rare)["CL34c"] == "VOID"
    none = good | {"float32": split_columns(60, [0] * 5)}
    assert verdicts("CL34", sizes, none)["CL34a"] == "OUT-OF-SCOPE"


def test_cl35_on_known_rates():
    rates = {"float16": split_columns(40, [1] * 5, zeros_per_layer=4.0)}
    rates["float32"] = split_columns(200, [1] * 5, zeros_per_layer=0.13)
    rates["float32"]["density"] = np.ones((200, 1)) * rates["float16"]["density"][0]  # as wide, and no underflow
    rates["lattice"] = split_columns(1, [1] * 5, zeros_per_layer=1e5)
    rates["unfused"] = split_columns(1, [1] * 5, zeros_per_layer=1e4)
    trained = {"zeros_float16": np.full(4, 4.0), "zeros_float32": np.zeros(4), "calls": np.full(4, 9e7)}
    rates["trained"] = trained
    rates["float64"] = split_columns(16, [0] * 5, zeros_per_layer=0.0)
    assert set(verdicts("CL35", {}, rates).values()) == {"SUPPORTED"}
    assert verdicts("CL35", {}, rates | {"float64": rates["float16"]})["CL35c"] == "VOID"
    assert verdicts("CL35", {}, rates | {"float32": rates["float16"]})["CL35b"] == "VOID"
    more = rates | {"float16": {**rates["float16"], "density": rates["float16"]["density"] / 2}}
    assert verdicts("CL35", {}, more)["CL35b"] == "REFUTED"
    many = rates | {"float32": split_columns(200, [1] * 5, zeros_per_layer=2.0)}
    assert verdicts("CL35", {}, many)["CL35a"] == "REFUTED"
    assert verdicts("CL35", {}, rates | {"lattice": rates["float32"]})["CL35a"] == "VOID"
    late = rates | {"trained": {**trained, "zeros_float16": np.full(4, 400.0)}}
    assert verdicts("CL35", {}, late)["CL35d"] == "REFUTED"


def test_cl33_judges_the_published_share_against_the_measured_law_with_both_errors():
    results = init_results()
    density = results["float16"]["density"]
    far = results | {"float16": results["float16"] | {"density": density * 0.7}}
    assert verdicts("CL33", BORDER, far)["CL33g"] == "REFUTED"
    spread = density * (1 + np.random.default_rng(0).choice([-0.9, 0.9], (len(density), 1)))
    unsure = results | {"float16": results["float16"] | {"density": spread}}
    assert verdicts("CL33", BORDER, unsure)["CL33g"] == "INCONCLUSIVE"
