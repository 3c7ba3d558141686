"""CL47: an artificial critical point inside a trained network: an adapter that backpropagation never trains.

A perceptron m(x) with one hidden layer gets an antisymmetric CReLU adapter (shb/models/adapter.py)

    x -> m(x) + V (relu(U x) - relu(-U x)) = m(x) + V U x,    U = 0 at the start, V random

For a sample with output gradient d, backpropagation at U = 0 gives 2 t V^T d x^T for U and d 0^T for V. With
t = ReLU'(0) = 0 both are exactly 0, hence so is every update of SGD, SHB and Adam (0 / (0 + eps)), and m is trained as
if alone, to the last bit. F is smooth in U, with gradient E V^T d x^T, which is continuous in all parameters: it is the
U-block of every Clarke subgradient, so dist(0, dF(w)) >= |V^T E d x^T|. Where m is trained to a critical point of its
own, w is an artificial critical point: E3 inside a network. That lower bound of the distance is measured, as the
gradient of U that backpropagation gives 1e-12 away from U = 0, over all training data.

    t = 1/2, or max(x, 0) written with maximum   2 t = 1: the true gradient, the adapter is trained
    U ~ 1e-12                                    U x != 0, where backpropagation is right: after one update U is that of
                                                 t = 1/2 to 1e-12, and so is what follows
    V = 0                                        the true gradient is 0 as well (a saddle): it is not trained for any t

Predictions: U and V at rest in every run (more than 95 % of them, the bound that 200 runs can give); the same losses
and accuracies as without the adapter, exactly; a margin of accuracy, at most half of the gain of a pilot on other seeds
(10,000 and above: 0.26 to 0.32 on digits); TOST within 0.3 points; |V^T E d x^T| > 0.1, the threshold of CL44.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bench.claims.precision.held_out  # noqa: F401  registers its observer
from bench.claims.artificial.comparable import ARTIFICIAL
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.observers import observer
from bench.claims.prediction import inside, tost
from bench.claims.sampling.monitors import PIECE, mean_gradient, members, training_data
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.share import always
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import PairedMean, Proportion
from bench.statistics.inference import Region
from shb.problems import LearningProblem, Params
from shb.training import Plan, StackStep

MOST = 0.95  # share of runs that "every run" means with 200 of them
SAME = 0.003  # accuracies that differ by less are equal
NUDGE = 1e-12  # size of U at which backpropagation is right, as in the arm "tiny"
OPTIMIZERS = ("sgd", "shb", "adam")
HALF = {"relu_derivative": 0.5}
ARMS: Mapping[str, Mapping[str, Any]] = {  # name -> what differs from the trap
    "trap": {},
    "tiny": {"model.start": 1e-12},
    "half": HALF,
    "maximum": {"model.form": "maximum"},
    "random": {"model.start": 0.05},
    "silent": {"model.gain": 0, **HALF},
}
EVERYWHERE = ("plain", "trap", "tiny")  # arms that run under all optimizers, the others under SHB
CONTROLS = ("maximum", "silent")  # arms of fewer seeds, the first ones
GRADIENTS = ("trap", "silent")  # arms at whose ends the gradient of U is measured
CURVES = ("trap", "plain", "tiny", "half")  # arms whose training loss is drawn


@observer("adapter")
class AtRest:
    """Whether the adapter moves, and with `nudge` its gradients at the end. Columns [n]:

    rests     1 if no update changed U or V, bit for bit
    backward  |v| of the U-block: backpropagation of the mean loss over all training samples, float64
    gradient  the same where U is moved by a random matrix of the size `nudge`: |V^T E d x^T|, for every ReLU'(0)
    """

    def __init__(self, problem: LearningProblem, plan: Plan, nudge: float | None = None) -> None:
        self.nudge = nudge
        if nudge is not None:
            x, y = (part.double() for part in training_data(problem, problem.train_size))
            self.pieces = list(zip(x.split(PIECE), y.split(PIECE)))
            self.oracle = torch.func.grad(problem.loss)

    def start(self, params: Params) -> None:
        self.first = {name: params[name].clone() for name in ("up", "down")}
        self.rests = torch.ones(len(params["up"]), dtype=torch.bool)

    def __call__(self, step: StackStep) -> None:
        for name, first in self.first.items():
            self.rests &= (step.new_params[name] == first).flatten(1).all(1).cpu()
        self.last = step.new_params

    def columns(self) -> dict[str, Tensor]:
        if self.nudge is None:
            return {"rests": self.rests}
        found = [self._at_end(one) for one in members({n: p.double() for n, p in self.last.items()})]
        backward, gradient = torch.tensor(found, dtype=torch.float64).T
        return {"rests": self.rests, "backward": backward, "gradient": gradient}

    def _at_end(self, params: Params) -> tuple[float, float]:
        direction = torch.randn(params["down"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        near = params["down"] + self.nudge * direction.to(params["down"].device)
        each = ({**params, "down": down} for down in (params["down"], near))
        backward, gradient = (float(mean_gradient(self.oracle, self.pieces, one)["down"].norm()) for one in each)
        return backward, gradient


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    present = networks(protocol)
    if not present:
        return {}
    ((name, network),) = present.items()

    def run(arm: str, optimizer: str, seeds: int, observe: dict) -> Experiment:
        model = {"model": "mlp"} if arm == "plain" else {"model": "adapter", **ARMS[arm]}
        momentum = {"optimizer.momentum": 0.9} if optimizer == "shb" else {}
        return trajectories(
            {"problem": "learning", "dtype": "float32", "init": "module", **model},
            *network,
            {"optimizer": optimizer, "optimizer.lr": protocol["lr"][optimizer], **momentum},
            {"schedule": "power", "steps": protocol["steps"]},
            seeds=seeds,
            chunk=protocol["chunk"],
            observe=observe,
            device=protocol.device,
            seconds=seeds * protocol["steps"] * protocol["seconds"],
        )

    planned = {}
    for arm in ("plain", *ARMS):
        observe = {"held_out": {}} | ({} if arm == "plain" else {"adapter": {}})
        if arm in GRADIENTS:
            observe["adapter"] = {"nudge": NUDGE}
        seeds = protocol["control_seeds" if arm in CONTROLS else "seeds"]
        for optimizer in OPTIMIZERS if arm in EVERYWHERE else ("shb",):
            planned[f"{name} {arm} {optimizer}"] = run(arm, optimizer, seeds, observe)
    for arm in CURVES:
        at = curve_steps(protocol)
        planned[f"{name} curve {arm}"] = run(arm, "shb", protocol["curve_seeds"], {"objective": {"at": at}})
    return planned


def curve_steps(protocol: Protocol) -> list[int]:
    """Steps at which the curves of the figure are measured."""
    return sorted({protocol["steps"] * i // 20 for i in range(21)})


def equal(one: Columns, other: Columns) -> np.ndarray:
    """Of the seeds of `one`, those whose training loss and accuracies are the same to the last bit: bool [n]."""
    names = ("objective", "accuracy", "test_accuracy")
    return _all(one[name] == other[name][: len(one[name])] for name in names)


def _all(columns: Iterable[np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce(list(columns))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    (name,) = protocol["networks"]
    scope = out_of_scope(protocol, results)
    if scope is not None:
        return [CLAIM.out_of_scope(scope)]
    runs = {key.removeprefix(f"{name} "): columns for key, columns in results.items()}
    under = {arm: {o: runs[f"{arm} {o}"] for o in OPTIMIZERS} for arm in EVERYWHERE}
    trap, tiny, half = (runs[f"{arm} shb"] for arm in ("trap", "tiny", "half"))
    n, source = protocol["seeds"], "paper C-e, E3"
    freed = {"ReLU'(0) = 1/2": half, "max(x, 0) written with maximum": runs["maximum shb"]}

    def seeds(hits: np.ndarray) -> Proportion:
        return Proportion(int(hits.sum()), len(hits))

    def share(columns: Columns) -> Proportion:
        return seeds(columns["rests"] == 1)

    def names(arm: str) -> tuple[str, ...]:
        return tuple(f"{name} {arm} {optimizer}" for optimizer in OPTIMIZERS)

    def gain(one: Columns, other: Columns) -> PairedMean:
        return PairedMean(one["test_accuracy"], other["test_accuracy"][: len(one["test_accuracy"])])

    def artificial(columns: Columns) -> np.ndarray:
        return columns["gradient"] > ARTIFICIAL

    gains = {o: gain(under["tiny"][o], under["trap"][o]) for o in OPTIMIZERS}
    least = np.min([under["tiny"][o]["test_accuracy"] - under["trap"][o]["test_accuracy"] for o in OPTIMIZERS], 0)
    backward = max(float(one["backward"].max()) for one in under["trap"].values())
    far = {o: one["gradient"] for o, one in under["trap"].items()}
    accuracy = {arm: runs[f"{arm} shb"]["test_accuracy"].mean() for arm in ("trap", "tiny")}
    return [
        Part(
            "An adapter V (relu(Ux) - relu(-Ux)) that starts at U = 0 is never trained by SGD, SHB or Adam.",
            source,
            always(what="with U and V at rest", least=MOST),
            seeds(_all(one["rests"] == 1 for one in under["trap"].values())),
            (
                *(Control(what, share(columns)) for what, columns in freed.items()),
                Control("U ~ N(0, 0.05^2)", share(runs["random shb"])),
            ),
            note="A seed counts if U and V keep every bit under all three optimizers.",
            of=names("trap"),
        ),
        Part(
            "The network is trained as if the adapter were not there.",
            source,
            always(what="with equal training loss, training and test accuracy, to the last bit,", least=MOST),
            seeds(_all(equal(under["trap"][o], under["plain"][o]) for o in OPTIMIZERS)),
            tuple(Control(what, seeds(equal(columns, under["plain"]["shb"]))) for what, columns in freed.items()),
            note="A seed counts if all three optimizers give equal numbers.",
            of=(*names("trap"), *names("plain")),
        ),
        Part(
            "Started at U ~ 1e-12 instead, the adapter is trained, and the network predicts better.",
            source,
            inside(
                f"test accuracy higher by at least {protocol['margin']:g}, under the worst optimizer of each seed",
                Region(protocol["margin"], 1.0),
                "accuracy",
            ),
            PairedMean(least, np.zeros(n)),
            (Control("V = 0 (ReLU'(0) = 1/2), where the true gradient is 0 too", gain(runs["silent shb"], trap)),),
            note=f"SHB: {accuracy['trap']:.3f} from U = 0, {accuracy['tiny']:.3f} from U ~ 1e-12; gain "
            + ", ".join(f"{o} {one.value:.3f}" for o, one in gains.items()),
            of=(*names("trap"), *names("tiny")),
        ),
        Part(
            "That start is worth what the right derivative at 0 is worth: ReLU'(0) = 1/2 from U = 0.",
            "this project (derivation in artificial/adapter.py)",
            tost(f"test accuracies equal within {SAME:g} (SHB)", Region(-SAME, SAME), "accuracy"),
            gain(tiny, half),
            (Control("U = 0 with ReLU'(0) = 0", gain(trap, half)),),
            of=(f"{name} tiny shb", f"{name} half shb"),
        ),
        Part(
            "The runs that never train the adapter end far from Clarke critical, in U alone.",
            "this project (derivation in artificial/adapter.py)",
            always(what=f"with dist(0, dF) >= |V^T E d x^T| > {ARTIFICIAL:g}", least=MOST),
            seeds(_all(artificial(one) for one in under["trap"].values())),
            (Control("V = 0", seeds(artificial(runs["silent shb"]))),),
            of=names("trap"),
            note=f"backpropagated gradient of U there {backward:.2g}; mean |V^T E d x^T| "
            + ", ".join(f"{o} {one.mean():.2f} (least {one.min():.2f})" for o, one in far.items()),
        ),
    ]


CLAIM = Claim(
    "CL47",
    "artificial",
    "A trained network can rest at an artificial critical point: a branch that starts at 0 is never trained.",
    "paper C-e, E3",
    experiments,
    parts,
)
