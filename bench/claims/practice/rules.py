"""CL52: what the rules for practice are worth on networks that train well anyway.

    rule 1   a start with a density: torch's random biases against zero biases; torch's random weights against the
             identity, where nothing is random (dead units included: pixels that are 0 in every image)
    rule 2   a step size that D1 covers, a / (k + 11)^q, against a cosine to 0, of which D1 says nothing

The theory says that starts without a density may be bad, not that they are, and that other steps may not converge, not
that a power trains well. Predictions of the review, fixed before any run: starts without a density lose nothing (TOST,
0.3 points of test accuracy); the cosine ends with no larger training loss than the best power of q = 0.6, 0.75, 0.9. So
a failure of the first says that rule 1 pays where nothing is trapped, and a failure of the second that rule 2 does.

Every arm has its own step size: the best of 16 on seeds of its own (the same range for the first step of every
schedule). The best power is chosen there, too. Pilots on other seeds chose the number of seeds and of updates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import bench.claims.precision.held_out  # noqa: F401  registers its observer
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.practice.tuned import tuned
from bench.claims.prediction import inside, tost
from bench.claims.sampling.networks import networks
from bench.claims.step_sizes.heavy_ball import power
from bench.statistics.cases import Cases
from bench.statistics.estimates import PairedMean
from bench.statistics.inference import Region

STARTS = {  # arm -> what differs from torch's default start under the cosine
    "random": {},
    "zero bias": {"init": "torch_zero_bias"},
    "identity": {"init": "identity"},
    "zeros": {"init": "zeros"},
}
POWERS, K0 = (0.6, 0.75, 0.9), 10.0
SMALL = 1 / 30  # of the best step, in the control
TUNING = 20_000  # first seed of the tuning
MARGIN = 0.003  # of test accuracy
COSINE = {"schedule": "cosine"}


def step_sizes(protocol: Protocol, first: float = 1.0) -> list[float]:
    """Base step sizes whose first step, `first` times the base, covers the range of the protocol."""
    low, high, count = (protocol["lrs"][name] for name in ("low", "high", "count"))
    return [float(f"{lr / first:.4g}") for lr in np.geomspace(low, high, count)]


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(
        network: tuple[str, ...], own: Mapping[str, object], seeds: int, first: float = 1.0, **more: float
    ) -> Experiment:
        return tuned(
            {"problem": "learning", "dtype": "float32", "init": "torch_default", "steps": protocol["steps"]}
            | {"optimizer": "shb", "optimizer.momentum": protocol["momentum"]}
            | own,
            *network,
            lrs=step_sizes(protocol, first),
            tuning_seeds=protocol["tuning_seeds"],
            first_tuning_seed=TUNING,
            seeds=seeds,
            chunk=protocol["chunk"],
            observe={"held_out": {}},
            device=protocol.device,
            seconds=seeds * protocol["steps"] * protocol["seconds"],
            **more,
        )

    planned = {}
    for name, network in networks(protocol).items():
        for arm, own in STARTS.items():
            n = protocol["control_seeds" if arm == "zeros" else "seeds"]
            planned[f"{name} {arm}"] = run(network, COSINE | own, n)
    n = protocol["schedule_seeds"]
    for name, network in networks(protocol, "schedule_networks").items():
        planned[f"{name} cosine"] = run(network, COSINE, n)
        for other in ("linear", "constant"):
            planned[f"{name} {other}"] = run(network, {"schedule": other}, n)
        for q in POWERS:
            first = (1 + K0) ** -q
            planned[f"{name} power {q}"] = run(network, power(q, K0), n, first)
            planned[f"{name} small power {q}"] = run(network, power(q, K0), n, first, scale=SMALL)
    return planned


def best_power(name: str, results: Results) -> float:
    """The q with the smallest loss in the tuning of one network."""
    return min(POWERS, key=lambda q: float(results[f"{name} power {q}"]["tuning_loss"][0]))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    starts, schedules = list(protocol["networks"]), list(protocol["schedule_networks"])
    lacking = [
        name
        for name, arm in [*((name, "random") for name in starts), *((name, "cosine") for name in schedules)]
        if f"{name} {arm}" not in results
    ]
    if lacking:
        return [CLAIM.out_of_scope(f"data set absent, for {', '.join(dict.fromkeys(lacking))}")]

    def difference(name: str, arm: str) -> PairedMean:
        accuracy = results[f"{name} {arm}"]["test_accuracy"]
        return PairedMean(accuracy, results[f"{name} random"]["test_accuracy"][: len(accuracy)])

    def equal(arm: str, title: str) -> Part:
        mean = {start: np.mean([results[f"{n} {start}"]["test_accuracy"].mean() for n in starts]) for start in STARTS}
        return Part(
            title,
            "rule 1 (this project); prediction of the review",
            tost(f"test accuracy minus that of torch's default within {MARGIN:g}", Region(-MARGIN, MARGIN), "accuracy"),
            Cases({name: difference(name, arm) for name in starts}),
            tuple(Control(f"all weights zero, {name}", difference(name, "zeros")) for name in starts),
            of=tuple(f"{name} {one}" for name in starts for one in (arm, "random")),
            note=f"accuracy {mean[arm]:.4f}, torch's default {mean['random']:.4f}, tuned steps "
            + ", ".join(f"{one} {results[f'{name} {one}']['lr'][0]:.3g}" for name in starts for one in (arm, "random")),
        )

    q = {name: best_power(name, results) for name in schedules}

    def against(name: str, arm: str) -> PairedMean:
        return PairedMean(*(log_loss(results[f"{name} {one}"]) for one in (arm, f"power {q[name]}")))

    arms = ("cosine", "linear", "constant", *(f"power {one}" for one in POWERS))
    losses = "; ".join(
        f"{name}: " + ", ".join(f"{arm} {np.exp(log_loss(results[f'{name} {arm}']).mean()):.3g}" for arm in arms)
        for name in schedules
    )
    return [
        equal("zero bias", "Zero biases instead of random ones cost a network no test accuracy."),
        equal("identity", "A start without any randomness, the identity, costs a network no test accuracy."),
        Part(
            "A cosine to 0, which D1 does not cover, trains a network at least as well as the best power of k.",
            "rule 2 (this project); prediction of the review",
            inside("mean log ratio of the training losses, cosine / best power, <= 0", Region(high=0.0), "log ratio"),
            Cases({name: against(name, "cosine") for name in schedules}),
            tuple(
                Control(f"that power at 1/30 of its step, {n}", against(n, f"small power {q[n]}")) for n in schedules
            ),
            of=tuple(f"{name} {arm}" for name in schedules for arm in ("cosine", f"power {q[name]}")),
            note=f"best power: {', '.join(f'q = {one:g} ({name})' for name, one in q.items())}; losses: {losses}",
        ),
    ]


def log_loss(columns: Columns) -> np.ndarray:
    """log of the final training loss: [n]."""
    return np.log(columns["objective"])


CLAIM = Claim(
    "CL52",
    "practice",
    "The rules for practice, against what practice does: zero biases, no randomness, a cosine.",
    "seed practice",
    experiments,
    parts,
)
