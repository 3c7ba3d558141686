"""CL42: "random" initialisation must mean absolutely continuous: zero and grid starts end badly, random ones do not.

    zero     E1, E5, E6 at w_0 = 0: frozen with probability 1 (SGD and SHB)
    grid     E1 at w_0 = 2 under SGD with alpha = 1/2: halving (w + 1 + s) / 2 and -1 keep w dyadic, P(trap) = 1/2
             E6 on the pair (1, 1) at w_0 = 1 - 2^n: w -> (w + 1)/2 or rests, hence trapped with probability 1
    random   absolutely continuous: 0 (D4)

A bad end is w_K = 0 exactly. On networks the zero start leaves a constant output; a small random start does not.
Every optimizer and problem has seeds of its own, so that no two runs share a start or a sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.share import always, never, of_runs, probability
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import PairedMean, Proportion
from bench.statistics.inference import Region

PROBLEMS = ("e1", "e5", "e6")
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
EFFECTIVE = 0.5  # step alpha / (1 - beta)
GRIDS = {"E1": (2.0, 0.5), "E6": (-7.0, 1.0)}  # problem -> w_0, P(trap)
INITS: Mapping[str, Mapping[str, Any]] = {
    "zero": {"init": "zeros"},
    "small": {"init": "normal", "init.std": 0.1},
    "default": {"init": "torch_default"},
}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    n, few, device = protocol["seeds"], protocol["grid_seeds"], protocol.device
    planned, fresh = {}, itertools.count()
    for problem in PROBLEMS:
        for optimizer, beta in MOMENTUM.items():
            rule = {"problem": problem, "optimizer": optimizer, "optimizer.lr": f"{EFFECTIVE * (1 - beta):.12g}"}
            rule |= {"schedule": "power", "steps": protocol["steps"]}
            rule |= {"optimizer.momentum": beta} if beta else {}
            first = next(fresh) * n
            for start, init in (("zero", {"init": "zeros"}), ("random", {})):
                planned[f"{problem} {optimizer} {start}"] = trajectories(
                    rule | init, seeds=n, first_seed=first, device=device
                )
    for name, (w0, _) in GRIDS.items():
        rule = {"problem": name.lower(), "optimizer": "sgd", "optimizer.lr": 0.5, "steps": protocol["grid_steps"]}
        for start, init in (
            ("grid", {"init": "point", "init.value": w0}),
            ("near", {"init": "uniform", "init.low": w0 - 0.5, "init.high": w0 + 0.5}),
        ):
            planned[f"grid {name} {start}"] = trajectories(
                rule | init,
                seeds=few,
                first_seed=few,  # other samples than those of CL29
                device=device,
            )
    for name, network in networks(protocol).items():
        for start, init in INITS.items():
            planned[f"{name} {start}"] = trajectories(
                {"problem": "learning", "dtype": "float32", "steps": protocol["network_steps"]},
                {"optimizer": "shb", "optimizer.lr": 0.05, "optimizer.momentum": 0.9},
                *network,
                init,
                seeds=protocol["network_seeds"],
                chunk=protocol["network_seeds"],
                device=device,
                seconds=protocol["network_steps"] * protocol["network_seeds"] * 3e-4,
            )
    return planned


def bad(columns: Mapping[str, np.ndarray]) -> Proportion:
    """Share of runs that end exactly on the artificial point."""
    at_rest = columns["artificial_distance"] == 0
    return of_runs(at_rest)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    names = {start: [f"{p} {o} {start}" for p in PROBLEMS for o in MOMENTUM] for start in ("zero", "random")}
    zero, random = (_pooled([bad(results[name]) for name in names[start]]) for start in ("zero", "random"))
    rows = [
        Part(
            "Started at zero, SGD and SHB stay at the artificial point of E1, E5 and E6.",
            "paper C-e, D4(D)",
            always(what="ending badly"),
            zero,
            (Control("random start", random),),
            of=tuple(names["zero"]),
        ),
        Part(
            "Started at random, they do not end there.",
            "paper C-f, D4(B), D4(C)",
            never(what="ending badly"),
            random,
            (Control("zero start", zero),),
            of=tuple(names["random"]),
        ),
    ]
    for name, (w0, share) in GRIDS.items():
        row = Part(
            f"A start on a dyadic grid is not random: SGD with step 1/2 from w_0 = {w0:g} ({name}).",
            "E1(iv), E6",
            probability(share, "ending badly") if share < 1 else always("ending badly"),
            bad(results[f"grid {name} grid"]),
            (Control(f"uniform start in {w0:g} +- 0.5", bad(results[f"grid {name} near"])),),
            of=(f"grid {name} grid",),
        )
        rows.append(row)
    return [*rows, _networks(protocol, results)]


def _pooled(shares: list[Proportion]) -> Proportion:
    return Proportion(sum(one.hits for one in shares), sum(one.n for one in shares))


def _networks(protocol: Protocol, results: Results) -> Part:
    lacking = out_of_scope(protocol, results)
    estimate, controls, note = None, (), ""
    if lacking is None:
        accuracy = {
            name: {start: results[f"{name} {start}"]["accuracy"] for start in INITS} for name in protocol["networks"]
        }
        estimate = Cases({name: PairedMean(one["small"], one["zero"]) for name, one in accuracy.items()})
        controls = tuple(
            Control(f"two random starts compared, {name}", PairedMean(one["default"], one["small"]))
            for name, one in accuracy.items()
        )
        note = "Training accuracy from zero and from N(0, 0.1^2): " + ", ".join(
            f"{name} {one['zero'].mean():.3f}, {one['small'].mean():.3f}" for name, one in accuracy.items()
        )
    return Part(
        "From all-zero weights networks learn nothing but a constant; from small random weights they learn.",
        "seed practice",
        inside("difference of the training accuracies > 0.3 in every network", Region(0.3, 1.0), "accuracy"),
        estimate,
        controls,
        out_of_scope=lacking,
        note=note,
        of=tuple(f"{name} {start}" for name in protocol["networks"] for start in ("small", "zero")),
    )


CLAIM = Claim(
    "CL42",
    "practice",
    "Random initialisation matters, and grids are not random.",
    "paper C-f, D4",
    experiments,
    parts,
)
