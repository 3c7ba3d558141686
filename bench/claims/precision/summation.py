"""Exact zeros of pre-activations by the order in which a kernel adds, in arithmetic of any number of bits.

A kernel ends with one addition y = fl(u + v) of two floating-point numbers: 0 iff u = -v, for such a sum is exact. If
u = fl(U) is a real number rounded once, that is U in the rounding interval of -v, whose length is ulp(v) (3/4 of it
where |v| is a power of two, one number in 2^(bits - 1)). With p the density of U given v,

    P(y = 0) = E[p(-v) ulp(v)],      ulp(v) = 2^(floor(log2 |v|) + 1 - bits)

The last addition decides, not the format alone (theory.md section 6):

    last      fl(fl(s) + b)                    the bias last: v = b
    middle    fl(fl(b + s_1) + fl(s_2))        the bias before the second half of the sum: v = s_2
    split_2   fl(fl(fl(s_1) + fl(s_2)) + b)    partial sums, the bias last; split_4 with four
    permuted  split_2 over the even and the odd columns instead of the first and the second half
    coarse    split_4 with biases of COARSE bits less
    exact     fl(s + b)                        the bias inside the sum: one rounding, never 0
    native    what torch does on this machine, float32 only

In split_k and permuted u lies on the lattice g of the smallest partial sum, which may be coarser than ulp(v). Then -v
must lie on it: a bias whose last bits are as good as random does with probability ulp(v) / g, and then the rate is
p g. The mean is that of `last`. A bias on a lattice of its own (coarse) does more often: p times the smaller of both
spacings.

Inner sums are float64 (s = s_1 + .. + s_4 over quarters of the columns); activations go on as `last` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.claims.experiment import Columns, measure
from bench.claims.precision.bifurcation import training_images
from shb.datasets import load_dataset
from shb.models import draw_parameters
from shb.streams import stream

SINGLE, DOUBLE = 24, 53  # bits of float32 and float64
EXPONENT = 0x7FF0000000000000  # of a float64
COARSE = 4
KERNELS = ("last", "middle", "split_2", "split_4", "permuted", "coarse", "exact")
LAWS = ("law_last", "law_middle")
PIECES = 4
WINDOW = 0.05  # half the width of the window of the density, in units of the largest bias
ELEMENTS = 2**20  # pre-activations at a time


def rounded(x: Tensor, bits: int) -> Tensor:
    """float64 `x` to the nearest number of `bits` significant bits, of any exponent (Veltkamp's splitting)."""
    if bits == SINGLE:
        return x.float().double()
    scaled = x * (2.0 ** (DOUBLE - bits) + 1.0)
    return scaled - (scaled - x)


def ulp(x: Tensor, bits: int) -> Tensor:
    """Spacing of the numbers of `bits` bits from |x| up, for float64 `x`; 0 at 0."""
    binade = (x.view(torch.int64) & EXPONENT).view(torch.float64)
    return binade * 2.0 ** (1 - bits)


def last_summands(sums: list[Tensor], even: Tensor, bias: Tensor, bits: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernel -> u and v, all but "exact", from the `sums` over quarters of the columns and that over `even` ones."""
    half = [sums[0] + sums[1], sums[2] + sums[3]]

    def added(parts: list[Tensor]) -> Tensor:
        total = rounded(parts[0], bits)
        for part in parts[1:]:
            total = rounded(total + rounded(part, bits), bits)
        return total

    quarters = added(sums)
    return {
        "last": (rounded(half[0] + half[1], bits), bias),
        "middle": (rounded(half[0] + bias, bits), rounded(half[1], bits)),
        "split_2": (added(half), bias),
        "split_4": (quarters, bias),
        "permuted": (added([even, half[0] + half[1] - even]), bias),
        "coarse": (quarters, rounded(bias, bits - COARSE)),
    }


def inputs(settings: Mapping[str, Any]) -> Tensor:
    """The first images, float64 [images, pixels]: of MNIST in [0, 1], of another data set standardised."""
    count = settings["images"]
    if settings["dataset"] == "mnist":
        return training_images(count)[0].double()
    data = load_dataset(settings["dataset"])
    return torch.cat([data.train.x, data.validation.x, data.test.x])[:count].flatten(1).double()


@measure("summation_zeros", version=2)
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns [n, layers]: zeros_KERNEL, exact zeros of the pre-activations over all images; law_last, law_middle, what
    the law predicts, from the densities of this network: every |s + b| < h counts ulp(v) / (2 h).
    """
    bits, layers, width = settings["bits"], settings["layers"], settings["width"]
    images, n = rounded(inputs(settings), bits), len(seeds)
    weights, biases = _parameters(settings, seeds, images.shape[1])
    kernels = (*KERNELS, *(("native",) if bits == SINGLE else ()))
    found = {name: np.zeros((n, layers)) for name in (*(f"zeros_{kernel}" for kernel in kernels), *LAWS)}
    for x in images.split(max(1, ELEMENTS // (n * width))):
        for layer, (weight, bias) in enumerate(zip(weights, biases)):
            pieces = zip(x.tensor_split(PIECES, -1), weight.tensor_split(PIECES, -1))
            sums = [part @ w.mT for part, w in pieces]  # [n, rows, units]
            even = x[..., ::2] @ weight[..., ::2].mT
            s = sums[0] + sums[1] + (sums[2] + sums[3])
            h = WINDOW / math.sqrt(weight.shape[-1])
            near = ((s + bias).abs() < h).nonzero(as_tuple=True)  # rounding moves no sum by as much as h
            b = bias.expand_as(s)[near]
            ends = last_summands([part[near] for part in sums], even[near], b, bits)
            zero = {name: u == -v for name, (u, v) in ends.items()} | {"exact": rounded(s[near] + b, bits) == 0}
            for name, hits in zero.items():
                found[f"zeros_{name}"][:, layer] += torch.bincount(near[0][hits], minlength=n).numpy()
            for name in LAWS:
                spacing = ulp(ends[name.removeprefix("law_")][1], bits) / (2 * h)
                found[name][:, layer] += torch.bincount(near[0], spacing, minlength=n).numpy()
            if bits == SINGLE:
                for i, (w, c) in enumerate(zip(weight.float(), bias.float())):
                    y = F.linear((x[i] if x.ndim == 3 else x).float(), w, c[0])
                    found["zeros_native"][i, layer] += y.numel() - int(torch.count_nonzero(y))
            x = torch.relu(rounded(rounded(s, bits) + bias, bits))
    return found


def _parameters(settings: Mapping[str, Any], seeds: np.ndarray, pixels: int) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [n, units, inputs] and biases [n, 1, units] of each layer, torch's default initialisation."""
    width = settings["width"]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(settings["layers"]):
        shapes |= {f"{layer}.weight": (width, width if layer else pixels), f"{layer}.bias": (width,)}
    drawn = [draw_parameters(shapes, "torch_default", stream(int(s), "init"), dtype=torch.float64) for s in seeds]

    def stacked(kind: str) -> list[Tensor]:
        names = [name for name in shapes if name.endswith(kind)]
        return [rounded(torch.stack([one[name] for one in drawn]), settings["bits"]) for name in names]

    return stacked("weight"), [bias[:, None] for bias in stacked("bias")]
