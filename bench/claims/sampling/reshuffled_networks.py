"""CL50 on networks: the loss under reshuffling against that under i.i.d. samples.

From one point on a plateau, i.i.d. and reshuffled runs go on with the same step. To second order around that
point the i.i.d. run is then higher by sum_i h_i C_i (`independent` - `reshuffled`) / 2, with h_i the eigenvalues of the
Hessian of F and C_i the variance of the mini-batch gradient along their eigenvectors. That is a prediction for a few
epochs: a direction of negative h_i would grow without bound, where a network bends away.

Pilots (seeds from 10,000 on, 48 runs) chose the network, its step and the horizon of four epochs, up to which the sum
does not yet depend on negative h_i; the measured ratio there was near 1, the region is 1 +- 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.branches import Phase, branches
from bench.claims.claim import Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside
from bench.claims.sampling.networks import dataset_of, networks
from bench.claims.sampling.second_moments import independent, reshuffled, responses
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, ratio_of_means
from bench.statistics.inference import Region
from shb.datasets import DATASETS

NETWORK = 0.3  # of a difference of losses to its law, to second order around one point
MOMENTUM = {"sgd": 0.0, "shb": 0.9}


def rule(optimizer: str, step: float) -> dict[str, object]:
    """Settings of an optimizer with the effective step `step`."""
    beta = MOMENTUM[optimizer]
    momentum = {"optimizer.momentum": beta} if beta else {}
    return {"optimizer": optimizer, "optimizer.lr": float(f"{step * (1 - beta):.12g}"), **momentum}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    """ "NAME OPTIMIZER" for the networks whose data are here."""
    return {
        f"{name} {optimizer}": _branches(protocol, network, optimizer)
        for name, network in networks(protocol).items()
        for optimizer in MOMENTUM
    }


def _branches(protocol: Protocol, network: tuple[str, ...], optimizer: str) -> Experiment:
    updates, horizon = protocol["updates"], protocol["horizon"]
    steps = horizon * updates + protocol["around"]
    length = (protocol["epochs_before"] + 3 * horizon) * updates
    return branches(
        {"problem": "learning", "dtype": "float32", "loss": "squared", **rule(optimizer, protocol["step"])},
        *network,
        steps=protocol["epochs_before"] * updates,
        then={
            "iid": [Phase(steps)],
            "reshuffle": [Phase(steps, {"sampling": "reshuffle"})],
            "iid again": [Phase(steps, other_samples=True)],
        },
        at=[end + one for end in ends(protocol) for one in around(protocol)],
        noise={"spectrum": True},
        seeds=protocol["network_seeds"],
        chunk=protocol["chunk"],
        device=protocol.device,
        seconds=protocol["network_seeds"] * (length * protocol["seconds"] + 0.05),
    )


def around(protocol: Protocol) -> list[int]:
    """Five updates around the end of an epoch, over which the loss under i.i.d. samples is averaged."""
    return [protocol["around"] * part // 2 for part in (-2, -1, 0, 1, 2)]


def ends(protocol: Protocol) -> list[int]:
    """Updates of the branches at the ends of the epochs that are compared."""
    return [protocol["updates"] * epoch for epoch in range(protocol["skipped"] + 1, protocol["horizon"] + 1)]


def removed(protocol: Protocol, name: str, columns: Columns, optimizer: str) -> np.ndarray:
    """By how much the loss of an i.i.d. run is above that of a reshuffled one at `ends`, for each seed: [n, epochs]."""
    updates, beta = protocol["updates"], MOMENTUM[optimizer]
    size = DATASETS[dataset_of(protocol["networks"][name])].train_size
    h, c = columns["curvature"], columns["noise"]
    found = []
    for end in ends(protocol):
        y = responses(h, protocol["step"] * (1 - beta), beta, end)
        found.append((h * c * (independent(y) - reshuffled(y, updates, size))).sum(1) / 2)
    return np.stack(found, 1)


def lower(protocol: Protocol, columns: Columns, branch: str) -> np.ndarray:
    """Loss of the i.i.d. branch, mean of updates around the `ends`, above that of another one at them: [n, epochs]."""
    places = around(protocol)

    def split(name: str) -> np.ndarray:
        return columns[name].reshape(len(columns[name]), -1, len(places))

    other = split(branch)[:, :, places.index(0)] if branch == "reshuffle" else split(branch).mean(2)
    return split("iid").mean(2) - other


def part(protocol: Protocol, results: Results) -> Part:
    """The part of CL50 on networks."""
    runs = {(name, o): results[f"{name} {o}"] for name in protocol["networks"] for o in MOMENTUM}

    def ratio(name: str, optimizer: str, branch: str) -> Mean:
        columns = runs[name, optimizer]
        alive = columns["diverged"] == 0
        measured, expected = lower(protocol, columns, branch), removed(protocol, name, columns, optimizer)
        return ratio_of_means(measured[alive].mean(1), expected[alive].mean(1))

    def case(name: str, optimizer: str) -> str:
        return f"{name.replace('_', ' ')}, {optimizer.upper()}"

    def share(name: str, optimizer: str) -> str:
        columns = runs[name, optimizer]
        noise = protocol["step"] / 4 * columns["noise"].sum(1).mean()
        mean = lower(protocol, columns, "reshuffle").mean()
        lower_by = 100 * mean / columns["iid"].mean()
        return f"{case(name, optimizer)} {mean / noise:.2f} of a tr C / 4, {lower_by:.1f} % of F"

    lost = int(sum(one["diverged"].sum() for one in runs.values()))
    shown = "; ".join(share(*key) for key in runs)
    return Part(
        "A network on a plateau has a lower loss at the ends of reshuffled epochs, as Hessian and noise say.",
        "L9",
        inside(
            f"difference of the losses over that of second order, mean of epochs {protocol['skipped'] + 1} to "
            f"{protocol['horizon']}, within {100 * NETWORK:g} % of 1",
            Region(1 - NETWORK, 1 + NETWORK),
            "ratio",
        ),
        Cases({case(*key): ratio(*key, "reshuffle") for key in runs}),
        tuple(Control(f"other i.i.d. samples instead, {case(*key)}", ratio(*key, "iid again")) for key in runs),
        out_of_scope=f"{lost} runs diverged" if lost else None,
        of=tuple(f"{name} {optimizer}" for name, optimizer in runs),
        note=f"lower by: {shown}",
    )
