"""CL6: the mean final gap is alpha_K tr Cov(v) / (4 (1 - beta)), whatever the Hessian (L3; derivation in gap.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.gap import (
    MOMENTUM,
    at_least_squares,
    effective_steps,
    hessian_of,
    mean_gap,
    neuron_moment,
    problem_of,
    run,
)
from bench.claims.experiment import Experiment
from bench.claims.prediction import inside
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region

PREDICTED = Region(0.9, 1.1)
SGD_STEP, SHB_STEP = "SHB with the step of SGD", "SGD with the step of SHB"


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    return {
        "e1_sgd": run("e1", protocol, momentum=0.0),
        "e1": run("e1", protocol),
        "e6": at_least_squares(protocol),
        "e1_sgd other": run("e1", protocol, step_of=0.0, seeds="seeds_control"),
        "e1 other": run("e1", protocol, momentum=0.0, step_of=MOMENTUM, seeds="seeds_control"),
        "e6 other": at_least_squares(protocol, 0.0, step_of=MOMENTUM, seeds="seeds_control"),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    steps, planned = protocol["steps"], experiments(protocol)

    def part(name: str, title: str, source: str, expected: float, words: str) -> Part:
        minimum = problem_of(planned[name]).minimum

        def ratio(name: str) -> Mean:
            return Mean((results[name]["objective"] - minimum) / expected)

        changed = SGD_STEP if name == "e1_sgd" else SHB_STEP
        return Part(
            title,
            source,
            inside(f"{words} in [0.9, 1.1]", PREDICTED, "ratio"),
            ratio(name),
            (Control(changed, ratio(f"{name} other")),),
            of=(name,),
        )

    rows = []
    for name, title in (
        ("e1_sgd", "The mean final gap of SGD at E1 is proportional to the step size, with the constant of L3."),
        ("e1", "The mean final gap of SHB at E1 is that of SGD with step size alpha / (1 - beta)."),
        ("e6", "The same holds for a ReLU neuron on the diabetes data, whose curvatures differ by a factor 500."),
    ):
        problem = problem_of(planned[name])
        expected = mean_gap(problem.noise_covariance().numpy(), effective_steps(problem.name, steps, [steps])[0])
        law = "(E F(w_K) - F*) / (alpha_K tr Cov(v) / (4 (1 - beta)))"
        rows.append(part(name, title, "L3 (this project)", expected, law))
    second = float(np.trace(hessian_of(problem) @ neuron_moment(problem, steps))) / 2
    corrected = part(
        "e6",
        "With the next order of the step size L3 is sharper for the ReLU neuron.",
        "corrects CL6c (this project; neuron_moment in gap.py)",
        second,
        f"(E F(w_K) - F*) / {second:.4g}, the second-order recursion,",
    )
    note = f"It is {second / expected:.3f} times L3: noise that grows with the distance, lag of flat directions."
    return [*rows, replace(corrected, note=note)]


CLAIM = Claim(
    "CL6",
    "convergence",
    "The mean final gap is alpha_K tr Cov(v) / (4 (1 - beta)).",
    "L3 (this project)",
    experiments,
    parts,
)
