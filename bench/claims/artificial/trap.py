"""CL22: a run that starts exactly at an artificial critical point stays there for ever, whatever the optimizer.

For t = ReLU'(0) = 0 every sample's backpropagated gradient at w = 0 is 0 (E1, E2, E5, E6), so SGD, SHB and Nesterov add
nothing, and Adam 0 / (0 + eps). The point is not Clarke critical: the gradient of F there is not 0. Controls: the same
function with another derivative at 0, v(0, s) = 2t at E1, leaves at once.

Equal programs: E1 written with abs, maximum, amax (derivative 1/2), max-pooling of [x, 0] or relu_2 (derivative 1) has
v(0, s) = 1 or 2. clamp(min=0) has derivative 1 at the bound before torch 2.14, and 0 since: it traps now.
Injected rule: the identity gadget of E2 gets t - t = 0 from its two ReLUs for every t, so E2 stays frozen; at E1 the
oracle is t s, which moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.artificial.comparable import OPTIMIZERS, frozen, frozen_share
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.share import always, never, of_runs
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion
from shb.nonsmooth.gadgets import DERIVATIVE_AT_ZERO

PROBLEMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # letter -> name in the report, settings
    "a": ("E1", {"problem": "e1"}),
    "b": ("E2 with s ~ U[1/2, 3/2]", {"problem": "e2", "problem.noise": "uniform"}),
    "c": ("E5 on the diabetes data", {"problem": "e5", "problem.data": "diabetes"}),
    "d": ("E6", {"problem": "e6"}),
    "e": ("E6 on the diabetes data", {"problem": "e6", "problem.data": "diabetes"}),
}
DERIVATIVES = (0.25, 0.5, 1.0)
FORMS = ("abs", "maximum", "amax", "max_pool_zero_last", "relu_2")
LINE_START = (0.0, 3.0)  # on the trapping line of E3, for the figure


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(problem: Mapping[str, Any], optimizer: str, seeds: str, **more: Any) -> Experiment:
        start = {"init": "zeros", **OPTIMIZERS[optimizer], "steps": protocol["steps"]}
        return trajectories({**problem, **start, **more}, seeds=protocol[seeds], device=protocol.device)

    planned = {}
    for letter, (_, problem) in PROBLEMS.items():
        for optimizer in OPTIMIZERS:
            planned[f"{letter}_{optimizer}"] = run(problem, optimizer, "seeds")
        for t in DERIVATIVES if letter == "a" else DERIVATIVES[1:2]:
            planned[f"{letter}_t{t}"] = run(problem, "shb", "control_seeds", relu_derivative=t)
    (_, e1), (_, e2) = PROBLEMS["a"], PROBLEMS["b"]
    for form in FORMS:
        planned[f"form_{form}"] = run({**e1, "problem.form": form}, "shb", "seeds")
    planned["clamp"] = run({**e1, "problem.form": "clamp"}, "shb", "seeds")
    for t in DERIVATIVES:
        planned[f"injected_e2_t{t}"] = run(e2, "shb", "seeds", relu_derivative=t, relu_rule="injected")
    planned["injected_e1"] = run(e1, "shb", "control_seeds", relu_derivative=1.0, relu_rule="injected")
    for optimizer in ("sgd", "shb", "adam"):
        planned[f"line_{optimizer}"] = trajectories(
            {"problem": "e3", "init": "point", "init.value": LINE_START, "steps": 400},
            OPTIMIZERS[optimizer],
            observe={"path": {"every": 1}},
            seeds=1,
            device=protocol.device,
        )
    return planned


def everywhere(results: Results, names: list[str]) -> Proportion:
    """Share of the seeds that are frozen in all of the experiments: runs of one seed share its samples."""
    both = np.logical_and.reduce([frozen(results[name]) for name in names])
    return of_runs(both)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    for letter, (name, _) in PROBLEMS.items():
        controls = [
            Control(f"ReLU'(0) = {t:g}", frozen_share(results[f"{letter}_t{t}"]))
            for t in DERIVATIVES
            if f"{letter}_t{t}" in results
        ]
        rows.append(
            Part(
                f"Started at the artificial point of {name}, SGD, SHB, Nesterov and Adam never move.",
                "paper C-e",
                always(),
                everywhere(results, [f"{letter}_{optimizer}" for optimizer in OPTIMIZERS]),
                tuple(controls),
                note="A seed counts as frozen if its runs under all four optimizers are.",
                of=tuple(f"{letter}_{optimizer}" for optimizer in OPTIMIZERS),
            )
        )
    n = len(results["form_abs"]["sup_norm"])
    stays = np.logical_or.reduce([frozen(results[f"form_{form}"]) for form in FORMS])
    rows.append(
        Part(
            f"The same function written with {', '.join(FORMS)} has no trap.",
            "paper C-d, E1",
            never(what="frozen"),
            Proportion(int(stays.sum()), n),
            (Control("written with relu", frozen_share(results["a_shb"])),),
            of=tuple(f"form_{form}" for form in FORMS),
        )
    )
    rows.append(_clamp(results))
    rows.append(
        Part(
            "Under the injected rule the trap of E2 holds for every ReLU'(0): the two injected values cancel.",
            "this project",
            always(),
            everywhere(results, [f"injected_e2_t{t}" for t in DERIVATIVES]),
            (
                Control("chain rule, ReLU'(0) = 0.5", frozen_share(results["b_t0.5"])),
                Control(
                    "injected rule, ReLU'(0) = 1, where the oracle is t s", frozen_share(results["injected_e1"]), "E1"
                ),
            ),
            note="SHB; t = 0.25, 0.5 and 1.",
            of=tuple(f"injected_e2_t{t}" for t in DERIVATIVES),
        )
    )
    return rows


def _clamp(results: Results) -> Part:
    """The prediction depends on torch's version, not the measurement."""
    own = frozen_share(results["clamp"])
    title = "Written with clamp(min=0), whose derivative at the bound torch {} at version 2.14, E1 {}."
    note = f"torch {torch.__version__}: derivative {DERIVATIVE_AT_ZERO['clamp']:g} at the bound."
    other = Control("written with maximum", frozen_share(results["form_maximum"]))
    if DERIVATIVE_AT_ZERO["clamp"] == 0:
        title = title.format("set to 0", "has the trap")
        return Part(title, "this project", always(), own, (other,), note=note, of=("clamp",))
    relu = Control("written with relu", frozen_share(results["a_shb"]))
    title = title.format("changed", "had no trap before")
    return Part(title, "this project", never(what="frozen"), own, (relu,), note=note, of=("clamp",))


CLAIM = Claim(
    "CL22",
    "artificial",
    "Started exactly at an artificial critical point, every optimizer stays there for ever.",
    "paper C-e",
    experiments,
    parts,
)
