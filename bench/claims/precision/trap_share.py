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

import numpy as np
import torch

import bench.claims.precision.lattice  # noqa: F401  registers the observer
from bench.cell.problem import DTYPES
from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside, tost
from bench.claims.trajectories import trajectories
from bench.statistics.bootstrap import Bootstrap
from bench.statistics.estimates import Proportion
from bench.statistics.inference import Region

EPS = {name: torch.finfo(dtype).eps for name, dtype in DTYPES.items()}
FORMATS = ("bfloat16", "float16", "float32", "float64")
BLOCKS = 64  # of members; ratios are resampled over blocks
WIDTH = 1e-2  # of a near hit


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(momentum: float | None, dtype: str, seeds: int, near: bool = False, start: str = "uniform") -> Experiment:
        law = ["init=uniform", "init.low=0.25", "init.high=2.0"]
        return trajectories(
            "problem=e1",
            *(law if start == "uniform" else ["init=point", "init.value=0.0"]),
            *(["optimizer=sgd"] if momentum is None else ["optimizer=shb", f"optimizer.momentum={momentum}"]),
            "optimizer.lr=0.11",
            "schedule=power",
            "schedule.q=0.3",
            "schedule.k0=0",
            f"steps={protocol['steps']}",
            f"dtype={dtype}",
            seeds=seeds,
            observe={"near_hits": {"width": WIDTH}} if near else None,
            device=protocol.device,
            chunk=65_536,
        )

    few, planned = protocol["seeds_other"], {}
    own = {"bfloat16": protocol["seeds"], "float16": protocol["seeds"], "float32": protocol["seeds_float32"]}
    for dtype in FORMATS:
        planned[f"sgd_{dtype}"] = run(0.0, dtype, own.get(dtype, few), near=dtype == "float64")
        planned[f"shb_{dtype}"] = run(0.9, dtype, few, near=dtype == "float64")
    for name, momentum in (("sgd", 0.0), ("shb", 0.9)):
        planned[f"{name}_start"] = run(momentum, "bfloat16", protocol["seeds_start"], start="point")
    for dtype in FORMATS[:2]:
        planned[f"fused_{dtype}"] = run(None, dtype, few)
    return planned


def ratio(over: np.ndarray, under: np.ndarray, factor: float = 1.0) -> Bootstrap:
    """mean(over) / mean(under) / factor of two independent samples, by a bootstrap over blocks of members."""

    def blocks(values: np.ndarray) -> np.ndarray:
        return np.array([block.mean() for block in np.array_split(values, BLOCKS)])

    def statistic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first.mean(1) / np.maximum(second.mean(1), 1e-300) / factor

    over, under = blocks(over), blocks(under)
    return Bootstrap(statistic, over, under, seed=32, resamples=100_000, vectorized=True, paired=False)


def share(results: Results, name: str, column: str = "trapped") -> Proportion:
    return Proportion(int(results[name][column].sum()), len(results[name][column]))


def pooled(results: Results, name: str, dtypes: Sequence[str]) -> Proportion:
    """Trapped share of all runs of an optimizer in these formats."""
    shares = [share(results, f"{name}_{dtype}") for dtype in dtypes]
    return Proportion(sum(one.hits for one in shares), sum(one.n for one in shares))


def text(hits: Proportion, what: str = "trapped") -> str:
    return f"{hits.hits} of {hits.n} {what}"


def parts(protocol: Protocol, results: Results) -> list[Part]:
    law = {name: results[f"{name}_float64"]["lattice"] for name in ("sgd", "shb")}
    start = {name: share(results, f"{name}_start") for name in law}

    half = share(results, "sgd_bfloat16"), share(results, "sgd_float16")

    def against_law(name: str, dtype: str, other: str, column: str, region: Region) -> tuple:
        values = results[f"{name}_{dtype}"][column]
        found = ratio(values, law[name], EPS[dtype])
        wrong = values.mean() / law[name].mean() / EPS[other]
        shown = f"ratio {wrong:.3g} with the eps of {other}"
        control = Observed("the law with the eps of another format", wrong not in region, shown)
        return found, control, region

    def law_part(title: str, predicted: str, found: tuple, note: str) -> Part:
        estimate, control, region = found
        return Part(title, "L8, lattice law", inside(predicted, region, "ratio"), estimate, (control,), note=note)

    def rare(title: str, source: str, hits: Proportion, bound: float, control: Observed, note: str = "") -> Part:
        region, predicted = Region(0.0, bound), f"trapped share < {bound:g}"
        return Part(
            title,
            source,
            tost(predicted, region, "share"),
            hits,
            (control,),
            note=note,
        )

    many = Observed("SGD in bfloat16", half[0].value > protocol["bound"], text(half[0]))
    shb, fused = pooled(results, "shb", FORMATS), pooled(results, "fused", FORMATS[:2])
    close, loose = Region(0.8, 1.25), Region(0.67, 1.5)
    touch = ", ".join(f"{d} {share(results, f'shb_{d}', 'touched').value:.2g}" for d in FORMATS)
    return [
        Part(
            "SGD is trapped at an artificial point in proportion to the spacing of the floating-point numbers.",
            "L8",
            inside("share in bfloat16 / share in float16 in [5, 16] (ratio of spacings 8)", Region(5.0, 16.0), "ratio"),
            ratio(results["sgd_bfloat16"]["trapped"], results["sgd_float16"]["trapped"]),
            (
                Observed(
                    "started at the artificial point (CL22)",
                    start["sgd"].value == 1,
                    f"{text(start['sgd'])}: the same share 1 in every format, ratio 1",
                ),
            ),
            note=f"SGD that rounds alpha v before it subtracts (else see CL32h); bfloat16: {text(half[0])}; float16: "
            f"{text(half[1])}",
        ),
        law_part(
            "The share of trapped SGD runs is the one that the lattice law predicts (bfloat16).",
            f"measured share / (eps x {law['sgd'].mean():.3g}) in [0.8, 1.25]",
            against_law("sgd", "bfloat16", "float16", "trapped", close),
            f"constant measured in float64: {law['sgd'].mean():.3g}",
        ),
        law_part(
            "The share of trapped SGD runs is the one that the lattice law predicts (float16).",
            f"measured share / (eps x {law['sgd'].mean():.3g}) in [0.67, 1.5]",
            against_law("sgd", "float16", "bfloat16", "trapped", loose),
            "",
        ),
        rare(
            "In float32 SGD is practically never trapped.",
            "L8",
            share(results, "sgd_float32"),
            protocol["bound"],
            many,
            f"the lattice law says {law['sgd'].mean() * EPS['float32']:.2g}",
        ),
        rare("In float64 SGD is not trapped.", "L8", share(results, "sgd_float64"), 1e-4, many),
        rare(
            "The heavy ball is trapped in no format, although it touches the artificial point in 16-bit formats.",
            "D4(D), L8",
            shb,
            1e-4,
            Observed("SHB started at the artificial point (CL22)", start["shb"].value == 1, text(start["shb"])),
            f"share of runs that touch: {touch}",
        ),
        law_part(
            "The heavy ball touches the artificial point as often as the lattice law predicts (bfloat16).",
            f"measured share / (eps x {law['shb'].mean():.3g}) in [0.8, 1.25]",
            against_law("shb", "bfloat16", "float16", "touched", close),
            f"constant measured in float64: {law['shb'].mean():.3g}",
        ),
        rare(
            "SGD whose update w - alpha v is rounded only once is not trapped even in 16-bit formats.",
            "lattice law (correction to L8)",
            fused,
            1e-4,
            Observed("the same steps with alpha v rounded first", half[0].value > 1e-4, text(half[0])),
            "L8 holds for implementations that round the step before they subtract it",
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
