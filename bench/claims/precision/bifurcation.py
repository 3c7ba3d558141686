"""Exact zeros of pre-activations at random initialisations on MNIST, and the mini-batches whose gradients they split.

The published protocol (Bertoin et al., NeurIPS 2021, public notebooks): perceptron 784-(width x L)-10, torch's default
initialisation, pixels in [0, 1], all 60,000 training images in their order in mini-batches of 256; an
initialisation counts if on some mini-batch the gradients of the first weights with ReLU'(0) = 0 and 1 differ.

They can differ only through a pre-activation that is exactly 0, so forward passes find the mini-batches that matter
and backward passes are made for those alone. A network of depth L is the first L layers of a deeper one with a head of
its own, so one pass serves every depth (shares of different depths are then dependent, each is unbiased).

Precision means storage. Products are summed in float32 for the 16-bit formats, as tensor cores do, and rounded once
after the bias is added (`fused`, as cuBLAS does) or before and after. With `fused`, a pre-activation y in float16 is 0
if and only if |y| <= 2^-25, half the smallest subnormal number: with p(0) the density of y at 0,

    P(y rounds to 0) = 2^-24 p(0)    (derived; bfloat16 has the exponents of float32 and no such underflow)

In float32 a zero needs cancellation to the last bit, so its rate depends on the order of summation, that is on
processor, library, number of threads and mini-batch size. In float64 only images that have a pre-activation within
SCREEN of 0 in float32 are computed: the rounding error of float32 is below SCREEN / 10, so no other can be 0.
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
from bench.claims.claim import Protocol
from bench.claims.experiment import Columns, Experiment, measure
from shb.datasets import load_dataset
from shb.models import draw_parameters
from shb.nonsmooth import relu
from shb.problems import Params
from shb.streams import stream

DEPTHS = (1, 2, 3, 5, 6)
CLASSES, PIXELS = 10, 784
SCREEN = 2e-6  # tests compare with the rounding error of float32
NEAR = 1e-3  # |y| below which pre-activations are counted for p(0)


def settings(dtype: str, **changes: Any) -> dict[str, Any]:
    """Settings of the measure "bifurcation": the published protocol in `dtype`, but for `changes`."""
    protocol = {"depths": list(DEPTHS), "width": 256, "batch": 256, "images": 60_000, "loss_scale": 1.0}
    return protocol | {"dtype": dtype, "fused": True, "lattice": False, "device": "cpu"} | changes


@measure("bifurcation")
def bifurcation(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Columns, with D depths and L = max(depths) layers:

    zeros [n, L]: exact zeros per layer; density [n, L]: p(0); calls [n]: ReLU calls per layer
    existence [n, D]: 1 if some pre-activation of a network of that depth is exactly 0
    chain, injected [n, D]: 1 if gradients differ on some mini-batch under that rule
    effect_chain, effect_injected [n, D]: |g_1 - g_0| / |g_0| on the first mini-batch with a zero, NaN without one
    """
    images, labels = training_images(settings["images"])
    rows = [_network(settings, int(seed), images, labels) for seed in seeds]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@functools.cache
def training_images(count: int) -> tuple[Tensor, Tensor]:
    """The first `count` training images of MNIST in their published order: float32 [count, 784] in [0, 1], labels."""
    data = load_dataset("mnist")  # standardised, and its last 5,000 training images validate
    images = torch.cat([data.train.x, data.validation.x])[:count].flatten(1)
    low, high = data.train.x.min(), data.train.x.max()
    return torch.round(255 * (images - low) / (high - low)) / 255, torch.cat([data.train.y, data.validation.y])[:count]


def _network(settings: Mapping[str, Any], seed: int, images: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """The row of one initialisation."""
    dtype, device, batch = DTYPES[settings["dtype"]], settings["device"], settings["batch"]
    params = initial_parameters(settings, seed, dtype)
    if settings["lattice"]:
        images = (images > 0.5).float()
        params = {name: p.sign() if name.endswith("weight") else 0 * p for name, p in params.items()}
    params = {name: p.to(device) for name, p in params.items()}
    images, labels = images.to(device), labels.to(device)
    calls = float(len(images) * settings["width"])
    if dtype == torch.float64:
        single = {name: p.float() for name, p in params.items()}
        near = (y.abs().amin(1) < SCREEN for x in images.split(batch) for y in [_all(single, x, settings)])
        keep = torch.cat(list(near))
        images, labels = images[keep], labels[keep]
    layers, depths = max(settings["depths"]), settings["depths"]
    zeros, near, seen, found = np.zeros(layers), np.zeros(layers), 0, []
    batches = list(zip(images.to(dtype).split(batch), labels.split(batch)))
    for index, (x, _) in enumerate(batches):
        ys = preactivations(params, x, layers, settings["fused"])
        here = np.array([y.numel() - int(torch.count_nonzero(y)) for y in ys], float)
        zeros += here
        if here.any():
            found.append((index, here))
        if index % 8 == 0:
            near += [float((y.abs() < NEAR).sum()) for y in ys]
            seen += len(x) * settings["width"]
    row = {"zeros": zeros, "density": near / max(seen, 1) / (2 * NEAR), "calls": np.array(calls)}
    for name in ("existence", "chain", "injected", "effect_chain", "effect_injected"):
        row[name] = np.full(len(depths), np.nan if name.startswith("effect") else 0.0)
    for d, depth in enumerate(depths):
        for index, here in found:
            if row["chain"][d] and row["injected"][d]:
                break
            if here[:depth].any():
                row["existence"][d] = 1.0
                _compare(row, d, functools.partial(_gradient, params, *batches[index], depth, settings))
    return row


def _compare(row: dict[str, np.ndarray], d: int, gradient: functools.partial) -> None:
    """Enter in `row` whether, and at the first mini-batch how much, ReLU'(0) = 1 changes the gradient."""
    base = gradient(0.0, "chain")
    for rule in ("chain", "injected"):
        changed = gradient(1.0, rule)
        if np.isnan(row[f"effect_{rule}"][d]):
            difference = (changed.double() - base.double()).norm() / base.double().norm()
            row[f"effect_{rule}"][d] = float(difference)
        row[rule][d] = max(row[rule][d], float(not torch.equal(changed, base)))


def initial_parameters(settings: Mapping[str, Any], seed: int, dtype: torch.dtype) -> Params:
    """hidden.0 .. hidden.(L-1) and head.L for every depth L, torch's default initialisation."""
    width, shapes = settings["width"], {}
    for layer in range(max(settings["depths"])):
        shapes |= _shapes(f"hidden.{layer}", width, width if layer else PIXELS)
    for depth in settings["depths"]:
        shapes |= _shapes(f"head.{depth}", CLASSES, width)
    return draw_parameters(shapes, "torch_default", stream(seed, "init"), dtype=dtype)


def _shapes(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def affine(x: Tensor, weight: Tensor, bias: Tensor, fused: bool = True) -> Tensor:
    """x W^T + b, rounded to the dtype of `x` once (`fused`) or twice; sums of 16-bit formats in float32."""
    if x.dtype in (torch.float32, torch.float64):
        return F.linear(x, weight, bias) if fused else F.linear(x, weight) + bias
    if fused:
        return F.linear(x.float(), weight.float(), bias.float()).to(x.dtype)
    return F.linear(x.float(), weight.float()).to(x.dtype) + bias


def preactivations(params: Params, x: Tensor, layers: int, fused: bool = True) -> list[Tensor]:
    """Inputs [n, width] of the ReLUs of every layer."""
    ys: list[Tensor] = []
    for layer in range(layers):
        inputs = torch.relu(ys[-1]) if ys else x
        ys.append(affine(inputs, params[f"hidden.{layer}.weight"], params[f"hidden.{layer}.bias"], fused))
    return ys


def _all(params: Params, x: Tensor, settings: Mapping[str, Any]) -> Tensor:
    return torch.cat(preactivations(params, x, max(settings["depths"])), 1)


def _gradient(
    params: Params, x: Tensor, y: Tensor, depth: int, settings: Mapping[str, Any], derivative: float, rule: str
) -> Tensor:
    """Gradient of the mean cross-entropy times `loss_scale` with respect to the first weights."""
    first = params["hidden.0.weight"].detach().requires_grad_()
    h = x
    for layer in range(depth):
        weight = first if layer == 0 else params[f"hidden.{layer}.weight"]
        h = relu(affine(h, weight, params[f"hidden.{layer}.bias"], settings["fused"]), derivative, rule)
    output = affine(h, params[f"head.{depth}.weight"], params[f"head.{depth}.bias"], settings["fused"])
    if x.dtype not in (torch.float32, torch.float64):
        output = output.float()
    return torch.autograd.grad(settings["loss_scale"] * F.cross_entropy(output, y), first)[0]


def ensembles(protocol: Protocol) -> dict[str, Experiment]:
    """The initialisations in every format; claims with the same sizes share them."""

    def of(dtype: str, seeds: int, **changes: Any) -> Experiment:
        chosen = settings(dtype, device=protocol.device, **changes)
        return Experiment("bifurcation", chosen, seeds, chunk=4, seconds=0.8 * seeds)

    return {dtype: of(dtype, protocol[dtype]) for dtype in ("float16", "float32", "float64")} | {
        "underflow": of("float16", protocol["controls"], loss_scale=2.0**-20, depths=[1]),
        "lattice": of("float32", 1, lattice=True),
        "unfused": of("bfloat16", 1, fused=False, depths=[1, 2]),
    }
