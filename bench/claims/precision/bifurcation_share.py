"""CL33: the share of random initialisations for which ReLU'(0) = 0 and 1 give different gradients on some mini-batch.

A difference needs a pre-activation that is exactly 0 with an upstream gradient that is not, so the chain rule and the
injected rule of the published code agree on *whether* gradients differ (unless the upstream gradient underflows);
they disagree on *how much* (CL34). In float16 zeros come from underflow: with p_l(0) the density of layer l at 0,
the share is 1 - exp(-calls 2^-24 sum_l p_l(0)) (derived, bench/claims/precision/bifurcation.py).

In float32 the share is a property of the kernel that adds a pre-activation up (CL57). That it is one of the format, the
first version of (c), is refuted where kernels differ.

Structural zeros are no matter of precision: zero biases meet the empty border of the images (E10).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cell.problem import DTYPES
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.precision.bifurcation import CLASSES, DEPTHS, ensembles, training_images
from bench.claims.precision.literature import hits_of, measured, percent, published, summary, table
from bench.claims.prediction import inside, point, tost
from bench.claims.share import always, of_runs, share_of
from bench.statistics.estimates import MeanDifference, PairedMean, Proportion
from bench.statistics.inference import Region
from shb.models import cnn, draw_parameters
from shb.streams import stream

SIDE = 28
AGREE = 0.8  # share of initialisations with a zero that "all of them" means with 50 of them
MOST = 0.95  # share of convolutions that "every one" means with 200 of them


@measure("border_bifurcation")
def border_bifurcation(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Convolution on images with an empty border, its biases zero or random as `init` draws them: differs [n], 1 if the
    gradients of the first layer with ReLU'(0) = 0 and 1 differ on the first `images` images.
    """
    dtype = DTYPES[settings["dtype"]]
    images, labels = training_images(settings["images"])
    images = images.to(dtype).reshape(-1, 1, SIDE, SIDE)
    network = functools.partial(cnn, (1, SIDE, SIDE), CLASSES, channels=[4], downsample="stride")
    with torch.device("meta"):
        modules = [network(relu_derivative=t) for t in (0.0, 1.0)]
    shapes = {name: tuple(p.shape) for name, p in modules[0].named_parameters()}
    differs = []
    for seed in map(int, seeds):
        params = draw_parameters(shapes, settings["init"], stream(seed, "init"), dtype=dtype)
        zero, one = (_first_layer(module, params, images, labels) for module in modules)
        differs.append(float(not all(map(torch.equal, zero, one))))
    return {"differs": np.array(differs)}


def _first_layer(module: torch.nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    params = {name: p.clone().requires_grad_() for name, p in params.items()}
    output = torch.func.functional_call(module, params, (x,))
    return torch.autograd.grad(F.cross_entropy(output.float(), y), (params["0.weight"], params["0.bias"]))


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    planned = ensembles(protocol)
    for dtype in ("float16", "float32", "float64"):
        settings = {"dtype": dtype, "images": 32, "init": "kaiming"}
        planned[f"border_{dtype}"] = Experiment("border_bifurcation", settings, protocol["border"])
    settings = {"dtype": "float64", "images": 32, "init": "torch_default"}
    planned["border_random"] = Experiment("border_bifurcation", settings, protocol["border"])
    return {name: planned[name] for name in planned if name not in ("lattice", "unfused")}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    last, deepest = DEPTHS.index(DEPTHS[-1]), DEPTHS[-1]

    def deeper(dtype: str) -> PairedMean:
        chain = results[dtype]["chain"]
        return PairedMean(chain[:, last], chain[:, 0])

    double = measured(results, "float64", deepest, "chain")
    border = {name: share_of(one, "differs") for name, one in results.items() if name.startswith("border_")}
    rate = results["float16"]["density"].mean(0) * results["float16"]["calls"].mean() * 2.0**-24
    law = {depth: -np.expm1(-rate[:depth].sum()) for depth in DEPTHS}
    share = first_layer(results["float16"])
    normal = -np.expm1(-rate[0] * 2.0**11)  # flushed below 2^-14, the smallest normal number, instead of 2^-25
    laws = " / ".join(f"{100 * share:.1f}" for share in law.values())
    usual, scaled = agreeing(results, "float32", "float16"), agreeing(results, "underflow")
    return [
        Part(
            "In float32, deeper networks have a differing mini-batch for more of their random initialisations.",
            "Bertoin et al. 2021",
            inside(
                f"share at L = {deepest} minus share at L = {DEPTHS[0]} > 0.01 (published 0.64)",
                Region(0.01, 1.0),
                "share",
            ),
            deeper("float32"),
            (Control("float64, same networks", deeper("float64")),),
            note="Chain rule: " + summary(results, "float32", "chain"),
            of=("float32",),
        ),
        Part(
            "Whether gradients differ does not depend on the ReLU rule: chain and injected agree, at every exact zero.",
            "theory.md CL33 (derived)",
            always("at which chain, injected and the existence of a zero agree for every depth", AGREE),
            usual,
            (Control("float16 with the loss scaled by 2^-20, so that upstream gradients underflow", scaled),),
            note="Initialisations with an exact zero, float32 and float16. Injected rule: "
            + summary(results, "float32", "injected"),
            of=("float32", "float16"),
        ),
        Part(
            f"The share of float32 at L = {deepest} is that of the format: the published one (first version).",
            "Bertoin et al. 2021",
            point(
                f"published {percent(published('float32', deepest))} %",
                published("float32", deepest).value,
                0.15,
                "share",
            ),
            measured(results, "float32", deepest, "chain"),
            (Control("float64", double),),
            note="The share is a property of the kernel that adds, not of float32 (CL57): the published "
            "one is of a GPU, this one of this machine.",
            status=Status.SUPERSEDED,
            of=("float32",),
        ),
        Part(
            "In float16 nearly every initialisation has a differing mini-batch, because pre-activations underflow.",
            "Bertoin et al. 2021; underflow law (derived)",
            tost(f"share at L = 2 in [0.7, 1]; law {laws} % for L = 1, 2, 3, 5, 6", Region(0.7, 1.0), "share"),
            measured(results, "float16", 2, "chain"),
            (Control("float64, which does not underflow", measured(results, "float64", 2, "chain")),),
            note=summary(results, "float16", "chain") + f"; the law says {laws} %",
            of=("float16",),
        ),
        Part(
            "In float64 fewer than half of the random initialisations have a differing mini-batch.",
            "Bertoin et al. 2021",
            tost(f"share at L = {deepest} < 0.5", Region(0.0, 0.5), "share"),
            double,
            (
                Control("float16", measured(results, "float16", deepest, "chain")),
                Control("zero biases on empty borders, float64", border["border_float64"], "E10"),
            ),
            note="By depth the public notebook skips the comparison in float64: its 0 is not a measurement.",
            of=("float64",),
        ),
        Part(
            "Structural zeros (zero bias, empty border) split the gradients in every precision.",
            "E10",
            always("of convolutions with other gradients, float64", MOST),
            border["border_float64"],
            (Control("random biases", border["border_random"]),),
            note=", ".join(f"{dtype} {border[f'border_{dtype}'].value:.3g}" for dtype in ("float16", "float32")),
            of=("border_float64",),
        ),
        Part(
            "The underflow law, with the density measured here, gives the published share of float16 at L = 1.",
            "underflow law (derived); Bertoin et al. 2021",
            point("published share minus law 0, to within 0.03, L = 1", 0.0, 0.03, "share"),
            MeanDifference(hits_of("float16", 1), share),
            (Control("the published share of float32", MeanDifference(hits_of("float32", 1), share)),),
            alternatives=(Alternative("the law without subnormal numbers", f"{100 * normal:.1f} %"),),
            note=f"In %: law {100 * law[1]:.1f}, published {percent(published('float16', 1))}, measured here "
            f"{percent(measured(results, 'float16', 1, 'chain'))}.",
            of=("float16",),
        ),
    ]


def first_layer(columns: Columns) -> np.ndarray:
    """Of the underflow law at L = 1, by initialisation, linear around their mean: the mean is the law, to first order
    the spread is that of its error: [n].
    """
    rate = columns["density"][:, 0] * columns["calls"] * 2.0**-24
    law = -np.expm1(-rate.mean())
    return law + (1 - law) * (rate - rate.mean())


def agreeing(results: Results, *names: str) -> Proportion:
    """Share, of the initialisations with an exact zero, of those at which everything agrees at every depth."""
    hits = []
    for one in (results[name] for name in names):
        same = (one["chain"] == one["injected"]) & (one["chain"] == one["existence"])
        hits.append(same.all(1)[one["existence"].any(1)])
    found = np.concatenate(hits)
    return of_runs(found)


CLAIM = Claim(
    "CL33",
    "precision",
    "Exact zeros at random initialisations follow from precision, and split gradients under both ReLU rules.",
    "Bertoin et al. 2021",
    experiments,
    parts,
    datasets=("mnist",),
    appendix=lambda results: "\n".join(
        [
            "### Share of random initialisations with a differing mini-batch on MNIST, %, beside the published shares",
            "",
            "MLP 784-(256 x L)-10, torch's initialisation, batches of 256 of all 60,000 images, pixels in [0, 1].",
            "The shares follow from either rule, because a difference needs an exact zero only. What the injected rule",
            "adds is the size of the difference, and the collapse of training (CL34).",
            "",
            table(results),
        ]
    ),
)
