"""CL34: what one exact zero does to a gradient, and what ReLU'(0) does to training, under both ReLU rules.

chain: the zero sends t times its upstream gradient back, one of 256 samples times 256 units: a small change.
injected (public code of Bertoin et al.): it sends t itself, whatever the loss is: with the upstream gradient of a mean
loss over 256 samples near 1e-5, that is a change of many times the gradient. The published collapse of training for
t >= 1/2 (ResNet18 on CIFAR-10: 0.901 to 0.100) is out of reach here; what can be tested is its mechanism: bfloat16 nets
whose bias is added after rounding, in which about one call in 10^3 is at an exact zero. In float32 the same nets make
some 5e6 calls in 500 updates, at 1e-8 zeros per call: 1 run in 20 meets one. There the rules cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import bench.claims.precision.held_out  # noqa: F401  registers the observer
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.precision.bifurcation import DEPTHS, ensembles
from bench.claims.prediction import inside, tost
from bench.claims.share import never, of_runs
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Mean, PairedMean, Proportion
from bench.statistics.inference import Region

ARMS = {"chain_0": (0.0, "chain"), "chain_half": (0.5, "chain"), "chain_1": (1.0, "chain")}
ARMS |= {"injected_half": (0.5, "injected"), "injected_1": (1.0, "injected")}
DEPTH = 3  # that of the published networks
COARSE_MARGIN = 0.02  # the test part of digits has 360 images: 0.01 is one standard error of a run


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def train(arm: str, seeds: int, precision: Mapping[str, Any]) -> Experiment:
        derivative, rule = ARMS[arm]
        return trajectories(
            {"problem": "learning", "model": "mlp", "model.hidden": [64] * 5, "dataset": "digits", "batch_size": 32},
            {"optimizer": "shb", "optimizer.lr": 0.02, "optimizer.momentum": 0.9, "steps": protocol["steps"]},
            {"relu_derivative": derivative, "relu_rule": rule, **precision},
            seeds=seeds,
            observe={"held_out": {}},
            device=protocol.device,
            chunk=10,
            seconds=4.0 * seeds / 10,
        )

    planned = {"float32": ensembles(protocol)["float32"]}
    for arm in ("chain_0", "chain_1", "injected_1"):
        planned[f"fine_{arm}"] = train(arm, protocol["fine_seeds"], {"dtype": "float32"})
    for arm in ARMS:
        planned[f"coarse_{arm}"] = train(arm, protocol["seeds"], {"dtype": "bfloat16"})
    return planned


def effects(results: Results, rule: str, depth: int = DEPTH) -> np.ndarray:
    """log10 of the relative change of the first-layer gradient, of the initialisations that have an exact zero."""
    values = results["float32"][f"effect_{rule}"][:, DEPTHS.index(depth)]
    return np.log10(values[np.isfinite(values) & (values > 0)])


def parts(protocol: Protocol, results: Results) -> list[Part]:
    accuracy = {name: c["test_accuracy"] for name, c in results.items() if "test_accuracy" in c}
    change = {rule: effects(results, rule) for rule in ("chain", "injected")}
    few = min(map(len, change.values())) < 2
    by_depth = {
        rule: ", ".join(f"L = {d}: {10 ** np.median(e):.2g}" for d in DEPTHS if len(e := effects(results, rule, d)))
        for rule in change
    }

    def effect(rule: str, other: str, low: float, high: float, words: str) -> Part:
        return Part(
            f"One exact zero changes the gradient of the first layer {words} under the {rule} rule.",
            "theory.md CL34 (derived)",
            inside(
                f"mean log10 of the relative change in [{low:g}, {high:g}], L = {DEPTH}, float32",
                Region(low, high),
                "log10",
            ),
            None if few else Mean(change[rule]),
            () if few else (Control(f"the {other} rule", Mean(change[other])),),
            out_of_scope="fewer than two initialisations with an exact zero" if few else None,
            note=f"median change by depth: {by_depth[rule]}",
            of=("float32",),
        )

    def drop(first: str, second: str) -> PairedMean:
        return PairedMean(accuracy[first], accuracy[second])

    def mean(name: str) -> str:
        return f"{accuracy[name].mean():.3f}"

    collapse = drop("coarse_chain_0", "coarse_injected_1")
    fell = Control("the injected rule, same precision", drop("coarse_injected_1", "coarse_chain_0"))

    def safe(t: str) -> Control:
        return Control(
            "the chain rule with the same ReLU'(0), same precision", drop("coarse_chain_0", f"coarse_chain_{t}")
        )

    def moved(name: str) -> Proportion:
        """Share of runs that end with another training loss for t = 1 than for t = 0, under the chain rule."""
        other = results[f"{name}_chain_0"]["objective"] != results[f"{name}_chain_1"]["objective"]
        return of_runs(other)

    return [
        effect("chain", "injected", -3.0, -2.0, "by 0.1 to 1 %"),
        effect("injected", "chain", 1.0, 2.0, "by 10 to 100 times its norm"),
        Part(
            "In float32, unlike bfloat16, most runs never ask for ReLU'(0): with t = 0 and 1 they end the same.",
            "theory.md CL34 (derived)",
            never("with another training loss, to the last bit (chain rule)", most=0.5),
            moved("fine"),
            (Control("the same networks in bfloat16, the other precision of the statement", moved("coarse")),),
            note="So float32 cannot tell the rules apart at this size: accuracy "
            f"{mean('fine_chain_0')} under the chain rule, {mean('fine_injected_1')} under the injected one, t = 1.",
            of=("fine_chain_0", "fine_chain_1"),
        ),
        Part(
            "With the chain rule ReLU'(0) does not matter even where exact zeros are frequent (bfloat16).",
            "theory.md CL34 (derived)",
            tost(
                "test accuracy of t = 1 minus t = 0 within 2 points (digits)",
                Region(-COARSE_MARGIN, COARSE_MARGIN),
                "accuracy",
            ),
            drop("coarse_chain_1", "coarse_chain_0"),
            (fell,),
            note="accuracy "
            + ", ".join(f"{mean(f'coarse_chain_{t}')}" for t in ("1", "half", "0"))
            + " for t = 1, 1/2, 0",
            of=("coarse_chain_1", "coarse_chain_0"),
        ),
        Part(
            "The injected rule of the published code makes training collapse where exact zeros are frequent, t = 1.",
            "Bertoin et al. 2021; theory.md CL34",
            inside(
                "loss of test accuracy in [0.5, 1] (bfloat16; published ResNet18: 0.8)", Region(0.5, 1.0), "accuracy"
            ),
            collapse,
            (safe("1"),),
            note="The published accuracies for t != 0 belong to the injected rule only; with the chain rule they do "
            "not appear.",
            of=("coarse_chain_0", "coarse_injected_1"),
        ),
        Part(
            "The injected rule makes training collapse for t = 1/2 too, as published.",
            "Bertoin et al. 2021; theory.md CL34",
            inside(
                "loss of test accuracy in [0.5, 1] (bfloat16; published ResNet18: 0.8)", Region(0.5, 1.0), "accuracy"
            ),
            drop("coarse_chain_0", "coarse_injected_half"),
            (safe("half"),),
            of=("coarse_chain_0", "coarse_injected_half"),
        ),
    ]


CLAIM = Claim(
    "CL34",
    "precision",
    "ReLU'(0) is harmless with the chain rule; the published collapse comes from the injected rule.",
    "theory.md CL34",
    experiments,
    parts,
    datasets=("mnist",),
)
