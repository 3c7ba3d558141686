"""CL50: reshuffling replaces the noise floor of L3 by a lower one, which depends on where in the epoch one looks.

f_i(w) = (w - c_i)^2 / 2 with n samples, x = a lambda n, a = alpha / (1 - beta), ratios to the gap under i.i.d. samples
(L9; exact moments in second_moments.py):

    end of an epoch           1 - tanh(x/2) / (x/2) = x^2 / 12 - ...    (SGD; 1 - 2/x for large x)
    mean over an epoch        x / 3 - x^2 / 12 + ...
    momentum, at the end      adds a m lambda `memory(x, beta)`, m = 1 / (1 - beta): about a m lambda for small x only,
                              and less than 0 from x = 0.72 on (beta = 0.9)
    one order in all epochs   a limit cycle, at the end of an epoch at the distance sqrt(3)/6 x sigma / lambda
                              (increasing c_i), to leading order in x

The first version of the third law was "momentum adds about a m"; the exact moments say when that holds.

Networks: reshuffled_networks.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Alternative, Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.prediction import exact, inside
from bench.claims.sampling import reshuffled_networks
from bench.claims.sampling.reshuffled_networks import MOMENTUM, rule
from bench.claims.sampling.second_moments import cyclic, independent, memory, reshuffled, responses
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Exact, Mean, ratio_of_means
from bench.statistics.inference import Region
from shb.problems.closed_forms.noise import finite_points

TOLERANCE = 0.05  # of a ratio of mean gaps to its law
RELAXATIONS = 4  # until measuring begins, so that 1 - exp(-2 RELAXATIONS) of the variance is there
REACH = {"sgd": (0.5, 1.0, 4.0), "shb": (0.5, 1.0)}  # x = a lambda n
CYCLE = 1.0  # x of the fixed order


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
    return planned | reshuffled_networks.experiments(protocol)


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


def parts(protocol: Protocol, results: Results) -> list[Part]:
    return [*_closed_forms(protocol, results), reshuffled_networks.part(protocol, results)]


def _closed_forms(protocol: Protocol, results: Results) -> list[Part]:
    n = protocol["samples"]
    near = Region(1 - TOLERANCE, 1 + TOLERANCE)

    def gap(name: str) -> np.ndarray:
        return results[name]["gap"]

    def at_end(x: float, of_law: float) -> Mean:
        target = law(protocol, of_law)[0] / iid_law(protocol, of_law)
        return ratio_of_means(gap(f"sgd {x:g} reshuffle")[:, 0] / target, gap(f"sgd {x:g} iid").mean(1))

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
    beta, (_, last) = MOMENTUM["shb"], epochs(protocol, CYCLE)
    recursion = abs(cyclic(responses(1.0, CYCLE / n, 0.0, last * n), finite_points(n)))
    leading = CYCLE * math.sqrt(3) / 6
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
            Cases({f"x = {x:g}": at_end(x, x) for x in REACH["sgd"]}),
            (Control(f"x = {small:g} against the law of x = 1", at_end(small, 1.0)),),
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
                f"|w| = sqrt(3) / 6 x = {leading:.3g} sigma within {100 * TOLERANCE:g} % at the end of an epoch, "
                f"increasing samples, x = {CYCLE:g}",
                Region(leading * (1 - TOLERANCE), leading * (1 + TOLERANCE)),
                "sigma",
            ),
            Exact(abs(float(results["cyclic"]["w0"][0])), 1),
            (
                Control("reshuffling, mean of w", Mean(results[f"sgd {CYCLE:g} reshuffle"]["w0"])),
                Control("i.i.d. samples, mean of w", Mean(results[f"sgd {CYCLE:g} iid"]["w0"])),
            ),
            of=("cyclic",),
            alternatives=(Alternative("its own recursion, computed", f"{recursion:.6g}"),),
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


CLAIM = Claim(
    "CL50",
    "sampling",
    "Reshuffling lowers the noise floor; how much depends on the place in the epoch, and L3 no longer holds.",
    "L9, L3 (this project)",
    experiments,
    parts,
)
