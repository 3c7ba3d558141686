"""CL53: with weight decay a scale-invariant block of a network turns by a fixed angle per step (theory.md 2.7).

F(c w) = F(w) for c > 0 implies g_k . w_k = 0 for every mini-batch. SHB with weight decay lambda, eta the step size:

    coupled    w_{k+1} = w_k + beta (w_k - w_{k-1}) - eta (g_k + lambda w_k)
    decoupled  w_{k+1} = (1 - eta lambda) w_k - eta m_{k+1},    m_{k+1} = beta m_k + g_k

Where |w| is stationary, the product with w_k and the mean give, whatever the law of g is,

    angle per step      1 - cos = eta lambda / (1 + beta)                            (coupled)
                        1 - cos = eta lambda (1 - beta) / (1 + beta (1 - eta lambda))   (decoupled)
    norm                |w|^2 = a / (2 lambda) (E|g|^2 - (2 beta / eta) E[g_k . (w_k - w_{k-1})]),  a = eta / (1 - beta)

with cos for E w_{k+1} . w_k / E|w|^2. If the gradients are white, the last expectation is 0 and
|w|^2 = a E|g|^2 / (2 lambda): so it was proposed first. Without decay there is no equilibrium. The bracket above then
drives |w|^2, and scale invariance makes it c / |w|^2; at constant c |w|^2 grows like sqrt(k), by log 2 / 2 in its
logarithm over the second half of a run (theory.md 2.7).

Blocks: weight and bias of a Linear in front of a LayerNorm; of a pre-norm transformer all that writes to its stream
(shb/models/transformer.py). Not invariant: the last Linear of both, and any layer of a network without normalisation.

Pilots on seeds from 10000 chose effective step, decay and horizon such that the gradients do not vanish (a network that
interpolates has none) and the window begins after 4 relaxation times 1 / (4 a lambda) and more. There the angle was
within 3 % of the prediction; |w|^2 at momentum 0.9 was 0.69 to 0.92 of that of white gradients, a prediction that is
kept as it was fixed before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

import bench.claims.convergence.rotation  # noqa: F401  registers its observer
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import Prediction, inside
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from shb.models import stream_writers, transformer

BAND = Region(0.9, 1.1)  # of a measured value over the predicted one
GROWTH = math.log(2) / 2  # of log |w|^2 from the middle to the end of the run, without decay
SLACK = 0.07  # of it: the bracket times |w|^2 may be 0.74 to 1.3 times as large in the second half as before it
HIGH = 0.9  # momentum of the arms that have only one
FREE, PLAIN, DECOUPLED = "no decay", "no normalisation", "decoupled"
LAST = "last"  # the block that is not scale invariant
Statistic = Callable[[Columns, str, str], np.ndarray]  # columns, block, arm -> [n]


def blocks(network: tuple[str, ...], plain: bool = False) -> dict[str, list[str]]:
    """The scale-invariant blocks of a network, and its last layer."""
    settings = dict(one.split("=", 1) for one in network)
    if settings.get("model") == "transformer":
        depth = int(settings.get("model.depth", 2))
        with torch.device("meta"):
            names = [name for name, _ in transformer((1, 4, 4), 1, depth=depth).named_parameters()]
        return {"stream": stream_writers(names), LAST: ["head.weight", "head.bias"]}
    layers = (1, 3, 5) if plain else (1, 4, 7)
    return {n: [f"{i}.weight", f"{i}.bias"] for n, i in zip(("first", "second", LAST), layers)}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    planned = {}
    for name, network in networks(protocol).items():
        for arm in protocol["arms"][name]:
            planned[f"{name} {arm}"] = _run(protocol, name, network, arm)
    return planned


def momentum_of(arm: str) -> float:
    """The arms are named after their momentum, or after what else is different."""
    return HIGH if arm in (FREE, PLAIN, DECOUPLED) else float(arm)


def momenta(protocol: Protocol, name: str) -> list[str]:
    """The arms of a network with coupled decay that differ in their momentum."""
    return [arm for arm in protocol["arms"][name] if arm not in (FREE, PLAIN, DECOUPLED)]


def label(arm: str) -> str:
    """The arm in words."""
    return arm if arm in (FREE, PLAIN, DECOUPLED) else f"momentum {arm}"


def _run(protocol: Protocol, name: str, network: tuple[str, ...], arm: str) -> Experiment:
    beta, seeds, steps = momentum_of(arm), protocol["seeds"], protocol["steps"][name]
    decay = {FREE: 0.0, DECOUPLED: protocol["decay"] / (1 - beta)}.get(arm, protocol["decay"])
    if arm == PLAIN:
        network = tuple(one for one in network if not one.startswith("model.norm="))
    return trajectories(
        {"problem": "learning", "dtype": "float32", "batch_size": protocol["batch_size"], "steps": steps},
        *network,
        {"optimizer": "shb", "optimizer.lr": f"{step_size(protocol, beta):.12g}", "optimizer.momentum": beta},
        {"optimizer.weight_decay": f"{decay:.12g}"},
        {"optimizer.decoupled": True} if arm == DECOUPLED else {},
        seeds=seeds,
        chunk=seeds,
        observe={"rotation": {"blocks": blocks(network, arm == PLAIN), "start_at": steps // 2}},
        device=protocol.device,
        seconds=seeds * steps * protocol["seconds"][name],
    )


def step_size(protocol: Protocol, beta: float) -> float:
    """eta, of the effective step of the protocol."""
    return protocol["effective_step"] * (1 - beta)


def turn(protocol: Protocol, beta: float, decoupled: bool = False) -> float:
    """2 (1 - cos) of the angle per step that is predicted, with the decay of the protocol."""
    shrink = step_size(protocol, beta) * protocol["decay"]  # eta lambda
    if decoupled:
        return 2 * shrink / (1 + beta * (1 - shrink / (1 - beta)))
    return 2 * shrink / (1 + beta)


def angle_ratio(protocol: Protocol, columns: Columns, block: str, arm: str) -> np.ndarray:
    """Root mean square angle per step over the predicted one [n]."""
    return np.sqrt(columns[f"{block}_turn"] / turn(protocol, momentum_of(arm), arm == DECOUPLED))


def norm_ratio(protocol: Protocol, columns: Columns, block: str, beta: float, white: bool = True) -> np.ndarray:
    """Mean |w|^2 over what mean |g|^2 makes of it [n]; else with the memory of the gradients."""
    drive = columns[f"{block}_gradient"]
    if not white:
        drive = drive - 2 * beta / step_size(protocol, beta) * columns[f"{block}_memory"]
    return columns[f"{block}_square"] * 2 * protocol["decay"] / (protocol["effective_step"] * drive)


def growth(columns: Columns, block: str) -> np.ndarray:
    """log of |w|^2 at the end over that in the middle of the run [n]."""
    return np.log(columns[f"{block}_after"] / columns[f"{block}_before"])


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = out_of_scope(protocol, results)
    if scope is not None:
        return [CLAIM.out_of_scope(scope)]
    names = list(protocol["networks"])
    invariant = {name: [b for b in blocks(tuple(protocol["networks"][name])) if b != LAST] for name in names}

    def arms(*wanted: str) -> list[tuple[str, str]]:
        return [(name, arm) for name in names for arm in protocol["arms"][name] if arm in wanted]

    coupled = [(name, arm) for name in names for arm in momenta(protocol, name)]

    def cases(statistic: Statistic, where: list[tuple[str, str]]) -> Cases:
        made = {
            f"{n}, {label(a)}, {b} block": Mean(statistic(results[f"{n} {a}"], b, a))
            for n, a in where
            for b in invariant[n]
        }
        return Cases(made)

    def controls(statistic: Statistic, where: list[tuple[str, str]], *others: str) -> tuple[Control, ...]:
        """The last layer in the same runs; and the same block in runs of other arms."""
        worlds = [("the last layer", n, a, LAST) for n, a in where]
        worlds += [(f"the {b} block", n, a, b) for n, a in arms(*others) for b in invariant[n]]
        return tuple(
            Control(f"{what} ({n}, {label(a)})", Mean(statistic(results[f"{n} {a}"], b, a))) for what, n, a, b in worlds
        )

    def angle(columns: Columns, block: str, arm: str) -> np.ndarray:
        return angle_ratio(protocol, columns, block, arm)

    def white(columns: Columns, block: str, arm: str) -> np.ndarray:
        return norm_ratio(protocol, columns, block, momentum_of(arm))

    def coloured(columns: Columns, block: str, arm: str) -> np.ndarray:
        return norm_ratio(protocol, columns, block, momentum_of(arm), white=False)

    def grown(columns: Columns, block: str, arm: str) -> np.ndarray:
        return growth(columns, block)

    zero, high = arms("0.0"), arms("0.9")
    root = math.sqrt(1 + HIGH)
    return [
        Part(
            "With coupled weight decay, scale-invariant blocks turn by sqrt(2 eta lambda / (1 + beta)) per step.",
            SOURCE,
            _band("root mean square angle / predicted"),
            cases(angle, coupled),
            controls(angle, coupled, FREE, PLAIN),
            alternatives=(Alternative("without 1 + beta", f"{1 / root:.3f} of it at beta = {HIGH:g}"),),
            of=_of(coupled),
        ),
        Part(
            "Without momentum their |w|^2 is eta E|g|^2 / (2 lambda).",
            SOURCE,
            _band("mean |w|^2 / predicted"),
            cases(white, zero),
            controls(white, zero),
            of=_of(zero),
        ),
        Part(
            "With momentum 0.9 it is a E|g|^2 / (2 lambda), a = eta / (1 - beta), as if gradients were white.",
            SOURCE,
            _band("mean |w|^2 / predicted"),
            cases(white, high),
            controls(white, high, FREE),
            status=Status.SUPERSEDED,
            of=_of(high),
        ),
        Part(
            "With the measured correlation of gradient and last update, the law of |w|^2 holds for momentum 0.9, too.",
            SOURCE,
            _band("mean |w|^2 / predicted"),
            cases(coloured, high),
            controls(coloured, high, FREE),
            of=_of(high),
        ),
        Part(
            "Without weight decay |w|^2 of scale-invariant blocks grows like the root of the number of updates.",
            SOURCE,
            inside(
                f"log of |w|^2, end over middle of the run, log 2 / 2 = {GROWTH:.3f} within {SLACK:g}",
                Region(GROWTH - SLACK, GROWTH + SLACK),
                "log",
            ),
            cases(grown, arms(FREE)),
            tuple(
                Control(f"the {b} block with decay ({n}, {label(a)})", Mean(growth(results[f"{n} {a}"], b)))
                for n, a in high
                if (n, FREE) in arms(FREE)
                for b in invariant[n]
            ),
            of=_of(arms(FREE)),
        ),
        Part(
            "Decoupled decay lambda is the coupled one (1 - beta) lambda: the angle is sqrt(2 eta lambda (1 - beta) / "
            "(1 + beta)).",
            SOURCE,
            _band("root mean square angle / predicted"),
            cases(angle, arms(DECOUPLED)),
            controls(angle, arms(DECOUPLED)),
            alternatives=(Alternative("the formula of coupled decay", f"{math.sqrt(1 - HIGH):.3f} of it"),),
            of=_of(arms(DECOUPLED)),
        ),
    ]


def _band(what: str) -> Prediction:
    return inside(f"{what} in [{BAND.low:g}, {BAND.high:g}]", BAND, "ratio")


def _of(arms: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{name} {arm}" for name, arm in arms)


SOURCE = "this project (2.7)"
CLAIM = Claim(
    "CL53",
    "convergence",
    "Weight decay and normalisation: scale-invariant blocks turn by a fixed angle per step.",
    SOURCE,
    experiments,
    parts,
)
