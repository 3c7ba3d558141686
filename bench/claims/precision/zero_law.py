"""CL57: how often a pre-activation is exactly 0 follows from the last addition of a kernel, without a free parameter.

A ReLU is called at 0 iff the last two summands cancel to the last bit; if u is rounded once, P = E[p(-v) ulp(v)]
(`summation`, theory.md section 6). With the bias last, v = b, the share of initialisations with a zero on the data is
1 - exp(-sum over calls). So the shares that CL33 and CL35 compare with published ones are a property of the kernel, of
how it orders its sums, not of float32: with the bias before the second half of the columns, as a product of matrices
that starts from the bias does, the first layer has several times as many.

First version: partial sums are coarser, so splitting the inner sum must move the share too (e, refuted). A coarser u
meets -v less often in the same proportion, unless the biases lie on a coarse lattice themselves (d).

At quick the same arithmetic with 12 bits on digits, where a few hundred images have about one zero; at full float32 and
MNIST, with the shares that were computed beforehand from 12 initialisations. A pilot on seeds from 10,000 chose bits and
images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.precision import summation
from bench.claims.precision.bifurcation import DEPTHS
from bench.statistics.estimates import Estimate, Mean, ratio_of_means
from bench.statistics.inference import Region
from shb.datasets import check_files
from shb.errors import ConfigurationError

LAW, FIRST = Region(0.85, 1.15), Region(0.8, 1.25)  # counts over the law: all layers, the first layer (fewer zeros)
SHARE = 0.05  # half-width that a share is known to
FEWER = 2  # bits less in the control of another format


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    try:
        check_files(protocol["dataset"])
    except ConfigurationError:
        return {}

    def zeros(seeds: int, seconds: float, **changes: int) -> Experiment:
        settings = {name: protocol[name] for name in ("dataset", "images", "width", "bits")} | {"layers": max(DEPTHS)}
        return Experiment(
            "summation_zeros", settings | changes, seeds, chunk=protocol["chunk"], seconds=seconds * seeds
        )

    seconds = protocol["seconds"]
    return {
        "network": zeros(protocol["seeds"], seconds),
        "first": zeros(protocol["first"], seconds / 3, layers=1, images=protocol["first_images"]),
        "format": zeros(protocol["controls"], seconds, bits=protocol["bits"] - FEWER),
    }


def counts(columns: Columns, *kernels: str) -> np.ndarray:
    """Zeros of each initialisation, all layers, mean over the kernels: [n]."""
    return np.mean([columns[f"zeros_{kernel}"].sum(1) for kernel in kernels], 0)


def law(columns: Columns, kernel: str) -> np.ndarray:
    """What the law predicts for them: [n]."""
    return columns[f"law_{kernel}"].sum(1)


def deviations(columns: Columns, kernel: str, shares: list[float] | None) -> np.ndarray:
    """Whether there is a zero, minus the predicted share, by depth: [n, len(DEPTHS)].

    The share is 1 - exp(-law) of the same initialisation, or that of `shares`.
    """
    layers = [depth - 1 for depth in DEPTHS]
    hit = (columns[f"zeros_{kernel}"].cumsum(1) > 0)[:, layers]
    return hit - (-np.expm1(-columns["law_last"].cumsum(1)[:, layers]) if shares is None else np.array(shares))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    if not results:
        lacking = f"data set absent: {protocol['dataset']}"
        return [
            Part("CL57", CLAIM.title, CLAIM.source, "as in docs/claims.md", None, "exact", (), Region(0, 0),
                 out_of_scope=lacking)
        ]  # fmt: skip
    network, first, other = (results[name] for name in ("network", "first", "format"))
    source = "theory.md section 6 (derived)"
    known = protocol.sizes.get("shares")
    ratio = law(first, "middle").sum() / law(first, "last").sum()

    def over(kernel: str, columns: Columns = network, by: str = "last") -> Mean:
        return ratio_of_means(counts(columns, kernel), law(columns, by))

    def share(kernel: str) -> Mean:
        """Mean over initialisations and depths."""
        return Mean(deviations(network, kernel, known).mean(1))

    def part(
        letter: str, title: str, predicted: str, estimate: Estimate, region: Region, controls: tuple, note: str = "",
        unit: str = "ratio", alternatives: tuple[Alternative, ...] = (),
    ) -> Part:  # fmt: skip
        return Part(
            f"CL57{letter}", title, source, predicted, estimate, "inside", controls, region, unit=unit, note=note,
            alternatives=alternatives,
        )  # fmt: skip

    inside = Control("the bias inside the sum, one rounding", over("exact"))
    coarse = Control(f"biases of {summation.COARSE} bits less, sum in four parts", over("coarse"))
    coarser = ratio_of_means(counts(other, "last"), law(network, "last")[: len(other["law_last"])])
    native = ""
    if "zeros_native" in first:
        native = f"; torch on this machine {over('native', first).value:.3g} in the first layer"
    apart = deviations(network, "last", known).mean(0)
    here = " / ".join(f"{100 * (network['zeros_last'].cumsum(1) > 0)[:, d - 1].mean():.1f}" for d in DEPTHS)
    return [
        part(
            "a",
            "Added last, a bias cancels a pre-activation as often as E[p(-b) ulp(b)] says, without a free parameter.",
            f"zeros counted / zeros predicted in {LAW}",
            over("last"),
            LAW,
            (inside, coarse, Control(f"arithmetic of {FEWER} bits less, by the same law", coarser)),
            f"{counts(network, 'last').sum():.0f} zeros in {len(network['law_last'])} initialisations",
        ),
        part(
            "b",
            "Added before the second half of the columns, it does as often as E[p(-s) ulp(s)] says, s that half.",
            f"zeros counted / zeros predicted in {FIRST}, first layer",
            over("middle", first, "middle"),
            FIRST,
            (Control("the bias last", over("last", first, "middle")),),
            f"{counts(first, 'middle').sum():.0f} zeros",
            alternatives=(Alternative("the law of a bias added last", f"{over('middle', first).value:.3g}"),),
        ),
        part(
            "c",
            "So the rate is a property of the kernel: two orders of one sum differ by what the law says.",
            f"zeros with the bias in the middle / with the bias last, within 20 % of {ratio:.3g}, first layer",
            ratio_of_means(counts(first, "middle"), counts(first, "last")),
            Region(FIRST.low * ratio, FIRST.high * ratio),
            (
                Control(
                    "the sum in two halves, the bias last",
                    ratio_of_means(*(counts(first, k) for k in ("split_2", "last"))),
                ),
            ),
            f"over the law of a bias added last: middle {over('middle', first).value:.3g}{native}",
        ),
        part(
            "d",
            "Splitting the inner sum into two or four leaves the rate as it is: coarser, but met less often.",
            f"zeros counted / zeros predicted in {LAW}, mean of both",
            ratio_of_means(counts(network, "split_2", "split_4"), law(network, "last")),
            LAW,
            (coarse,),
        ),
        part(
            "e",
            "Splitting the inner sum moves the rate (first version).",
            "zeros of the sum in two or four / of the sum in one at least 1.1",
            ratio_of_means(counts(network, "split_2", "split_4"), counts(network, "last")),
            Region(1.1, np.inf),
            (Control("the bias inside the sum", ratio_of_means(counts(network, "exact"), counts(network, "last"))),),
        ),
        part(
            "f",
            "The share of initialisations with a zero on the data is 1 - exp(-the sum of the law), at every depth.",
            f"share minus law within {SHARE:g}, mean of the depths {', '.join(map(str, DEPTHS))}",
            share("last"),
            Region(-SHARE, SHARE),
            (Control("the bias inside the sum", share("exact")), Control("biases of fewer bits", share("coarse"))),
            f"measured {here} %, minus law " + " / ".join(f"{100 * one:+.1f}" for one in apart),
            "share",
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
