"""CL25: at E1 one SGD step of size alpha = 1 lands exactly on the artificial point with probability 1/2.

From w_0 > 0: v = w_0 + 1 + s with s = +-1, so w_1 = w_0 - (w_0 + 1 + s) = -1 - s is 0 for s = -1; from w_0 < 0
likewise with the other sign. alpha_k = 1/(k+1) has that first step. The heavy ball makes the same first step, but
keeps the velocity and leaves (theory.md D4 C, D; example E1 ii).
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.share import never, probability, share_of
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(optimizer: str, lr: float) -> Experiment:
        momentum = {"optimizer.momentum": 0.9} if optimizer == "shb" else {}
        return trajectories(
            {"problem": "e1", "optimizer": optimizer, "optimizer.lr": lr, **momentum},
            {"schedule": "power", "schedule.q": 1.0, "schedule.k0": 0, "steps": protocol["steps"]},
            seeds=protocol["seeds"],
            first_seed=protocol["seeds"] if optimizer == "shb" else 0,  # its touches are to be no copy of SGD's traps
            device=protocol.device,
        )

    return {"sgd": run("sgd", 1.0), "shb": run("shb", 1.0), "sgd_generic": run("sgd", 0.999)}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["seeds"]
    trapped = {name: int(columns["trapped"].sum()) for name, columns in results.items()}
    touched = {name: int((columns["first_touch"] == 1).sum()) for name, columns in results.items()}
    generic = "SGD with alpha_0 = 0.999"
    return [
        Part(
            "One exceptional step size (alpha_0 = 1) traps SGD at the artificial point of E1 half of the time.",
            "D4(C), E1(ii)",
            probability(0.5, words="share trapped = 1/2"),
            Proportion(trapped["sgd"], n),
            of=("sgd",),
            controls=(Control(generic, share_of(results["sgd_generic"], "trapped")),),
        ),
        Part(
            "The heavy ball with the same exceptional step is not trapped.",
            "D4(D), E1(ii)",
            never(),
            Proportion(trapped["shb"], n),
            of=("shb",),
            controls=(Control("SGD, same steps", share_of(results["sgd"], "trapped")),),
        ),
        Part(
            "The heavy ball touches the artificial point at its first step as often as SGD, and leaves.",
            "D4(D)",
            probability(0.5, words="share with w_1 = 0 exactly = 1/2"),
            Proportion(touched["shb"], n),
            of=("shb",),
            controls=(Control(generic, Proportion(touched["sgd_generic"], n)),),
        ),
    ]


CLAIM = Claim(
    "CL25",
    "artificial",
    "Exceptional step sizes trap SGD, not the heavy ball.",
    "D4(C), D4(D)",
    experiments,
    parts,
)
