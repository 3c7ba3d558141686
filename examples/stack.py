"""Forty networks in one program: what does a good step size of SGD become under momentum?

python examples/stack.py [figure.png]

Ten seeds for each of four momentums b, with the step size a (1 - b), train together as one stack. In runs much longer
than 1 / (1 - b) they should behave alike (docs/theory.md, section 1); for b = 0.99 this one is too short. A member is a
seed and its numbers, and on a CPU it has, bit for bit, the trajectory that it would have alone. Only `shb` is used: no
configuration, no store. It takes seconds where a C++ compiler is found (once, 20 s more), else half a minute.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from shb.datasets import load_dataset
from shb.models import mlp
from shb.optimizers import get_optimizer
from shb.problems import LearningProblem
from shb.training import Member, Plan, Stack, Trajectory, why_not

MOMENTUMS = (0.0, 0.5, 0.9, 0.99)
PATH = "outputs/stack.png"


def train(seeds: int, steps: int, step_size: float) -> list[Trajectory]:
    """The trajectories of all members, momentum by momentum, `seeds` of each."""
    problem = LearningProblem(partial(mlp, hidden=[32]), load_dataset("digits"), batch_size=32)
    numbers = [{"lr": step_size * (1 - momentum), "momentum": momentum} for momentum in MOMENTUMS]
    members = [Member(seed, hyperparameters) for hyperparameters in numbers for seed in range(seeds)]
    plan = Plan.with_evaluations(steps, 20)
    engine = "compiled" if why_not() is None else "eager"
    return Stack(problem, get_optimizer("shb"), members, plan, engine=engine).run()


def plot(trajectories: Sequence[Trajectory], path: Path) -> None:
    """Median and quartiles of the validation loss over seeds, one line for each momentum."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for momentum in MOMENTUMS:
        curves = [t.curve for t in trajectories if t.member.hyperparameters["momentum"] == momentum]
        losses = np.array([curve["val_loss"] for curve in curves], dtype=float)  # [seeds, evaluations]
        low, median, high = np.nanquantile(losses, (0.25, 0.5, 0.75), axis=0)
        steps = np.array(curves[0]["step"], dtype=float)
        axes.plot(steps, median, label=f"b = {momentum:g}")
        axes.fill_between(steps, low, high, alpha=0.2)
    axes.set(xlabel="step", ylabel="validation loss (median, quartiles)", yscale="log", title="SHB, lr = a (1 - b)")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(path: str = PATH, seeds: int = 10, steps: int = 500, step_size: float = 0.2) -> None:
    """Train, draw and print the medians of the test accuracy."""
    trajectories = train(seeds, steps, step_size)
    plot(trajectories, Path(path))
    for momentum in MOMENTUMS:
        ended = [t for t in trajectories if t.member.hyperparameters["momentum"] == momentum and t.status == "done"]
        accuracy = np.median([t.metrics["test_accuracy"] for t in ended]) if ended else np.nan
        print(f"b = {momentum:<4g} {len(ended)} of {seeds} seeds, median test accuracy {accuracy:.3f}")
    print(f"written: {path}")


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else PATH)
