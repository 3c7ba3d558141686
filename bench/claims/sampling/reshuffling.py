"""CL50: reshuffling replaces the noise floor of L3 by a lower one, which depends on where in the epoch one looks.

f_i(w) = (w - c_i)^2 / 2 with n samples, x = a lambda n, a = alpha / (1 - beta), ratios to the gap under i.i.d. samples
(L9; exact moments in second_moments.py):

    end of an epoch           1 - tanh(x/2) / (x/2) = x^2 / 12 - ...    (SGD; 1 - 2/x for large x)
    mean over an epoch        x / 3 - x^2 / 12 + ...
    momentum, at the end      adds a m lambda `memory(x, beta)`, m = 1 / (1 - beta): about a m lambda for small x only,
                              and less than 0 from x = 0.72 on (beta = 0.9)
    one order in all epochs   a limit cycle, at the end of an epoch at the distance a n sigma / sqrt 12 (increasing c_i)

The first version of the third law was "momentum adds about a m"; the exact moments say when that holds.

Networks: from one point on a plateau, i.i.d. and reshuffled runs go on with the same step. To second order around that
point the i.i.d. run is then higher by sum_i h_i C_i (`independent` - `reshuffled`) / 2, with h_i the eigenvalues of the
Hessian of F and C_i the variance of the mini-batch gradient along their eigenvectors. That is a prediction for a few
epochs: a direction of negative h_i would grow without bound, where a network bends away.

Pilots (seeds from 10,000 on, 48 runs) chose the network, its step and the horizon of four epochs, up to which the sum
does not yet depend on negative h_i; the measured ratio there was near 1, the region is 1 +- 0.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.claims.branches import Phase, branches
from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import exact, inside
from bench.claims.sampling.networks import networks
from bench.claims.sampling.second_moments import cyclic, independent, memory, reshuffled, responses
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Exact, Mean, ratio_of_means
from bench.statistics.inference import Region
from shb.datasets import DATASETS
from shb.problems.closed_forms.noise import finite_points

TOLERANCE = 0.05  # of a ratio of mean gaps to its law
NETWORK = 0.3  # of a difference of losses to its law, to second order around one point
MOMENTUM = {"sgd": 0.0, "shb": 0.9}
RELAXATIONS = 4  # until measuring begins, so that 1 - exp(-2 RELAXATIONS) of the variance is there
REACH = {"sgd": (0.5, 1.0, 4.0), "shb": (0.5, 1.0)}  # x = a lambda n
CYCLE = 1.0  # x of the fixed order


def rule(optimizer: str, step: float) -> dict[str, object]:
    """Settings of an optimizer with the effective step `step`."""
    beta = MOMENTUM[optimizer]
    momentum = {"optimizer.momentum": beta} if beta else {}
    return {"optimizer": optimizer, "optimizer.lr": float(f"{step * (1 - beta):.12g}"), **momentum}


def epochs(protocol: Protocol, x: float) -> tuple[int, int]:
    """Epochs before measuring begins, and in all."""
    first = math.ceil(RELAXATIONS / x)
    return first, first + protocol["epochs"]


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    n = protocol["samples"]

    def closed(x: float, optimizer: str, sampling: str, seeds: int) -> Experiment:
        first, last = epochs(protocol, x)
        return trajectories(
            {"problem": "quadratic", "problem.noise": "finite", "problem.atoms": n, "init": "zeros"},
            {"sampling": sampling, "steps": last * n, **rule(optimizer, x / n)},
            seeds=seeds,
            observe={"epochs": {"updates": n, "first": first}},
            device=protocol.device,
        )

    planned = {}
    for optimizer, reach in REACH.items():
        for x in reach:
            planned[f"{optimizer} {x:g} reshuffle"] = closed(x, optimizer, "reshuffle", protocol["seeds"])
    for x in REACH["sgd"]:
        planned[f"sgd {x:g} iid"] = closed(x, "sgd", "iid", protocol["seeds"])
    planned[f"shb {REACH['shb'][0]:g} iid"] = closed(REACH["shb"][0], "shb", "iid", protocol["seeds"])
    planned["cyclic"] = closed(CYCLE, "sgd", "cyclic", 1)
    for name, network in networks(protocol).items():
        for optimizer in MOMENTUM:
            planned[f"{name} {optimizer}"] = _branches(protocol, name, network, optimizer)
    return planned


def _branches(protocol: Protocol, name: str, network: tuple[str, ...], optimizer: str) -> Experiment:
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


def law(protocol: Protocol, x: float, optimizer: str = "sgd") -> np.ndarray:
    """E w^2 / sigma^2 under reshuffling by the place in the epoch, its end first: [n]."""
    n, (_, last) = protocol["samples"], epochs(protocol, x)
    beta = MOMENTUM[optimizer]
    y = responses(1.0, x / n * (1 - beta), beta, last * n)
    return np.array([reshuffled(y[: (last - 1) * n + place if place else None], n, n) for place in range(n)])


def iid_law(protocol: Protocol, x: float) -> float:
    """E w^2 / sigma^2 of SGD under i.i.d. samples."""
    n, (_, last) = protocol["samples"], epochs(protocol, x)
    return float(independent(responses(1.0, x / n, 0.0, last * n)))


def removed(protocol: Protocol, name: str, columns: Columns, optimizer: str) -> np.ndarray:
    """By how much the loss of an i.i.d. run is above that of a reshuffled one at `ends`, for each seed: [n, epochs]."""
    updates, beta = protocol["updates"], MOMENTUM[optimizer]
    samples = next(o.partition("=")[2] for o in protocol["networks"][name] if o.startswith("dataset="))
    size = DATASETS[samples].train_size
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


def parts(protocol: Protocol, results: Results) -> list[Part]:
    return [*_closed_forms(protocol, results), _networks(protocol, results)]


def _closed_forms(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["samples"]
    near = Region(1 - TOLERANCE, 1 + TOLERANCE)

    def gap(name: str) -> np.ndarray:
        return results[name]["gap"]

    def at_end(x: float, how: str) -> Mean:
        target = law(protocol, x)[0] / iid_law(protocol, x)
        return ratio_of_means(gap(f"sgd {x:g} {how}")[:, 0] / target, gap(f"sgd {x:g} iid").mean(1))

    def averaged(x: float) -> Mean:
        target = law(protocol, x).mean() / iid_law(protocol, x)
        return ratio_of_means(gap(f"sgd {x:g} reshuffle").mean(1) / target, gap(f"sgd {x:g} iid").mean(1))

    def iid_averaged(x: float) -> Mean:
        target = law(protocol, x).mean() / iid_law(protocol, x)
        return ratio_of_means(gap(f"shb {x:g} iid").mean(1) / target, gap(f"sgd {x:g} iid").mean(1))

    def momentum(x: float, how: str) -> Mean:
        target = law(protocol, x, "shb")[0] / law(protocol, x)[0]
        return ratio_of_means(gap(f"shb {x:g} {how}")[:, 0] / target, gap(f"sgd {x:g} {how}")[:, 0])

    def floor(x: float, how: str) -> Mean:
        return ratio_of_means(gap(f"sgd {x:g} {how}").mean(1), np.full(protocol["seeds"], x / n / 4))

    def of(optimizer: str, *hows: str) -> tuple[str, ...]:
        return tuple(f"{optimizer} {x:g} {how}" for x in REACH[optimizer] for how in hows)

    shares = ", ".join(f"{law(protocol, x)[0] / iid_law(protocol, x):.3g} at {x:g}" for x in REACH["sgd"])
    means = ", ".join(f"{law(protocol, x).mean() / iid_law(protocol, x):.3g} at {x:g}" for x in REACH["sgd"])
    grows = ", ".join(f"{law(protocol, x, 'shb')[0] / law(protocol, x)[0]:.3g} at {x:g}" for x in REACH["shb"])
    beta, step = MOMENTUM["shb"], CYCLE / n
    _, last = epochs(protocol, CYCLE)
    order = cyclic(responses(1.0, step, 0.0, last * n), finite_points(n))
    small = REACH["shb"][0]
    rough = 1 + small / n / (1 - beta) / (law(protocol, small)[0] / iid_law(protocol, small))
    first_order = [memory(x, beta) for x in REACH["shb"]]
    return [
        Part(
            "At the ends of epochs the gap under reshuffling is a small share of that under i.i.d. samples.",
            "L9",
            inside(
                f"ratio of the gaps over 1 - tanh(x/2) / (x/2), exactly {shares} = x = a lambda n, "
                f"within {100 * TOLERANCE:g} %",
                near,
                "ratio",
            ),
            Cases({f"x = {x:g}": at_end(x, "reshuffle") for x in REACH["sgd"]}),
            (Control("i.i.d. samples, x = 1", at_end(1.0, "iid")),),
            of=of("sgd", "reshuffle", "iid"),
            alternatives=(Alternative("x^2 / 12 instead of the exact moments", _leading(protocol, "end")),),
        ),
        Part(
            "Averaged over an epoch it is a larger share.",
            "L9",
            inside(
                f"ratio of the gaps over x / 3 - x^2 / 12 + ..., exactly {means}, within {100 * TOLERANCE:g} %",
                near,
                "ratio",
            ),
            Cases({f"x = {x:g}": averaged(x) for x in REACH["sgd"]}),
            (Control(f"i.i.d. samples, SHB, x = {small:g}", iid_averaged(small)),),
            of=of("sgd", "reshuffle", "iid"),
            alternatives=(Alternative("x / 3 instead of the exact moments", _leading(protocol, "mean")),),
        ),
        Part(
            "Momentum raises the gap at the ends of epochs for small a lambda n and lowers it for large.",
            "L9",
            inside(
                f"gap of SHB over that of SGD at the same effective step, over {grows}, within {100 * TOLERANCE:g} %",
                near,
                "ratio",
            ),
            Cases({f"x = {x:g}": momentum(x, "reshuffle") for x in REACH["shb"]}),
            (Control(f"i.i.d. samples, x = {small:g}", momentum(small, "iid")),),
            of=tuple(f"{o} {x:g} reshuffle" for o in ("shb", "sgd") for x in REACH["shb"]),
            alternatives=(
                Alternative("adds a m, the first version of this law", f"{rough:.3g} at {small:g}"),
                Alternative(
                    "first order in a m at fixed x",
                    ", ".join(f"adds {one:.3g} a m at {x:g}" for one, x in zip(first_order, REACH["shb"])),
                ),
            ),
        ),
        Part(
            "The Hessian-free law L3 holds under i.i.d. samples, and does not under reshuffling.",
            "L3, L9",
            inside(f"mean gap over a sigma^2 / 4 within {100 * TOLERANCE:g} % of 1, i.i.d. samples", near, "ratio"),
            Cases({f"x = {x:g}": floor(x, "iid") for x in REACH["sgd"] if x <= 1}),
            tuple(Control(f"reshuffling, x = {x:g}", floor(x, "reshuffle")) for x in REACH["sgd"] if x <= 1),
            of=tuple(f"sgd {x:g} iid" for x in REACH["sgd"] if x <= 1),
        ),
        Part(
            "One order in all epochs is biased: it leads to a cycle, whose epochs end away from the minimiser.",
            "L9",
            exact(
                f"w = {order:.6g} sigma within 1e-9 at the end of an epoch, increasing samples, x = {CYCLE:g}",
                Region(order - 1e-9, order + 1e-9),
                "sigma",
            ),
            Exact(float(results["cyclic"]["w0"][0]), 1),
            (
                Control("reshuffling", Mean(results[f"sgd {CYCLE:g} reshuffle"]["w0"])),
                Control("i.i.d. samples", Mean(results[f"sgd {CYCLE:g} iid"]["w0"])),
            ),
            of=("cyclic",),
            alternatives=(Alternative("a n / sqrt 12, small x", f"{CYCLE / math.sqrt(12):.3g}"),),
        ),
    ]


def _leading(protocol: Protocol, where: str) -> str:
    """What the leading law gives, over the exact one."""
    found = []
    for x in REACH["sgd"]:
        now, iid = law(protocol, x), iid_law(protocol, x)
        ratio = x * x / 12 / (now[0] / iid) if where == "end" else x / 3 / (now.mean() / iid)
        found.append(f"{ratio:.3g} times the exact one at {x:g}")
    return ", ".join(found)


def _networks(protocol: Protocol, results: Results) -> Part:
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


CLAIM = Claim(
    "CL50",
    "sampling",
    "Reshuffling lowers the noise floor; how much depends on the place in the epoch, and L3 no longer holds.",
    "L9, L3 (this project)",
    experiments,
    parts,
)
