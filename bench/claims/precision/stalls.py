"""CL58: weights of 16 bits stall at a step that float32 trains with, from nearly every start.

An update is lost where it is less than half a distance between neighbouring numbers (`rounding_stall`, theory.md
section 6). A network whose parameters stay is at rest at a point where its gradient is not small: what the trap of
E1 is on a null set of starts, rounding is for nearly all of them. The distance to critical is exact: where no input of
a ReLU is 0 on the training data, dF(w) is {grad F(w)}; a network with such an input does not count.

First version: 99 % of the parameters stay for 50 updates below lr* = median of ulp(w) / (2 |g| / (1 - beta)), and the
heavy ball's threshold is 1 / (1 - beta) times lower. Both are refuted (a, d). A median says nothing about 99 %: |g|
varies by orders of magnitude, and w near 0 has a small ulp. And gradients of mini-batches have not one sign, so what
the heavy ball adds up is less than 1 / (1 - beta) of them. Corrected: the quantile of order 0.01, of the largest of the
updates of 50 mini-batches, for the sums of the heavy ball (b, c, e). The mini-batches are others than those of the run,
so that the step is known before it. (A second version took those of the run, and nine tenths of the step. From others
it is right on average, e, and 99 % stayed at nine tenths of it in 161 of 200 networks with SGD, 177 with SHB, at half
of it in all 200: a pilot on seeds from 10,000, which chose one half, the steps of e, network and batch size.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.artificial.comparable import ARTIFICIAL
from bench.claims.claim import Claim, Control, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment
from bench.claims.precision.rounding_stall import SHARE, stalled
from bench.claims.prediction import inside
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.share import always
from bench.claims.trajectories import overrides_of
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region

BELOW, ABOVE = 0.5, 10.0  # of a step
MOST = 0.95  # share of the networks that "every" means with 200 of them
BETA, LITTLE = 0.9, 0.5  # momentum, and that of a control
GRID = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4)  # steps among which a threshold is measured, in
# units of the law
LAW = Region(0.9, 1.1)
REACH = Region(0.8 / (1 - BETA), 1.25 / (1 - BETA))  # of the first version, SGD's threshold over the heavy ball's


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    present = networks(protocol)
    if not present:
        return {}
    ((name, network),) = present.items()

    def run(
        at: str, *factors: float, seeds: str = "seeds", dtype: str = "bfloat16", beta: float = 0.0,
        momentum: float | None = None, gradient: bool = False,
    ) -> Experiment:  # fmt: skip
        """SGD, or the heavy ball with `beta`, at steps of a heavy ball with `momentum` (default: its own)."""
        rule = {"optimizer": "shb", "optimizer.momentum": beta} if beta else {"optimizer": "sgd"}
        size = {"batch_size": protocol["batch"], "steps": protocol["steps"], "dtype": dtype}
        return stalled(
            overrides_of({"problem": "learning", **rule, "optimizer.lr": 1, **size}, *network), at, factors,
            beta if momentum is None else momentum, protocol[seeds], protocol["chunk"],
            gradient=gradient, device=protocol.device, seconds=protocol["seconds"] * protocol["steps"],
        )  # fmt: skip

    planned = {
        "median": run("median", BELOW, seeds="grids"),
        "median float32": run("median", BELOW, seeds="grids", dtype="float32"),
        "sgd": run("hundredth", BELOW, gradient=True),
        "sgd float32": run("hundredth", BELOW, seeds="grids", dtype="float32"),
        "sgd above": run("hundredth", ABOVE, seeds="grids"),
        "shb": run("hundredth", BELOW, beta=BETA, gradient=True),
        "shb float32": run("hundredth", BELOW, seeds="grids", beta=BETA, dtype="float32"),
        "shb at sgd": run("hundredth", BELOW, seeds="grids", beta=BETA, momentum=0.0),
        "sgd grid": run("hundredth", *GRID, seeds="grids"),
        "shb grid": run("hundredth", *GRID, seeds="grids", beta=BETA),
        "shb float32 grid": run("hundredth", *GRID, seeds="grids", beta=BETA, dtype="float32"),
        "little grid": run("hundredth", *GRID, seeds="grids", beta=LITTLE),
    }
    return {f"{name} {key}": one for key, one in planned.items()}


def at_rest(columns: Columns) -> np.ndarray:
    """Whether at most SHARE of the parameters with a gradient moved: bool [n], of the first step of each network."""
    return columns["moved"][:, 0] <= SHARE


def artificial(columns: Columns) -> np.ndarray:
    """Those of them that are far from critical: without kinks the gradient of F is its only subgradient."""
    return at_rest(columns) & (columns["kinks"][:, 0] == 0) & (columns["full_gradient"][:, 0] > ARTIFICIAL)


def threshold(columns: Columns) -> np.ndarray:
    """The largest step of the grid up to which at most SHARE of the parameters move, in units of the law: [n].

    0 where more move at the smallest.
    """
    kept = np.logical_and.accumulate(columns["moved"] <= SHARE, axis=1)
    return np.where(kept.any(1), np.array(GRID)[kept.sum(1) - 1], 0.0)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = out_of_scope(protocol, results)
    if scope is not None:
        return [CLAIM.out_of_scope(scope)]
    (name,) = protocol["networks"]
    runs = {key.removeprefix(f"{name} "): columns for key, columns in results.items()}
    derived, first = "theory.md section 6 (derived)", "first version (this project)"
    stays = f"with at least {1 - SHARE:.0%} of the parameters at rest for {protocol['steps']} updates"

    def share(hits: np.ndarray) -> Proportion:
        return Proportion(int(hits.sum()), len(hits))

    def stall(title: str, key: str, controls: dict[str, str]) -> Part:
        one = runs[key]
        return Part(
            title,
            derived,
            always(f"{stays} and dist(0, dF) > {ARTIFICIAL:g}", MOST),
            share(artificial(one)),
            tuple(Control(words, share(at_rest(runs[other]))) for other, words in controls.items()),  # more than those
            note=f"lr = {BELOW * one['hundredth'].mean():.1e}: {one['moved'].mean():.2%} of the parameters move, "
            f"|grad F| is at least {one['full_gradient'].min():.2f}; networks at a kink: "
            f"{int((one['kinks'] > 0).sum())}.",
            of=(f"{name} {key}",),
        )

    grids = {key: threshold(runs[f"{key} grid"]) for key in ("sgd", "shb", "shb float32", "little")}
    steps = {key: grids[key] * runs[f"{key} grid"]["hundredth"] for key in ("sgd", "shb", "little")}
    predicted = runs["sgd grid"]["hundredth"] / runs["shb grid"]["hundredth"]
    median = runs["median"]
    return [
        Part(
            "Below the median of ulp(w) / (2 |g|) bfloat16 weights do not move (first version).",
            first,
            always(stays, MOST),
            share(at_rest(median)),
            (Control("float32 weights", share(at_rest(runs["median float32"]))),),
            note=f"At half of lr* = {median['median'].mean():.2g} {median['moved'].mean():.0%} of the parameters move.",
            status=Status.SUPERSEDED,
            of=(f"{name} median",),
        ),
        stall(
            "At half the hundredth of the thresholds of other mini-batches SGD with bfloat16 weights is at rest, far "
            "from critical.",
            "sgd",
            {"sgd float32": "float32 weights", "sgd above": f"{ABOVE / BELOW:.0f} times the step"},
        ),
        stall(
            "So is the heavy ball at half the threshold of the sums of its gradients, and not at half that of SGD.",
            "shb",
            {"shb float32": "float32 weights", "shb at sgd": "the step of SGD"},
        ),
        Part(
            "The heavy ball's threshold is 1 / (1 - beta) times lower than that of SGD (first version).",
            first,
            inside(f"measured threshold of SGD / of SHB in {REACH}, beta = {BETA:g}", REACH, "ratio"),
            Mean(steps["sgd"] / steps["shb"]),
            (Control(f"beta = {LITTLE:g}", Mean(steps["sgd"] / steps["little"])),),
            note=f"Predicted by the sums of the gradients: {predicted.mean():.2f}.",
            status=Status.SUPERSEDED,
            of=(f"{name} sgd grid", f"{name} shb grid"),
        ),
        Part(
            "On average the heavy ball's threshold is that of the sums of gradients of other mini-batches.",
            derived,
            inside(f"measured / predicted threshold in {LAW}", LAW, "ratio"),
            Mean(grids["shb"]),
            (Control("float32 weights (0: more move at every step)", Mean(grids["shb float32"])),),
            note=f"SGD: {grids['sgd'].mean():.3f}.",
            of=(f"{name} shb grid",),
        ),
    ]


CLAIM = Claim(
    "CL58",
    "precision",
    "bfloat16 weights stall at half of a step that other mini-batches tell beforehand, from nearly every start.",
    "theory.md section 6 (derived)",
    experiments,
    parts,
)
