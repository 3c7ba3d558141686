"""CL6: the mean final gap is alpha_K tr Cov(v) / (4 (1 - beta)), whatever the Hessian (L3; derivation in gap.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
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
from bench.statistics.inference import Region, p_outside

PREDICTED = Region(0.9, 1.1)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    return {
        "e1_sgd": run("e1", protocol, momentum=0.0),
        "e1": run("e1", protocol),
        "e6": at_least_squares(protocol),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    steps = protocol["steps"]
    for name, title in (
        (
            "e1_sgd",
            "The mean final gap of SGD at E1 is proportional to the step size, with the constant of L3.",
        ),
        ("e1", "The mean final gap of SHB at E1 is that of SGD with step size alpha / (1 - beta)."),
        (
            "e6",
            "The same holds for a ReLU neuron on the diabetes data, whose curvatures differ by a factor 500.",
        ),
    ):
        problem = problem_of(experiments(protocol)[name])
        gap = results[name]["objective"] - problem.minimum
        expected = mean_gap(problem.noise_covariance().numpy(), effective_steps(problem.name, steps, [steps])[0])
        rows.append(_part(title, gap / expected, 0.0 if name.endswith("sgd") else MOMENTUM))
    moment = neuron_moment(problem, steps)
    second = float(np.trace(hessian_of(problem) @ moment)) / 2
    rows.append(
        replace(
            _part(
                "With the next order of the step size L3 is sharper for the ReLU neuron.",
                gap / second,
                MOMENTUM,
            ),
            source="corrects CL6c (this project; neuron_moment in gap.py)",
            prediction=inside(f"(E F(w_K) - F*) / {second:.4g} in [0.9, 1.1], the second-order recursion", PREDICTED),
            note=f"It is {second / expected:.3f} times L3: noise that grows with the distance, lag of flat directions.",
        )
    )
    return rows


def _part(title: str, ratios: np.ndarray, momentum: float) -> Part:
    estimate = Mean(ratios)
    if momentum:
        wrong, change = Mean(ratios / (1 - momentum)), f"formula without 1 - beta, beta = {momentum:g}"
    else:
        wrong, change = (
            Mean(ratios * 2),
            "formula of the variance of w, a factor 2 less",
        )  # E w^2 / 2 = a / 4, not a / 2
        wrong, change = Mean(ratios / 2), "formula alpha / 2, which forgets the 1/2 of F = w^2 / 2"
    control = Observed(change, p_outside(wrong, PREDICTED) < 1e-4, f"ratio {wrong.value:.3g}")
    return Part(
        title,
        "L3 (this project)",
        inside("(E F(w_K) - F*) / (alpha_K tr Cov(v) / (4 (1 - beta))) in [0.9, 1.1]", PREDICTED),
        estimate,
        (control,),
    )


CLAIM = Claim(
    "CL6",
    "convergence",
    "The mean final gap is alpha_K tr Cov(v) / (4 (1 - beta)).",
    "L3 (this project)",
    experiments,
    parts,
)
