"""Synthetic columns of the family precision, whose truth is known."""

import numpy as np

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.precision import pool_jacobian, trap_share
from bench.claims.verdict import judge

BOUND, BORDER = {"bound": 2e-5}, {"border": 200}


def verdicts(claim, sizes, results):
    parts = CLAIMS[claim].parts(Protocol("quick", sizes), results)
    return {p.id: str(j.verdict) for p, j in zip(parts, judge([p.evidence() for p in parts]))}


def trap_columns(n=65_536, constant=0.74, sgd=None, fused=0, float32=0, shb=0):
    """Shares of the lattice law, spread evenly; `sgd` replaces the share in bfloat16."""

    def flags(share):
        hits = np.zeros(n)
        hits[: round(share * n)] = 1
        return np.random.default_rng(0).permutation(hits)

    eps = trap_share.EPS
    results = {}
    for dtype in trap_share.FORMATS:
        coarse = dtype in ("bfloat16", "float16")
        share = constant * eps[dtype] * coarse if sgd is None or dtype != "bfloat16" else sgd
        results[f"sgd_{dtype}"] = {"trapped": flags(share), "touched": flags(share)}
        results[f"shb_{dtype}"] = {"trapped": flags(shb), "touched": flags(1.37 * eps[dtype] * coarse)}
    results["sgd_float32"] = {"trapped": np.r_[np.ones(float32), np.zeros(600_000)]}
    for name, value in (("sgd", constant), ("shb", 1.37)):
        results[f"{name}_float64"]["lattice"] = np.full(n, value) + np.random.default_rng(1).normal(size=n) * 0.5
        results[f"{name}_start"] = {"trapped": np.ones(100)}
    results["sgd_start_float16"] = results["sgd_start"]
    results["fused_bfloat16"] = results["fused_float16"] = {"trapped": flags(fused)}
    return results


def split_columns(n, shares, *, injected=None, zeros_per_layer=1.0, effect=(-2.5, 1.5), calls=15.36e6, seed=0):
    rng = np.random.default_rng(seed)
    uniform = rng.random(n)[:, None]
    chain = (uniform < np.asarray(shares)).astype(float)
    rows = np.full((n, 5), np.nan)
    columns = {"chain": chain, "existence": chain, "injected": chain if injected is None else injected}
    for rule, centre in zip(("chain", "injected"), effect):
        columns[f"effect_{rule}"] = np.where(chain > 0, 10 ** rng.normal(centre, 0.2, rows.shape), np.nan)
    columns["zeros"] = rng.poisson(zeros_per_layer, (n, 6)).astype(float) + np.arange(6) * (zeros_per_layer > 1)
    columns["calls"] = np.full(n, calls)
    columns["density"] = np.ones((n, 6)) * columns["zeros"].mean(0) / calls * 2**24
    return columns


def init_results(**float32):
    half = split_columns(40, [0.86, 1, 1, 1, 1], zeros_per_layer=4.0, seed=1)
    half["density"][:, 0] = -np.log1p(-0.865) / 15.36e6 * 2**24
    controls = split_columns(10, [1] * 5, injected=np.zeros((10, 5)))
    results = {"float16": half, "float32": split_columns(60, [0.05, 0.26, 0.46, 0.65, 0.7], **float32)}
    results |= {"float64": split_columns(16, [0] * 5, zeros_per_layer=0.0), "underflow": controls}
    for dtype in ("float16", "float32", "float64"):
        results[f"border_{dtype}"] = {"differs": np.ones(200)}
    results["border_random"] = {"differs": np.zeros(200)}
    return results


def training_results(**accuracy):
    rng = np.random.default_rng(0)
    base = {"coarse_chain_0": 0.95, "coarse_chain_half": 0.95, "coarse_chain_1": 0.95}
    base |= {"coarse_injected_half": 0.2, "coarse_injected_1": 0.1}
    base |= {"fine_chain_0": 0.9, "fine_chain_1": 0.9, "fine_injected_1": 0.9} | accuracy
    noise = {arm: rng.normal(0, 0.004, 10 if arm.startswith("coarse") else 30) for arm in base}
    noise["fine_chain_1"] = noise["fine_chain_0"]  # no zero was met: the same bits
    found = {arm: value + noise[arm] for arm, value in base.items()}
    return {arm: {"test_accuracy": values, "objective": 1 - values} for arm, values in found.items()}


def pool_results(**accuracy):
    rng = np.random.default_rng(2)
    base = {pool_jacobian.name(*arm): 0.95 for arm in pool_jacobian.ARMS}
    base |= {"float16_1000_published": 0.2, "bfloat16_1000_published": 0.1, "bfloat16_100_published": 0.8}
    base |= {"bfloat16_1000_ties": 0.1, "bfloat16_1000_rounding": 0.1, "bfloat16_100_ties": 0.87}
    base |= {"bfloat16_100_rounding": 0.87, "float16_1000_ties": 0.6, "float16_1000_rounding": 0.8}
    base |= {name.replace("__", "_"): value for name, value in accuracy.items()}
    n = 200
    return {k: {"test_accuracy": v + rng.normal(0, 0.003, n), "diverged": np.zeros(n)} for k, v in base.items()}
