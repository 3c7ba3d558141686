"""CL26: the starts from which a constant step 1/2 leads SGD exactly to the artificial point, computed in advance.

    E1  w -> w/2 or w/2 - 1 (w > 0), each with probability 1/2; 0 is reached from w_0 > 0 iff w_0 is an even integer,
        with probability 2^{-floor(log2 w_0)}: the last step comes from 2, and each halving has one way out of two
    E2  w -> (w - 1)/2: 0 is reached iff w_0 = 2^n - 1, n >= 0
    E6  (one pair) w -> (w + 1)/2 or w (w < 0), each with probability 1/2: from w_0 = 1 - 2^n with probability one

All of it is exact in float64 for n <= 50. SHB keeps a velocity and leaves (theory.md D4 D), except from E2's n = 0, the
trap itself. One ulp beside these starts there is no trap, although the first gradient may round that ulp away:
w_0 - fl(v)/2 keeps it. Source: theory.md D4(C), examples E1(iv), E2, E6 (derived).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.prediction import exact
from bench.claims.share import always, count, never, probability, share_of
from bench.statistics.estimates import Estimate, Exact
from bench.statistics.inference import Region
from shb.optimizers import get_optimizer
from shb.problems import CLOSED_FORMS
from shb.training import Member, Plan, Stack

EVEN = (2, 4, 6, 14, 32)  # starts of E1
POWERS = 51  # n = 0 .. 50 at E2
E6_POWERS = 5  # n = 1 .. 5: 200 steps hold five active samples in all but 1e-51 of runs
MOMENTUM = {"sgd": {}, "shb": {"momentum": 0.9}}
STEP = 0.5


def start_of(problem: str, seeds: np.ndarray) -> np.ndarray:
    """w_0 of every seed, the dyadic starts in turn."""
    if problem == "e1":
        return np.array(EVEN, np.float64)[seeds % len(EVEN)]
    if problem == "e2":
        return 2.0 ** (seeds % POWERS) - 1
    return 1 - 2.0 ** (1 + seeds % E6_POWERS)


@measure("dyadic_starts")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """`problem` from `start_of`, moved by `ulps` (+1: up, -1: down), under a constant step 1/2."""
    optimizer = settings["optimizer"]
    hyperparameters = {"lr": STEP, **MOMENTUM[optimizer]}
    stack = Stack(
        CLOSED_FORMS[settings["problem"]](),
        get_optimizer(optimizer),
        [Member(int(seed), hyperparameters) for seed in seeds],
        Plan(settings["steps"]),
    )
    w = start_of(settings["problem"], seeds)
    if settings["ulps"]:
        w = np.nextafter(w, settings["ulps"] * np.inf)
    filled = np.concatenate([w, np.full(stack.width - len(w), w[-1])])
    state = stack.start()
    state["params"]["w"] = torch.from_numpy(filled[:, None])
    state["inside"] = stack.problem.in_trap(state["params"])
    state["touched"] = state["inside"].clone()
    stack.advance(state, 0, settings["steps"])
    return {"w0": w} | {name: state[name][: len(seeds)].numpy() for name in ("trapped", "touched")}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def one(problem: str, optimizer: str, ulps: int, seeds: int) -> Experiment:
        settings = {"problem": problem, "optimizer": optimizer, "ulps": ulps, "steps": protocol["steps"]}
        return Experiment("dyadic_starts", settings, seeds=seeds, seconds=0.1)

    planned = {}
    for problem in ("e1", "e2", "e6"):
        for optimizer in MOMENTUM:
            seeds = POWERS if problem == "e2" else protocol["seeds"]  # E2 has no noise: every start once
            planned[f"{problem}_{optimizer}"] = one(problem, optimizer, 0, seeds)
        for ulps in (1, -1):
            planned[f"{problem}_ulp{ulps:+d}"] = one(problem, "sgd", ulps, min(seeds, protocol["control_seeds"]))
    return planned


def predicted_share(w: np.ndarray) -> np.ndarray:
    """P(trap | w_0) of SGD at E1 from even w_0 > 0."""
    return 2.0 ** -np.floor(np.log2(w))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def trapped(columns: Columns) -> Estimate:
        return share_of(columns, "trapped")

    def beside(problem: str, statistic: Callable[[Columns], Estimate] = trapped) -> tuple[Control, ...]:
        rows = [(f"start {ulps:+d} ulp", results[f"{problem}_ulp{ulps:+d}"]) for ulps in (1, -1)]
        return tuple(Control(name, statistic(columns)) for name, columns in rows)

    def sgd(problem: str, statistic: Callable[[Columns], Estimate] = trapped) -> tuple[Control, ...]:
        return (Control("SGD from the same starts", statistic(results[f"{problem}_sgd"])),)

    def touches(name: str) -> str:
        return f"{count(results[name], 'touched')} touched the artificial point."

    e1 = results["e1_sgd"]
    each = ", ".join(f"{w}: {e1['trapped'][e1['w0'] == w].mean():.3f}" for w in EVEN)
    return [
        Part(
            "With constant step 1/2 SGD falls into the trap of E1 from even integers as often as computed.",
            "D4(C), E1(iv)",
            probability(
                float(predicted_share(e1["w0"]).mean()),
                words="share trapped = 2^-floor(log2 w_0), over w_0 = " + ", ".join(map(str, EVEN)),
            ),
            trapped(e1),
            beside("e1"),
            of=("e1_sgd",),
            note=f"Share by start: {each}.",
        ),
        Part(
            "From those starts SHB is not trapped at E1.",
            "D4(D)",
            never(),
            trapped(results["e1_shb"]),
            sgd("e1"),
            of=("e1_shb",),
            note=touches("e1_shb"),
        ),
        _exact(
            "SGD with step 1/2 is trapped at E2 from every 2^n - 1.",
            "D4(C), E2",
            otherwise(results["e2_sgd"], 1.0),
            beside("e2", lambda columns: otherwise(columns, 1.0)),
            "e2_sgd",
        ),
        _exact(
            "From those starts SHB is trapped at E2 only if it starts there.",
            "D4(D), E2",
            otherwise(results["e2_shb"], 0.0),
            sgd("e2", lambda columns: otherwise(columns, 0.0)),
            "e2_shb",
        ),
        Part(
            "With constant step 1/2 SGD falls into the trap of E6 from 1 - 2^n with probability one.",
            "D4(C), E6",
            always("trapped"),
            trapped(results["e6_sgd"]),
            beside("e6"),
            of=("e6_sgd",),
        ),
        Part(
            "From those starts SHB is not trapped at E6.",
            "D4(D)",
            never(),
            trapped(results["e6_shb"]),
            sgd("e6"),
            of=("e6_shb",),
            note=touches("e6_shb"),
        ),
    ]


def otherwise(columns: Columns, expected: float) -> Exact:
    """E2 is deterministic: how many starts end otherwise than predicted (n = 0 is trapped in any case)."""
    predicted = np.where(columns["w0"] == 0, 1.0, expected)
    return Exact(float((columns["trapped"] != predicted).sum()), len(predicted))


def _exact(title: str, source: str, wrong: Exact, controls: tuple[Control, ...], of: str) -> Part:
    predicted = exact(f"0 of {wrong.n} starts end otherwise (all of them, no randomness)", Region(0.0, 0.0), "starts")
    return Part(title, source, predicted, wrong, controls, of=(of,))


CLAIM = Claim(
    "CL26",
    "artificial",
    "Dyadic starts lead SGD exactly into the trap, SHB not, and one ulp beside them nothing is trapped.",
    "D4(C), D4(D)",
    experiments,
    parts,
)
