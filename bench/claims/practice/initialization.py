"""CL42: "random" initialisation must mean absolutely continuous: zero and grid starts end badly, random ones do not.

    zero     E1, E5, E6 at w_0 = 0: frozen with probability 1 (SGD and SHB)
    grid     E1 at w_0 = 2 under SGD with alpha = 1/2: halving (w + 1 + s) / 2 and -1 keep w dyadic, P(trap) = 1/2
             E6 on the pair (1, 1) at w_0 = 1 - 2^n: w -> (w + 1)/2 or rests, hence trapped with probability 1
    random   absolutely continuous: 0 (D4)

A bad end is w_K = 0 exactly. On networks the zero start leaves a constant output; a small random start does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.share import always, never, probability
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import PairedMean, Proportion
from bench.statistics.inference import Region, fisher_exact

PROBLEMS = ("e1", "e5", "e6")
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
EFFECTIVE = 0.5  # step alpha / (1 - beta)
GRIDS = {"E1": ("problem=e1", 2.0, 0.5), "E6": ("problem=e6", -7.0, 1.0)}  # problem, w_0, P(trap)
INITS = {"zero": ("init=zeros",), "small": ("init=normal", "init.std=0.1"), "default": ("init=torch_default",)}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    n, device = protocol["seeds"], protocol.device
    planned = {}
    for problem in PROBLEMS:
        for optimizer, beta in MOMENTUM.items():
            momentum = [f"optimizer.momentum={beta}"] if beta else []
            lr = f"optimizer.lr={EFFECTIVE * (1 - beta):.12g}"
            rule = [f"problem={problem}", f"optimizer={optimizer}", lr, *momentum, "schedule=power"]
            rule.append(f"steps={protocol['steps']}")
            for start, init in (("zero", ["init=zeros"]), ("random", [])):
                planned[f"{problem} {optimizer} {start}"] = trajectories(*rule, *init, seeds=n, device=device)
    for name, (problem, w0, _) in GRIDS.items():
        rule = [problem, "optimizer=sgd", "optimizer.lr=0.5", f"steps={protocol['grid_steps']}"]
        for start, init in (
            ("grid", ["init=point", f"init.value={w0}"]),
            ("near", ["init=uniform", f"init.low={w0 - 0.5}", f"init.high={w0 + 0.5}"]),
        ):
            planned[f"grid {name} {start}"] = trajectories(*rule, *init, seeds=protocol["grid_seeds"], device=device)
    for name, network in networks(protocol).items():
        for start, init in INITS.items():
            planned[f"{name} {start}"] = trajectories(
                "problem=learning",
                "dtype=float32",
                "optimizer=shb",
                "optimizer.lr=0.05",
                "optimizer.momentum=0.9",
                *network,
                *init,
                f"steps={protocol['network_steps']}",
                seeds=protocol["network_seeds"],
                chunk=protocol["network_seeds"],
                device=device,
                seconds=protocol["network_steps"] * protocol["network_seeds"] * 3e-4,
            )
    return planned


def bad(columns: Mapping[str, np.ndarray]) -> int:
    """Runs that end exactly on the artificial point."""
    return int((columns["artificial_distance"] == 0).sum())


def _other_start(what: str, bad_ends: int, other: int, n: int, *, worse: bool) -> Observed:
    """Another start, n runs each: significantly more bad ends if `worse`, else fewer (Fisher's exact test)."""
    p = fisher_exact(bad_ends, n, other, n)
    as_it_must = other > bad_ends if worse else other < bad_ends
    return Observed(what, as_it_must and p < 1e-3, f"{other} of {n} end badly, Fisher p = {p:.1g}")


def parts(protocol: Protocol, results: Results) -> list[Part]:
    zero, random = (
        sum(bad(results[f"{problem} {optimizer} {start}"]) for problem in PROBLEMS for optimizer in MOMENTUM)
        for start in ("zero", "random")
    )
    total = protocol["seeds"] * len(PROBLEMS) * len(MOMENTUM)
    rows = [
        Part(
            "Started at zero, SGD and SHB stay at the artificial point of E1, E5 and E6.",
            "paper C-e, D4(D)",
            always(what="ending badly"),
            Proportion(zero, total),
            (_other_start("random start", zero, random, total, worse=False),),
        ),
        Part(
            "Started at random, they do not end there.",
            "paper C-f, D4(B), D4(C)",
            never(what="ending badly"),
            Proportion(random, total),
            (_other_start("zero start", random, zero, total, worse=True),),
        ),
    ]
    for name, (_, w0, share) in GRIDS.items():
        n = protocol["grid_seeds"]
        on, near = (bad(results[f"grid {name} {start}"]) for start in ("grid", "near"))
        row = Part(
            f"A start on a dyadic grid is not random: SGD with step 1/2 from w_0 = {w0:g} ({name}).",
            "E1(iv), E6",
            probability(share, "ending badly") if share < 1 else always("ending badly"),
            Proportion(on, n),
            (_other_start(f"uniform start in {w0:g} +- 0.5", on, near, n, worse=False),),
        )
        rows.append(row)
    return [*rows, _networks(protocol, results)]


def _networks(protocol: Protocol, results: Results) -> Part:
    lacking = out_of_scope(protocol, results)
    estimate, controls, note = None, (), ""
    if lacking is None:
        mean = {
            start: np.mean([results[f"{name} {start}"]["accuracy"] for name in protocol["networks"]], axis=0)
            for start in INITS
        }
        estimate = PairedMean(mean["small"], mean["zero"])
        same = PairedMean(mean["default"], mean["small"])
        controls = (
            Observed(
                "two random starts compared instead",
                same.interval()[1] < 0.3,
                f"difference {same.value:.2g} [{same.interval()[0]:.2g}, {same.interval()[1]:.2g}]",
            ),
        )
        note = f"training accuracy {mean['zero'].mean():.3f} from zero, {mean['small'].mean():.3f} from N(0, 0.1^2)"
    return Part(
        "From all-zero weights networks learn nothing but a constant; from small random weights they learn.",
        "seed practice",
        inside("difference of the training accuracies > 0.3", Region(0.3, 1.0), "accuracy"),
        estimate,
        controls,
        out_of_scope=lacking,
        note=note,
    )


CLAIM = Claim(
    "CL42",
    "practice",
    "Random initialisation matters, and grids are not random.",
    "paper C-f, D4",
    experiments,
    parts,
)
