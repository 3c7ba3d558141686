"""CL32."""

import itertools

import numpy as np
import pytest

from bench.cell.config import ClaimsConfig, compose_as
from bench.claims.catalogue import CLAIMS
from bench.claims.claim import LEVELS, Protocol
from bench.claims.precision.trap_share import FORMATS
from bench.claims.trajectories import run, trajectories
from tests.bench.claims.precision.columns import BOUND, trap_columns, verdicts


def test_trap_shares_that_obey_the_law_support_it():
    assert set(verdicts("CL32", BOUND, trap_columns(n=2**18)).values()) == {"SUPPORTED"}


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"sgd": 0.74 * 2**-10}, "CL32a"),  # the same share in both formats
        ({"sgd": 2.5 * 0.74 * 2**-7}, "CL32b"),
        ({"float32": 60}, "CL32d"),
        ({"shb": 1e-3}, "CL32f"),
        ({"fused": 1e-3}, "CL32h"),
    ],
)
def test_a_wrong_trap_share_refutes(wrong, part):
    assert verdicts("CL32", BOUND, trap_columns(n=2**18, **wrong))[part] == "REFUTED"


def test_a_start_that_does_not_trap_voids():
    results = trap_columns()
    results["shb_start"] = {"trapped": np.zeros(100)}
    assert verdicts("CL32", BOUND, results)["CL32f"] == "VOID"


def test_a_format_that_makes_no_difference_voids_the_law_and_a_trap_that_nobody_falls_into_the_rest():
    results = trap_columns(n=2**18)
    same = {**results, "sgd_float16": results["sgd_bfloat16"]}
    assert verdicts("CL32", BOUND, same)["CL32b"] == "VOID"
    never = {**results, "sgd_bfloat16": results["sgd_float64"], "sgd_float16": results["sgd_float64"]}
    found = verdicts("CL32", BOUND, {**never, "sgd_bfloat16": {**never["sgd_bfloat16"]}})
    assert {found[f"CL32{x}"] for x in "defh"} == {"VOID"}


def test_near_hits_predict_the_traps_in_float16_up_to_a_factor():
    """End to end, far from convergence of the share: 40 steps from a start where most runs cross 0."""
    base = ["problem=e1", "init=uniform", "init.low=0.25", "init.high=0.5", "optimizer=shb", "optimizer.momentum=0.0"]
    base += ["optimizer.lr=0.11", "schedule=power", "schedule.q=0.3", "schedule.k0=0", "steps=20"]
    observed = {"near_hits": {"width": 1e-2}}
    n = np.arange(4096)
    law = run(trajectories(*base, seeds=4096, observe=observed).settings, n)["lattice"].mean()
    trapped = run(trajectories(*base, "dtype=bfloat16", seeds=4096).settings, n)["trapped"].mean()
    assert 0.5 < trapped / (law * 2**-7) < 2


def test_the_formats_are_independent_samples():
    for level in LEVELS:
        sizes = compose_as(ClaimsConfig, ["claim=CL32"]).claim.sizes[level]
        runs = CLAIMS["CL32"].experiments(Protocol(level, sizes))
        seeds = {d: [one.blocks() for name, one in runs.items() if name.endswith(f"_{d}")] for d in FORMATS}
        ends = [(min(b[0][0] for b in own), max(b[-1][1] for b in own)) for own in seeds.values()]
        assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(sorted(ends)))
