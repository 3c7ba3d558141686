"""CL49: when SHB is SGD, and when momentum pays: the ratio of their training losses at the end of a run.

SHB with momentum 0.9 against SGD after the same number of updates on the same mini-batches, with the cosine schedule
of all suites here. Both at the same effective step a, or each at its own best one. Theory: in a direction of curvature
h SHB is SGD with the step a as long as a h is far below (1 - beta) / 4 (theory.md, section 1, order parameter). It lags
beta / (1 - beta) = 9 updates behind, which changes a loss that falls like a power of time by about 9 / (updates).
Nearer to the critical step a*_SGD the two part, but only where a*_SHB is larger (CL48), which it is for large batches
only. Predictions, fixed beforehand:

    a <= a*_SGD / 8                        the ratio is 1 +- 0.02
    a about a*_SGD / 2, large batch        the ratio is at most exp(-0.1) = 0.905
    each at its best step, small batch     the ratio is 1 +- 0.02
    each at its best step, large batch     the ratio is at most 0.85

Controls: SHB at SGD's raw lr, that is at 10 a; small batches where large ones pay, large ones where small ones do not.
Pilots with seeds from 10,000 chose the numbers of updates, a*_SGD (as in CL48, under this schedule) and the best steps
(least geometric mean of the loss over a grid). Batch sizes: 8 and 1,024 on Fashion-MNIST; on digits 2 and all samples,
for the reason that CL48 gives. The scan is drawn in the figure and shows a*_SGD on other seeds; no part depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.practice.critical_step import BETA, RULES, SURVIVES
from bench.claims.practice.effective_step import experiment
from bench.claims.prediction import inside, tost
from bench.claims.sampling.networks import networks, out_of_scope
from bench.statistics.cases import Cases
from bench.statistics.estimates import PairedRatio
from bench.statistics.inference import Region

SAME = 0.02  # of the logarithm of the ratio of two losses that are equal
PAYS = Region(0.0, float(np.exp(-0.1)))
TUNED = Region(0.0, 0.85)
EQUAL = Region(float(np.exp(-SAME)), float(np.exp(SAME)))
LOST = 100.0
RAW = 1 / (1 - BETA)  # effective step of SHB at the raw lr of SGD, in effective steps of SGD


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    planned = {}
    for network, own in networks(protocol).items():
        for batch, arm in protocol["batches"][network].items():
            training = {"loss": "cross_entropy", "steps": arm["steps"], "schedule": protocol["schedule"]}
            common = [{"problem": "learning", "dtype": "float32", **training}, *own, *arm["overrides"]]

            def run(how: str, steps: list[float], seeds: int, common: list = common, arm: Any = arm) -> Experiment:
                return experiment(
                    "step_scan",
                    [*common, RULES[how]],
                    {"steps": steps},
                    seeds=seeds,
                    chunk=min(seeds, protocol["chunk"]),
                    device=protocol.device,
                    seconds=seeds * len(steps) * arm["steps"] * arm["seconds"],
                )

            for name, one in arm["runs"].items():
                for how in ("sgd", "shb"):
                    steps = effective_steps(protocol, network, batch, name, how)
                    planned[f"{network} {batch} {name} {how}"] = run(how, steps, one["seeds"])
            if "equal" in arm["runs"]:
                raw = [a * RAW for a in effective_steps(protocol, network, batch, "equal", "sgd")]
                planned[f"{network} {batch} raw shb"] = run("shb", raw, protocol["raw_seeds"])
    return planned


def effective_steps(protocol: Protocol, network: str, batch: str, run: str, how: str) -> list[float]:
    """Effective steps of the rule `how` in one kind of run: the same list for both rules, or one for each."""
    steps = protocol["batches"][network][batch]["runs"][run]["steps"]
    return list(steps[how] if isinstance(steps, Mapping) else steps)


def ratio(results: Results, arm: str) -> PairedRatio:
    """Loss of SHB over that of SGD at their first steps: geometric mean over the seeds."""
    return PairedRatio(*(losses(results[f"{arm} {how}"])[:, 0] for how in ("shb", "sgd")))


def losses(columns: Columns) -> np.ndarray:
    """[n, steps]; a run that diverged or ended higher counts as LOST times a constant predictor's loss."""
    return np.minimum(columns["objective"], LOST * columns["reference"][:, None])


def critical(protocol: Protocol, results: Results, network: str, batch: str, how: str) -> float:
    """a* from the scan: the largest step at which, and below which, most runs end below a constant predictor."""
    columns = results[f"{network} {batch} scan {how}"]
    survives = (columns["objective"] < SURVIVES * columns["reference"][:, None]).mean(0) > 0.5
    steps = effective_steps(protocol, network, batch, "scan", how)
    ends = len(steps) if survives.all() else int(np.argmin(survives))
    return steps[ends - 1] if ends else 0.0


def parts(protocol: Protocol, results: Results) -> list[Part]:
    absent = out_of_scope(protocol, results)
    if absent is not None:
        return [CLAIM.out_of_scope(absent)]
    return [part for network in protocol["networks"] for part in _network(protocol, results, network)]


def _network(protocol: Protocol, results: Results, network: str) -> list[Part]:
    where = network.replace("_", " ")
    sizes = protocol["parts"][network]
    small, large = sizes["small"], sizes["large"]

    def steps(batch: str, name: str) -> list[float]:
        return effective_steps(protocol, network, batch, name, "sgd")

    def best(batch: str) -> str:
        found = {how: effective_steps(protocol, network, batch, "best", how)[0] for how in ("sgd", "shb")}
        return f"best steps SGD {found['sgd']:g}, SHB {found['shb']:g}"

    def limit(batch: str) -> str:
        return f"a*_SGD = {critical(protocol, results, network, batch, 'sgd'):.2g} in the scan"

    def of(batch: str, name: str) -> tuple[str, ...]:
        return tuple(f"{network} {batch} {name} {how}" for how in ("sgd", "shb"))

    def raw(batch: str) -> PairedRatio:
        shb, sgd = (losses(results[f"{network} {batch} {run}"])[:, 0] for run in ("raw shb", "equal sgd"))
        n = min(len(shb), len(sgd))
        return PairedRatio(shb[:n], sgd[:n])

    equal = {
        f"B = {batch}, a = {steps(batch, name)[0]:g}": ratio(results, f"{network} {batch} {name}")
        for batch in sizes["equal"]
        for name in ("equal", "smaller")
    }
    return [
        Part(
            f"Far below the critical step SHB and SGD end with the same loss at equal effective steps ({where}).",
            "D1, order parameter",
            tost(f"loss_SHB / loss_SGD in [{EQUAL.low:.3g}, {EQUAL.high:.3g}], a <= a*_SGD / 8", EQUAL, "ratio"),
            Cases(equal),
            tuple(Control(f"SHB at the raw lr of SGD, B = {batch}", raw(batch)) for batch in sizes["equal"]),
            note="; ".join(f"B = {batch}: {limit(batch)}" for batch in sizes["equal"]),
            of=tuple(one for batch in sizes["equal"] for name in ("equal", "smaller") for one in of(batch, name)),
        ),
        Part(
            f"At half of SGD's critical step momentum pays with large batches ({where}, B = {large}).",
            SOURCE,
            inside(f"loss_SHB / loss_SGD at most {PAYS.high:.3g}", PAYS, "ratio"),
            ratio(results, f"{network} {large} half"),
            (Control(f"B = {small}, a = {steps(small, 'half')[0]:g}", ratio(results, f"{network} {small} half")),),
            note=f"a = {steps(large, 'half')[0]:g}, {limit(large)}; B = {small}: {limit(small)}",
            of=of(large, "half"),
        ),
        Part(
            f"Each at its best step, momentum changes nothing with small batches ({where}, B = {small}).",
            SOURCE,
            tost(f"loss_SHB / loss_SGD in [{EQUAL.low:.3g}, {EQUAL.high:.3g}]", EQUAL, "ratio"),
            ratio(results, f"{network} {small} best"),
            (Control(f"B = {large}", ratio(results, f"{network} {large} best")),),
            note=best(small),
            of=of(small, "best"),
        ),
        Part(
            f"Each at its best step, momentum pays with large batches ({where}, B = {large}).",
            SOURCE,
            inside(f"loss_SHB / loss_SGD at most {TUNED.high:g}", TUNED, "ratio"),
            ratio(results, f"{network} {large} best"),
            (Control(f"B = {small}", ratio(results, f"{network} {small} best")),),
            note=best(large),
            of=of(large, "best"),
        ),
    ]


SOURCE = "L2 under sampled curvature"
CLAIM = Claim(
    "CL49",
    "practice",
    "SHB is SGD at small effective steps and with small batches; with large batches momentum pays.",
    SOURCE,
    experiments,
    parts,
)
