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
The instances are random, so what is claimed is a share of them; more than 95 % is what 200 instances can show. Where
backpropagation fails with t = 0 (E5, E1), t = 1/2 gives the true gradient: 2 t = 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.share import always, of_runs
from bench.statistics.estimates import Proportion
from shb.nonsmooth import min_norm_point, relu
from shb.streams import stream

PERTURBATIONS, RADIUS = 400, 1e-6  # per pattern, at most
FEW = {"e5": 20, "e1": 20}  # where half of the patterns do not exist, and each of the others has probability 1/2
TOLERANCE = 1e-8  # relative to the largest limiting gradient
MOST = 0.95  # share of the instances that "every instance" means with 200 of them

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
    loss: Network, params: list[Tensor], generator: np.random.Generator, perturbations: int = PERTURBATIONS
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
    for _ in range(perturbations * 2 ** int(kinks.sum())):
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
        most = settings.get("perturbations", PERTURBATIONS)
        distances, patterns, kinks = hull_distance(loss, params, stream(seed, "perturbation"), most)
        rows.append({**distances, "patterns": patterns, "kinks": kinks})
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    n = protocol["instances"]

    def one(network: str) -> Experiment:
        few = {"perturbations": FEW[network]} if network in FEW else {}
        return Experiment("hull_distance", {"network": network, **few}, n, seconds=0.02 * n)

    return {network: one(network) for network in NETWORKS}


def share(*distances: np.ndarray, outside: bool = False) -> Proportion:
    """Share of the instances with all of these distances to the hull within TOLERANCE, or all of them beyond it."""
    hits = np.logical_and.reduce([(one > TOLERANCE) == outside for one in distances])
    return of_runs(hits)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    own = results["biases"]
    complete = int((own["patterns"] == 2.0 ** own["kinks"]).sum())
    largest = max(float(own[name].max()) for name in ("zero", "half", "one"))

    def violated(name: str, title: str, source: str) -> Part:
        return Part(
            title,
            source,
            always(f"outside the hull, t = 0, by more than {TOLERANCE:g} of the gradient", MOST),
            share(results[name]["zero"], outside=True),
            (Control("the same points, t = 1/2", share(results[name]["half"], outside=True)),),
            of=(name,),
        )

    return [
        Part(
            "With a bias for every unit, backpropagation of one sample is a Clarke subgradient at exact kinks.",
            "Lee et al. 2023",
            always(f"within {TOLERANCE:g} of the hull of limiting gradients for t = 0, 1/2 and 1", MOST),
            share(own["zero"], own["half"], own["one"]),
            (
                Control("the same networks, injected rule (t = 1/2)", share(own["injected"])),
                Control("two ReLUs without biases, t = 0", share(results["e5"]["zero"]), "E5"),
            ),
            note=f"Largest distance {largest:.2g}; {complete} of {len(own['kinks'])} instances showed all 2^m patterns "
            f"of their m kinks (m = {own['kinks'].min():.0f} .. {own['kinks'].max():.0f}).",
            of=("biases",),
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
