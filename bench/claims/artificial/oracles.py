"""CL31: the result does not depend on which formal calculus makes the oracle (C-d).

Oracles: implicit differentiation (E8), and the ReLU of E1 written with sort, maximum, max-pooling, relu(-x) + x, ...
(equal functions, other formal derivatives at 0). (a) From random starts the heavy ball ends near Clarke points in all
runs: m_radius(w_K) = 0 with radius 0.25, six standard deviations sqrt(alpha_K / (2 (1 - beta))) of L1 at E1 after
2,000 steps. E8 with a normal law is started in [0, 1.5]: further out F' falls like exp(-l^2 / 2), and runs are slow.
(b) Each oracle obeys the chain rule along random polygons of its own. These meet kinks at single points, so that
v = grad F almost everywhere is all that (b) can see: right gradients, not what an oracle returns on kinks, which is
CL56. The control of both is E11, whose oracles obey no chain rule: `detached` runs away, `rotation` circles. At E1
itself they are the start on the artificial point, and the gradient of one sample in place of the mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import bench.claims.artificial.chain_rule  # noqa: F401  registers the measure
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.share import always, never, of_runs
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Proportion
from shb.problems import CLOSED_FORMS

FORMS = ("relu", "maximum", "max_pool_zero_last", "relu_2", "relu_3", "sort", "median")
RADIUS, TOLERANCE = 0.25, 1e-6
MOST = 0.95  # share of the polygons that "every polygon" means with 200 of them
DISCRETE = [-1.0, 2.0, 4.5]  # samples b of E8


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    fresh = itertools.count()  # seeds of its own for every oracle: equal seeds would repeat equal runs
    first = itertools.count(step=max(protocol["polygons"], protocol["network_polygons"]))

    def run(problem: Mapping[str, Any]) -> Experiment:
        return trajectories(
            problem,
            {"optimizer": "shb", "optimizer.lr": 0.1, "optimizer.momentum": 0.9},
            {"schedule": "power", "steps": protocol["steps"]},
            seeds=protocol["seeds"],
            first_seed=next(fresh) * protocol["seeds"],
            device=protocol.device,
        )

    def polygons(kind: str, count: int, corners: int = 4, **options: object) -> Experiment:
        settings = {"kind": kind, "options": options, "corners": corners, "std": 2.0 if kind != "network" else 1.0}
        seconds = count * (0.3 if kind == "network" else 0.05)
        return Experiment("chain_rule", settings, count, next(first), seconds=seconds)

    few = protocol["polygons"]
    return {
        **{f"end_e1_{form}": run({"problem": "e1", "problem.form": form}) for form in FORMS},
        "end_e8_normal": run(
            {"problem": "e8", "problem.law": "normal", "init": "uniform", "init.low": 0.0, "init.high": 1.5}
        ),
        "end_e8_discrete": run({"problem": "e8", "problem.law": "discrete"}),
        "end_control": run({"problem": "e11", "problem.kind": "rotation"}),
        "stuck": run({"problem": "e1", "init": "zeros"}),
        **{
            f"chain_e1_{form}": polygons("e1", few, problem="e1", options={"form": form}, samples=[-1.0, 1.0])
            for form in FORMS
        },
        "chain_e8": polygons("e8", few, problem="e8", options={"law": "discrete"}, samples=DISCRETE),
        "chain_network": polygons("network", protocol["network_polygons"], rows=20, features=3, hidden=4),
        **{
            f"control_{kind}": polygons("e11", few, problem="e11", options={"kind": kind}, samples=[0.0])
            for kind in ("detached", "rotation")
        },
        "control_one_sample": polygons("e1", few, problem="e1", options={}, samples=[1.0]),
    }


def critical(name: str, columns: Columns) -> np.ndarray:
    """Where the end of a run of experiment `name` has m_RADIUS = 0: bool [n]."""
    kind, _, option = name.removeprefix("end_").partition("_")
    options = {"e1": {}, "e8": {"law": option}, "control": {"kind": "rotation"}}[kind]
    problem = CLOSED_FORMS["e11" if kind == "control" else kind](**options)
    w = np.stack([columns[f"w{i}"] for i in range(problem.size)], 1)
    return problem.stationarity(torch.from_numpy(w), RADIUS).numpy() == 0


def parts(protocol: Protocol, results: Results) -> list[Part]:
    ends = {n: critical(n, c) for n, c in results.items() if n.startswith("end_")}
    control = ends.pop("end_control")
    missed, n = sum(int((~one).sum()) for one in ends.values()), sum(len(one) for one in ends.values())

    def missing(own: np.ndarray) -> Proportion:
        return of_runs(~own)

    def obeying(*names: str) -> Proportion:
        defects = np.concatenate([results[name]["defect"] for name in names])
        return of_runs(defects <= TOLERANCE)

    chains = [name for name in results if name.startswith("chain_")]
    return [
        Part(
            "Whatever formal calculus makes the gradients, the heavy ball ends at Clarke points from random starts.",
            "paper C-d, D4",
            never(what="with m_0.25(w_K) > 0"),
            Proportion(missed, n),
            (
                Control("E1 started at the artificial point", missing(critical("end_e1_relu", results["stuck"]))),
                Control("an oracle that is no derivative (E11 rotation)", missing(control), "E11"),
            ),
            of=tuple(ends),
            note=f"{len(ends)} oracles: implicit differentiation and {len(FORMS)} programs for one ReLU.",
        ),
        Part(
            "Off the kinks each of these oracles is the gradient: the chain rule holds along random polygons.",
            "paper C-b, C-d",
            always(f"with a defect of at most {TOLERANCE:g}", MOST),
            obeying(*chains),
            (
                Control("E1, the gradient of one sample for the mean", obeying("control_one_sample")),
                *(Control(f"E11 {kind}", obeying(f"control_{kind}"), "E11") for kind in ("detached", "rotation")),
            ),
            note=f"Largest defect {max(float(results[name]['defect'].max()) for name in chains):.1g}. Random polygons "
            "cross kinks at single points and cannot see what is returned there: CL56c.",
            of=tuple(chains),
        ),
    ]


CLAIM = Claim(
    "CL31",
    "artificial",
    "Formal oracles: implicit differentiation and equal programs.",
    "paper C-d",
    experiments,
    parts,
)
