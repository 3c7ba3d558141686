"""Published shares of random initialisations with a differing mini-batch, beside those of this run (issue: figures).

Counts of 1,000 initialisations, width 256, from the public results of Bertoin-Bolte-Gerchinovitz-Pauwels (NeurIPS 2021,
github.com/deel-ai/relu-prime, paper_results/section_3/volume_estimation_by_number_of_layers_MNIST.csv), made with the
injected rule. The published 0 of float64 by depth is no measurement: the public notebook leaves the loop over
mini-batches before it compares anything in float64 (it does compare in its series by width, L = 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.claims.claim import Results
from bench.claims.precision.bifurcation import DEPTHS
from bench.claims.share import of_runs
from bench.statistics.estimates import Proportion

INITIALISATIONS = 1000
IMAGES, WIDTH = 60_000, 256  # of one initialisation: MNIST, units of a layer
SHARES = {  # storage format -> hits by depth, DEPTHS = 1, 2, 3, 5, 6
    "float16": (871, 999, 1000, 1000, 1000),
    "float32": (54, 258, 463, 647, 697),
    "float64": (0, 0, 0, 0, 0),
}


def published(dtype: str, depth: int) -> Proportion:
    """The published share."""
    return Proportion(SHARES[dtype][DEPTHS.index(depth)], INITIALISATIONS)


def hits_of(dtype: str, depth: int) -> np.ndarray:
    """1 for each published initialisation that has a differing mini-batch, else 0: [INITIALISATIONS]."""
    return (np.arange(INITIALISATIONS) < SHARES[dtype][DEPTHS.index(depth)]).astype(float)


def implied_rate(dtype: str, depth: int) -> float:
    """Exact zeros per ReLU call at initialisation that the published share implies, if zeros are independent.

    A network of `depth` layers of WIDTH units has no zero over IMAGES images with probability exp(-rate calls).
    """
    return -math.log1p(-published(dtype, depth).value) / (IMAGES * WIDTH * depth)


def measured(results: Results, dtype: str, depth: int, rule: str) -> Proportion:
    """The share of this run under `rule` ("chain", "injected" or "existence")."""
    hits = results[dtype][rule][:, DEPTHS.index(depth)]
    return of_runs(hits)


def table(results: Results) -> str:
    """Markdown: one row per format and depth; shares in % with 95 % intervals and sample sizes."""
    lines = ["| format | hidden layers | published (injected) | chain rule | injected rule |", "|" + "---|" * 5]
    for dtype in SHARES:
        for depth in DEPTHS:
            here = [measured(results, dtype, depth, rule) for rule in ("chain", "injected")]
            first = "not compared by the public code" if dtype == "float64" else percent(published(dtype, depth))
            lines.append("| " + " | ".join([dtype, str(depth), first, *map(percent, here)]) + " |")
    return "\n".join(lines)


def percent(share: Proportion) -> str:
    low, high = share.interval()
    return f"{100 * share.value:.1f} [{100 * low:.1f}, {100 * high:.1f}], n = {share.n}"


def summary(results: Results, dtype: str, rule: str, depths: Sequence[int] = DEPTHS) -> str:
    """Measured and published shares of one format in one line, for the note of a claim."""
    here = " / ".join(f"{100 * measured(results, dtype, d, rule).value:.1f}" for d in depths)
    there = " / ".join(f"{100 * published(dtype, d).value:.1f}" for d in depths)
    return f"{dtype}, {rule}: {here} % for L = {' / '.join(map(str, depths))} (published {there} %)"
