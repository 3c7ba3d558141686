"""CL30: convex (Clarke regular) samples create no artificial subgradients: E d f(., s) = dF at every kink.

No artefact of sampling, that is: one of the program is still possible, as at E5, whose samples are convex (CL22c).
Clarke's sum rule d(E f) in E d f(., s) is an equality for regular f(., s) (theory.md section 3, type S). In one
dimension df is the interval between the one-sided derivatives, so E df(., s) is the interval between their means over
s, from the smaller and the larger one of each sample, and dF the one between those of F. Random convex samples
f(w, s) = max_i (a_i w + b_i) have their kinks at shared places; of such random kinks a share is claimed. The seven
kinks of E7, all of them, are in the note. Controls: every other of these samples negated, which
is not regular; and E1, where the two intervals are [0, 2] and {1}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.share import always, of_runs
from bench.statistics.estimates import Proportion
from shb.problems import CLOSED_FORMS
from shb.streams import normal, words

OFFSET = 1e-9  # beside a kink; slopes are locally constant up to O(OFFSET)
SAMPLES, LINES = 8, 4
TOLERANCE = 1e-6
MOST = 0.98  # share of the kinks that "every kink" means with 500 of them


def hausdorff(kink: float, derivatives: Callable[[Tensor], Tensor]) -> float:
    """Distance of E df(., s) and dF at `kink`; `derivatives`: w [points] -> v(w, s) [samples, points]."""
    sides = derivatives(torch.tensor([kink - OFFSET, kink + OFFSET], dtype=torch.float64))
    sampled = sides.amin(1).mean(), sides.amax(1).mean()
    mean = sides.mean(0)
    return max(abs(sampled[0] - mean.min()).item(), abs(sampled[1] - mean.max()).item())


def oracle(problem: str, options: Mapping[str, Any], samples: list[float]) -> Callable[[Tensor], Tensor]:
    """Backpropagated derivatives of a closed form at many points, for given samples."""
    one = CLOSED_FORMS[problem](**options)

    def derivative(w: Tensor, s: Tensor) -> Tensor:
        return torch.func.grad(lambda x: one.loss({"w": x[None]}, s))(w)

    over_points = torch.func.vmap(derivative, (0, None))
    return lambda w: torch.stack([over_points(w, torch.tensor(s, dtype=torch.float64)) for s in samples])


def max_affine(slopes: Tensor, kink: float) -> Callable[[Tensor], Tensor]:
    """Derivatives of f(w, s) = max_i slopes[s, i] (w - kink), a convex kink of every sample at one place."""

    def derivatives(w: Tensor) -> Tensor:
        x = (w - kink).requires_grad_()
        values = (slopes[:, :, None] * x).amax(1)  # [samples, points]
        return torch.stack([torch.autograd.grad(row.sum(), x, retain_graph=True)[0] for row in values])

    return derivatives


def signed_affine(slopes: Tensor, kink: float) -> Callable[[Tensor], Tensor]:
    """Derivatives of (-1)^s f(w, s) for the samples f of `max_affine`: every other one has a concave kink."""
    signs = 1.0 - 2.0 * (torch.arange(len(slopes)) % 2)[:, None]
    return lambda w: signs * max_affine(slopes, kink)(w)


AFFINE = {"max_affine": max_affine, "signed_affine": signed_affine}


@measure("kink_intervals")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Hausdorff distance of E df(., s) and dF at one kink per seed."""
    if settings["kind"] in AFFINE:
        drawn = normal(words(seeds, "slopes", 0, SAMPLES * LINES + 1)).T
        slopes = torch.from_numpy(drawn[:, 1:]).reshape(-1, SAMPLES, LINES)
        samples = AFFINE[settings["kind"]]
        return {"distance": np.array([hausdorff(k, samples(a, k)) for k, a in zip(drawn[:, 0], slopes)])}
    derivatives = oracle(settings["kind"], settings["options"], settings["samples"])
    kinks = settings["kinks"]
    return {"distance": np.array([hausdorff(kinks[seed % len(kinks)], derivatives) for seed in seeds])}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def fixed(kind: str, options: Mapping[str, Any], samples: list[float], kinks: list[float]) -> Experiment:
        settings = {"kind": kind, "options": options, "samples": samples, "kinks": kinks}
        return Experiment("kink_intervals", settings, seeds=len(kinks))

    atoms = [-1.5, -0.5, 0.0, 0.25, 2.0]  # a sample of the normal law of E7
    return {
        **{kind: Experiment("kink_intervals", {"kind": kind}, seeds=protocol["kinks"]) for kind in AFFINE},
        "e7_signs": fixed("e7", {"noise": "signs"}, [-1.0, 1.0], [-1.0, 1.0]),
        "e7_atoms": fixed("e7", {"noise": "normal"}, atoms, atoms),
        "e1": fixed("e1", {}, [-1.0, 1.0], [0.0]),
    }


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def equal(name: str) -> Proportion:
        distances = results[name]["distance"]
        return of_runs(distances <= TOLERANCE)

    e7, e1 = (
        [float(results[name]["distance"].max()) for name in names] for names in (("e7_signs", "e7_atoms"), ("e1",))
    )
    return [
        Part(
            "Where every sample is convex, sampling adds no subgradient (in one dimension).",
            "Clarke's sum rule (theory.md section 3)",
            always(f"of random kinks with E df(., s) and dF at most {TOLERANCE:g} apart", MOST),
            equal("max_affine"),
            (Control("every other convex sample negated", equal("signed_affine")),),
            note=f"Largest distance at the kinks of E7 {max(e7):.2g}, of E1, which is not regular, {e1[0]:.2g}",
            of=("max_affine",),
        )
    ]


CLAIM = Claim(
    "CL30",
    "artificial",
    "In one dimension, sampling convex functions adds no subgradient.",
    "Clarke's sum rule",
    experiments,
    parts,
    single=True,
)
