"""CL37: backpropagation returns a Clarke subgradient of one sample's loss if every pre-activation has its own bias.

At a point where some pre-activations are exactly 0, a limiting gradient is the limit of gradients along smooth points;
their hull is the Clarke subdifferential. With a bias of its own, every kink can be left to either side by its bias
alone, so all 2^m sign patterns of m kinks are limiting gradients, and backpropagation with ReLU'(0) = t, which is
multilinear in the derivatives at the kinks, is the average of them under independent coins of bias t (Lee et al. 2023;
this proof: derived). Without biases patterns are missing (E5); a sum of two samples has fewer limits than its terms
(E1), so the statement is about one sample.

Here: tiny networks with kinks set exactly; the patterns are found by random perturbations of all parameters (so only
reachable ones count), the limit belonging to a pattern is the gradient at the point itself with these derivatives at
the kinks, and the distance of backpropagation to the hull is that of the minimum-norm point, which is certified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.prediction import exact
from bench.statistics.estimates import Exact
from bench.statistics.inference import Region
from shb.nonsmooth import min_norm_point, relu
from shb.streams import stream

PERTURBATIONS, RADIUS = 400, 1e-6  # per pattern, at most
TOLERANCE = 1e-8  # relative to the largest limiting gradient

Network = Callable[[list[Tensor], Callable[[Tensor], Tensor]], Tensor]  # (parameters, activation) -> loss


def biased(generator: np.random.Generator) -> tuple[Network, list[Tensor]]:
    """A network 3-3-3-1 with biases and squared loss; each hidden unit sits on its kink with probability 1/2, the
    first one always.
    """
    x, y = _tensor(generator, 3), float(generator.standard_normal())
    weights = [_tensor(generator, 3, 3), _tensor(generator, 3, 3), _tensor(generator, 1, 3)]
    offsets = [_tensor(generator, 3), _tensor(generator, 3)]
    kinks = generator.random((2, 3)) < 0.5
    kinks[0, 0] = True

    def loss(params: list[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
        h = x
        for layer in range(2):
            h = activation(params[layer] @ h + params[3 + layer])
        return ((params[2] @ h).squeeze() - y) ** 2 / 2

    h = x
    for layer in range(2):  # in order: the second layer's kinks depend on the first layer's outputs
        product = weights[layer] @ h
        offsets[layer] = torch.where(torch.from_numpy(kinks[layer]), -product, offsets[layer])
        h = torch.relu(product + offsets[layer])
    return loss, weights + offsets


def opposite(generator: np.random.Generator) -> tuple[Network, list[Tensor]]:
    """E5: (relu(w.x) - relu(-w.x) - y)^2 / 2 at w = 0."""
    x, y = _tensor(generator, 3), float(generator.standard_normal())

    def loss(params: list[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
        h = activation(torch.stack([params[0] @ x, -(params[0] @ x)]))
        return (h[0] - h[1] - y) ** 2 / 2

    return loss, [torch.zeros(3, dtype=torch.float64)]


def two_samples(generator: np.random.Generator) -> tuple[Network, list[Tensor]]:
    """E1 with both samples and a random scale c: c (relu(w) - relu(-w)) + w^2/2 at w = 0."""
    scale = 0.5 + float(generator.random())

    def loss(params: list[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
        h = activation(torch.stack([params[0], -params[0]]))
        return scale * (h[0] - h[1]) + params[0] ** 2 / 2

    return loss, [torch.zeros((), dtype=torch.float64)]


NETWORKS = {"biases": biased, "e5": opposite, "e1": two_samples}
ORACLES = {"zero": (0.0, "chain"), "half": (0.5, "chain"), "one": (1.0, "chain"), "injected": (0.5, "injected")}


def _tensor(generator: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(generator.standard_normal(shape))


def hull_distance(
    loss: Network, params: list[Tensor], generator: np.random.Generator
) -> tuple[dict[str, float], int, int]:
    """Distances of backpropagation (one for each of ORACLES) to the hull of the limiting gradients, relative to the
    largest of these; the number of limiting patterns found; the number of kinks.
    """
    exact: list[Tensor] = []

    def record(x: Tensor) -> Tensor:
        exact.append(x)
        return torch.relu(x)

    loss(params, record)
    kinks = torch.cat([(x == 0).flatten() for x in exact])
    patterns = set()
    for _ in range(PERTURBATIONS * 2 ** int(kinks.sum())):
        if len(patterns) == 2 ** int(kinks.sum()):
            break
        seen: list[Tensor] = []

        def signs(x: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(x.flatten())
            return torch.relu(x)

        loss([p + _radius(p) * torch.from_numpy(generator.standard_normal(tuple(p.shape))) for p in params], signs)
        here = torch.cat(seen)[kinks]
        if (here != 0).all():
            patterns.add(tuple((here > 0).tolist()))
    limits = np.stack([_gradient(loss, params, _fixed(pattern)) for pattern in sorted(patterns)])
    scale = max(np.linalg.norm(limits, axis=1).max(), np.finfo(np.float32).tiny)
    distances = {}
    for name, (derivative, rule) in ORACLES.items():
        found = _gradient(loss, params, functools.partial(relu, derivative=derivative, rule=rule))
        distances[name] = float(min_norm_point(limits - found).norm) / scale
    return distances, len(patterns), int(kinks.sum())


def _radius(parameter: Tensor) -> float:
    """Vectors (biases, where there are any) move ten times as far, so that rare patterns of the kinks are met too."""
    return 10 * RADIUS if parameter.ndim == 1 else RADIUS


def _fixed(pattern: tuple[bool, ...]) -> Callable[[Tensor], Tensor]:
    """ReLU whose derivative at the i-th kink is pattern[i]."""
    left = list(pattern)

    def activation(x: Tensor) -> Tensor:
        flat = [float(v > 0) if v != 0 else float(left.pop(0)) for v in x.detach().flatten().tolist()]
        return x * torch.tensor(flat, dtype=x.dtype).reshape(x.shape)

    return activation


def _gradient(loss: Network, params: list[Tensor], activation: Callable[[Tensor], Tensor]) -> np.ndarray:
    params = [p.clone().requires_grad_() for p in params]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss(params, activation), params)]).numpy()


@measure("hull_distance", version=2)
def hull_distances(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """patterns, kinks and a distance for each of ORACLES [n], of random instances of one network."""
    rows = []
    for seed in map(int, seeds):
        loss, params = NETWORKS[settings["network"]](stream(seed, "init"))
        distances, patterns, kinks = hull_distance(loss, params, stream(seed, "perturbation"))
        rows.append({**distances, "patterns": patterns, "kinks": kinks})
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    n = protocol["instances"]
    return {network: Experiment("hull_distance", {"network": network}, n, seconds=0.12 * n) for network in NETWORKS}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["instances"]
    own = results["biases"]
    worst = max(float(own[name].max()) for name in ("zero", "half", "one"))
    complete = int((own["patterns"] == 2.0 ** own["kinks"]).sum())
    injected, opposite = (int((values > TOLERANCE).sum()) for values in (own["injected"], results["e5"]["zero"]))
    within = Observed("networks with biases", worst <= TOLERANCE, f"largest distance {worst:.2g}")

    def violated(name: str, title: str, source: str) -> Part:
        region = Region(TOLERANCE, float("inf"))
        smallest = Exact(float(results[name]["zero"].min()), n)
        predicted = f"smallest distance > {TOLERANCE:g} of the gradient (t = 0)"
        return Part(
            title,
            source,
            exact(predicted, region, "relative"),
            smallest,
            (within,),
        )

    return [
        Part(
            "With a bias for every unit, backpropagation of one sample is a Clarke subgradient at exact kinks.",
            "Lee et al. 2023",
            exact(
                f"largest distance to the hull of limiting gradients <= {TOLERANCE:g} (t = 0, 1/2, 1)",
                Region(0.0, TOLERANCE),
                "relative",
            ),
            Exact(worst, 3 * n),
            (
                Observed("two ReLUs without biases (E5)", opposite == n, f"{opposite} of {n} outside"),
                Observed("the injected rule (t = 1/2)", injected > n / 2, f"{injected} of {n} outside"),
            ),
            note=f"{complete} of {n} instances showed all 2^m patterns of their m kinks "
            f"(m = {own['kinks'].min():.0f} .. {own['kinks'].max():.0f}).",
        ),
        violated("e5", "Without biases it need not be one (E5).", "E5"),
        violated("e1", "The sum over two samples need not be one, although each term is (E1).", "E1, type S"),
    ]


CLAIM = Claim(
    "CL37",
    "precision",
    "Backpropagation of one sample with biases gives Clarke subgradients, of a sum it need not.",
    "Lee et al. 2023",
    experiments,
    parts,
)
