"""CL32: how often SGD is trapped at the artificial point of E1 in each floating-point format (L8).

Start U(0.25, 2), alpha_k = 0.11 / (k+1)^0.3: in real numbers no step lands on 0 (probability 0). From w > 0 with
s = +1 the next iterate is w - alpha (2 + w), near 0 for w near 2 alpha / (1 - alpha); there it is a multiple of ulp(w),
if the product alpha v was rounded before it was subtracted. The lattice law (bench/claims/precision/lattice.py) gives
the share with its constant, about 0.74 eps for SGD and 1.2 eps (40 steps) for the touches of SHB.

Correction to L8. The law needs the rounding of alpha v. This package's SGD, like torch.optim.SGD on 16-bit formats,
computes w - alpha v with one rounding at the end, so it is 0 only if w = alpha v holds exactly: then there is no trap.
"Two roundings" here is optimizer=shb with momentum 0, which stores alpha v as a velocity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

import bench.claims.precision.lattice  # noqa: F401  registers the observer
from bench.cell.problem import DTYPES
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.share import never, share_of
from bench.claims.trajectories import trajectories
from bench.statistics.bootstrap import Bootstrap
from bench.statistics.estimates import Proportion
from bench.statistics.inference import Region

EPS = {name: torch.finfo(dtype).eps for name, dtype in DTYPES.items()}
FORMATS = ("bfloat16", "float16", "float32", "float64")
BLOCKS = 64  # of members; ratios are resampled over blocks
WIDTH = 1e-2  # of a near hit


LAW = {"init": "uniform", "init.low": 0.25, "init.high": 2.0}
FIRST = {name: place * 2**24 for place, name in enumerate(FORMATS)}  # first seeds: formats are independent samples
POINT = {"init": "point", "init.value": 0.0}  # the artificial point


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(
        optimizer: Mapping[str, Any], dtype: str, seeds: int, near: bool = False, start: Mapping[str, Any] = LAW
    ) -> Experiment:
        rule = {"optimizer.lr": 0.11, "schedule": "power", "schedule.q": 0.3, "schedule.k0": 0}
        return trajectories(
            {"problem": "e1", "steps": protocol["steps"], "dtype": dtype} | dict(start) | dict(optimizer) | rule,
            seeds=seeds,
            first_seed=FIRST[dtype],
            observe={"near_hits": {"width": WIDTH}} if near else None,
            device=protocol.device,
            chunk=65_536,
        )

    few, planned = protocol["seeds_other"], {}
    sgd, shb = ({"optimizer": "shb", "optimizer.momentum": beta} for beta in (0.0, 0.9))  # SGD: alpha v is rounded
    own = {"bfloat16": protocol["seeds"], "float16": protocol["seeds"], "float32": protocol["seeds_float32"]}
    for dtype in FORMATS:
        planned[f"sgd_{dtype}"] = run(sgd, dtype, own.get(dtype, few), near=dtype == "float64")
        planned[f"shb_{dtype}"] = run(shb, dtype, few, near=dtype == "float64")
    for name, optimizer in (("sgd", sgd), ("shb", shb)):
        planned[f"{name}_start"] = run(optimizer, "bfloat16", protocol["seeds_start"], start=POINT)
    planned["sgd_start_float16"] = run(sgd, "float16", protocol["seeds_start"], start=POINT)
    for dtype in FORMATS[:2]:
        planned[f"fused_{dtype}"] = run({"optimizer": "sgd"}, dtype, few)
    return planned


def ratio(over: np.ndarray, under: np.ndarray, factor: float = 1.0) -> Bootstrap:
    """mean(over) / mean(under) / factor of two independent samples, by a bootstrap over blocks of members."""

    def blocks(values: np.ndarray) -> np.ndarray:
        return np.array([block.mean() for block in np.array_split(values, BLOCKS)])

    def statistic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first.mean(1) / np.maximum(second.mean(1), 1e-300) / factor

    over, under = blocks(over), blocks(under)
    return Bootstrap(statistic, over, under, seed=32, resamples=100_000, vectorized=True, paired=False)


def pooled(results: Results, name: str, dtypes: Sequence[str]) -> Proportion:
    """Trapped share of all runs of an optimizer in these formats."""
    shares = [share_of(results[f"{name}_{dtype}"], "trapped") for dtype in dtypes]
    return Proportion(sum(one.hits for one in shares), sum(one.n for one in shares))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    law = {name: results[f"{name}_float64"]["lattice"] for name in ("sgd", "shb")}

    def trapped(name: str) -> Proportion:
        return share_of(results[name], "trapped")

    def law_part(title: str, name: str, dtype: str, other: str, column: str, region: Region, note: str = "") -> Part:
        def found(runs: str) -> Bootstrap:
            return ratio(results[f"{name}_{runs}"][column], law[name], EPS[dtype])

        return Part(
            title,
            "L8, lattice law",
            inside(f"measured share / (eps x {law[name].mean():.3g}) in {region}", region, "ratio"),
            found(dtype),
            (Control(f"the runs in {other}, against the law of {dtype}", found(other)),),
            note=note,
            of=(f"{name}_{dtype}", f"{name}_float64"),
        )

    def rare(
        title: str,
        source: str,
        names: Sequence[str],
        hits: Proportion,
        bound: float,
        *controls: Control,
        note: str = "",
    ) -> Part:
        return Part(title, source, never(most=bound), hits, controls, note=note, of=tuple(names))

    half = {dtype: trapped(f"sgd_{dtype}") for dtype in FORMATS[:2]}
    coarse = Control("SGD in bfloat16", half["bfloat16"])
    close, loose = Region(0.8, 1.25), Region(0.67, 1.5)
    touch = ", ".join(f"{d} {share_of(results[f'shb_{d}'], 'touched').value:.2g}" for d in FORMATS)
    return [
        Part(
            "SGD is trapped at an artificial point in proportion to the spacing of the floating-point numbers.",
            "L8",
            inside("share in bfloat16 / share in float16 in [5, 16] (ratio of spacings 8)", Region(5.0, 16.0), "ratio"),
            ratio(*(results[f"sgd_{dtype}"]["trapped"] for dtype in half)),
            (
                Control(
                    "both started at the artificial point (CL22)",
                    ratio(results["sgd_start"]["trapped"], results["sgd_start_float16"]["trapped"]),
                ),
            ),
            note="SGD that rounds alpha v before it subtracts (else see CL32h); "
            + "; ".join(f"{dtype}: {one.hits} of {one.n} trapped" for dtype, one in half.items()),
            of=tuple(f"sgd_{dtype}" for dtype in half),
        ),
        law_part(
            "The share of trapped SGD runs is the one that the lattice law predicts (bfloat16).",
            *("sgd", "bfloat16", "float16", "trapped", close),
            f"constant measured in float64: {law['sgd'].mean():.3g}",
        ),
        law_part(
            "The share of trapped SGD runs is the one that the lattice law predicts (float16).",
            *("sgd", "float16", "bfloat16", "trapped", loose),
        ),
        rare(
            "In float32 SGD is practically never trapped.",
            "L8",
            ("sgd_float32",),
            trapped("sgd_float32"),
            protocol["bound"],
            coarse,
            note=f"the lattice law says {law['sgd'].mean() * EPS['float32']:.2g}",
        ),
        rare("In float64 SGD is not trapped.", "L8", ("sgd_float64",), trapped("sgd_float64"), 1e-4, coarse),
        rare(
            "The heavy ball is trapped in no format, although it touches the artificial point in 16-bit formats.",
            "D4(D), L8",
            [f"shb_{dtype}" for dtype in FORMATS],
            pooled(results, "shb", FORMATS),
            1e-4,
            Control("SGD in the same formats", pooled(results, "sgd", FORMATS)),
            Control("SHB started at the artificial point (CL22)", trapped("shb_start")),
            note=f"share of runs that touch: {touch}",
        ),
        law_part(
            "The heavy ball touches the artificial point as often as the lattice law predicts (bfloat16).",
            *("shb", "bfloat16", "float16", "touched", close),
            f"constant measured in float64: {law['shb'].mean():.3g}",
        ),
        rare(
            "SGD whose update w - alpha v is rounded only once is not trapped even in 16-bit formats.",
            "lattice law (correction to L8)",
            [f"fused_{dtype}" for dtype in half],
            pooled(results, "fused", FORMATS[:2]),
            1e-4,
            Control("alpha v rounded first, same formats", pooled(results, "sgd", FORMATS[:2])),
            note="L8 holds for implementations that round the step before they subtract it",
        ),
    ]


CLAIM = Claim(
    "CL32",
    "precision",
    "Finite precision traps SGD in proportion to the rounding unit, and never the heavy ball.",
    "L8",
    experiments,
    parts,
)
