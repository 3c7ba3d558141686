"""CL57: how often a pre-activation is exactly 0 follows from the last addition of a kernel, without a free parameter.

A ReLU is called at 0 iff the last two summands cancel to the last bit; if u is rounded once, P = E[p(-v) ulp(v)]
(`summation`, theory.md section 6). With the bias last, v = b, the share of initialisations with a zero on the data is
1 - exp(-sum over calls). So the shares that CL33 and CL35 compare with published ones are a property of the kernel, of
how it orders its sums, not of float32: with the bias before the second half of the columns, as a product of matrices
that starts from the bias does, the first layer has several times as many.

First version: partial sums are coarser, so splitting the inner sum must move the share too (e, refuted). A coarser u
meets -v less often in the same proportion, whatever the order of the columns, unless the biases lie on a coarse lattice
themselves (d).

At quick the same arithmetic with 12 bits on digits, where 128 images have about one zero; at full float32 and MNIST,
with the shares that were computed beforehand from 12 initialisations. There the first layer alone is computed with 16
bits: in float32 it has a zero in one initialisation of twenty, too few to compare two orders of a sum. A pilot on seeds
from 10,000 chose bits, images and sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment
from bench.claims.precision import summation
from bench.claims.precision.bifurcation import DEPTHS
from bench.claims.prediction import inside
from bench.claims.sampling.networks import dataset_of, networks, out_of_scope
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, ratio_of_means, ratio_of_ratios
from bench.statistics.inference import Region

LAW, FIRST = Region(0.85, 1.15), Region(0.8, 1.25)  # counts over the law: all layers, the first layer (fewer zeros)
FEWER = 2  # bits less in the control of another format


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    present = networks(protocol)
    if not present:
        return {}
    ((name, overrides),) = present.items()

    def zeros(seeds: int, seconds: float, **changes: int) -> Experiment:
        settings = {size: protocol[size] for size in ("images", "width", "bits")}
        settings |= {"dataset": dataset_of(overrides), "layers": max(DEPTHS)} | changes
        return Experiment("summation_zeros", settings, seeds, chunk=protocol["chunk"], seconds=seconds * seeds)

    seconds = protocol["seconds"]
    return {
        f"{name} network": zeros(protocol["seeds"], seconds),
        f"{name} first": zeros(
            protocol["first"], seconds / 3, layers=1, images=protocol["first_images"], bits=protocol["first_bits"]
        ),
        f"{name} format": zeros(protocol["controls"], seconds, bits=protocol["bits"] - FEWER),
    }


def counts(columns: Columns, *kernels: str) -> np.ndarray:
    """Zeros of each initialisation, all layers, mean over the kernels: [n]."""
    return np.mean([columns[f"zeros_{kernel}"].sum(1) for kernel in kernels], 0)


def law(columns: Columns, kernel: str) -> np.ndarray:
    """What the law predicts for them: [n]."""
    return columns[f"law_{kernel}"].sum(1)


def deviations(columns: Columns, kernel: str, shares: Sequence[float] | None) -> np.ndarray:
    """Whether there is a zero, minus the predicted share, by depth: [n, len(DEPTHS)].

    The share is 1 - exp(-law) of the same initialisation, or that of `shares`.
    """
    layers = [depth - 1 for depth in DEPTHS]
    hit = (columns[f"zeros_{kernel}"].cumsum(1) > 0)[:, layers]
    return hit - (-np.expm1(-columns["law_last"].cumsum(1)[:, layers]) if shares is None else np.array(shares))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = out_of_scope(protocol, results)
    if scope is not None:
        return [CLAIM.out_of_scope(scope)]
    (name,) = protocol["networks"]
    of = {key: f"{name} {key}" for key in ("network", "first", "format")}
    network, first, other = (results[key] for key in of.values())
    source, known, margin = "theory.md section 6 (derived)", protocol.sizes.get("shares"), protocol["margin"]

    def over(kernel: str, columns: Columns = network, by: str = "last") -> Mean:
        """Zeros counted over zeros predicted."""
        return ratio_of_means(counts(columns, kernel), law(columns, by))

    def against(kernel: str, columns: Columns) -> Mean:
        """Zeros over those of the kernel that adds the bias last."""
        return ratio_of_means(counts(columns, kernel), counts(columns, "last"))

    def orders(kernel: str) -> Mean:
        """The same in the first layer, over what the law says of the kernel that adds the bias in the middle."""
        return ratio_of_ratios(counts(first, kernel), counts(first, "last"), law(first, "middle"), law(first, "last"))

    def share(kernel: str) -> list[Mean]:
        return [Mean(one) for one in deviations(network, kernel, known).T]

    fused = "the bias inside the sum, one rounding"
    fewer = f"biases of {summation.COARSE} bits less, sum in four parts"
    coarse = Control(fewer, over("coarse"))
    coarser = ratio_of_means(counts(other, "last"), law(network, "last")[: len(other["law_last"])])
    ratio, found = law(first, "middle").sum() / law(first, "last").sum(), against("middle", first).value
    native = f"; torch on this machine {over('native').value:.3g}" if "zeros_native" in network else ""
    hits = (network["zeros_last"].cumsum(1) > 0).mean(0)
    measured = " / ".join(f"{100 * hits[depth - 1]:.1f}" for depth in DEPTHS)
    apart = " / ".join(f"{100 * one.value:+.1f}" for one in share("last"))
    split = ("split_2", "split_4", "permuted")
    return [
        Part(
            "Added last, a bias cancels a pre-activation as often as E[p(-b) ulp(b)] says, without a free parameter.",
            source,
            inside(f"zeros counted / zeros predicted in {LAW}", LAW, "ratio"),
            over("last"),
            (
                Control(fused, over("exact")),
                coarse,
                Control(f"arithmetic of {FEWER} bits less, by the same law", coarser),
            ),
            note=f"{counts(network, 'last').sum():.0f} zeros in {len(network['law_last'])} initialisations.",
            of=(of["network"],),
        ),
        Part(
            "Added before the second half of the columns, it does as often as E[p(-s) ulp(s)] says, s that half.",
            source,
            inside(f"zeros counted / zeros predicted in {FIRST}, first layer", FIRST, "ratio"),
            over("middle", first, "middle"),
            (Control("the bias last", over("last", first, "middle")),),
            (Alternative("the law of a bias added last", f"{over('middle', first).value:.3g}"),),
            note=f"{counts(first, 'middle').sum():.0f} zeros.",
            of=(of["first"],),
        ),
        Part(
            "So the rate is a property of the kernel: two orders of one sum differ by what the law says.",
            source,
            inside(
                f"zeros with the bias in the middle / with the bias last, over the ratio of their laws, in {FIRST}, "
                "first layer",
                FIRST,
                "ratio of ratios",
            ),
            orders("middle"),
            (Control("the sum in two halves, the bias last", orders("split_2")),),
            note=f"Counts {found:.3g}, laws {ratio:.3g}. "
            f"Over the law of a bias added last: middle {over('middle', first).value:.3g}{native}.",
            of=(of["first"],),
        ),
        Part(
            "Splitting the inner sum into two or four, in any order of its columns, leaves the rate as it is.",
            source,
            inside(f"zeros counted / zeros predicted in {LAW}", LAW, "ratio"),
            Cases({kernel: over(kernel) for kernel in split}),
            (coarse,),
            of=(of["network"],),
        ),
        Part(
            "Splitting the inner sum moves the rate (first version).",
            "first version (this project)",
            inside("zeros of the sum in four / of the sum in one at least 1.1", Region(1.1, np.inf), "ratio"),
            against("split_4", network),
            (Control(fused, against("exact", network)),),
            status=Status.SUPERSEDED,
            of=(of["network"],),
        ),
        Part(
            "The share of initialisations with a zero on the data is 1 - exp(-the sum of the law), at every depth.",
            source,
            inside(
                f"share minus law within {margin:g}, L = {', '.join(map(str, DEPTHS))}",
                Region(-margin, margin),
                "share",
            ),
            Cases({f"L = {depth}": one for depth, one in zip(DEPTHS, share("last"))}),
            tuple(
                Control(f"{words}, L = {DEPTHS[-1]}", share(kernel)[-1])
                for words, kernel in ((fused, "exact"), (fewer, "coarse"))
            ),
            note=f"Measured {measured} %, minus law {apart}.",
            of=(of["network"],),
        ),
    ]


CLAIM = Claim(
    "CL57",
    "precision",
    "Exact zeros without a free parameter: a property of how a kernel adds, not of the format.",
    "theory.md section 6 (derived)",
    experiments,
    parts,
)
