"""The measure "tuned": a cell at the step size that is best on seeds of its own, chosen before any other is run."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.trajectories import advance, cell_of, overrides_of, trajectories
from shb.training import Member, Stack


def tuned(
    *settings: Mapping[str, Any] | str,
    lrs: Sequence[float],
    tuning_seeds: int,
    first_tuning_seed: int,
    scale: float = 1.0,
    **fields: Any,
) -> Experiment:
    """As `trajectories`, without an optimizer.lr: it is `scale` times the best of `lrs`.

    The best has the smallest mean of the final training loss over the tuning seeds (a diverged run counts as infinite).
    Columns: those of `trajectories`, and lr, tuning_loss (the same for all seeds).
    """
    inner = trajectories(*settings, **fields)
    search = {"lrs": list(lrs), "seeds": [first_tuning_seed, first_tuning_seed + tuning_seeds], "scale": scale}
    share = 1 + len(lrs) * tuning_seeds / inner.seeds
    return Experiment(
        "tuned",
        {**inner.settings, "tuning": search},
        inner.seeds,
        inner.first_seed,
        inner.chunk,
        inner.seconds * share,
    )


@measure("tuned")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """See `tuned`."""
    overrides, search = tuple(settings["overrides"]), settings["tuning"]
    lr, loss = best(overrides, tuple(search["lrs"]), tuple(search["seeds"]), settings["device"])
    cell = cell_of(tuple(overrides_of(*overrides, {"optimizer.lr": lr * search["scale"]})), settings["device"])
    (member,) = cell.members
    members = [Member(int(seed), member.hyperparameters) for seed in seeds]
    stack = Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine)
    columns = {name: values[: len(seeds)].cpu().numpy() for name, values in advance(stack, settings["observe"]).items()}
    return {**columns, "lr": np.full(len(seeds), lr * search["scale"]), "tuning_loss": np.full(len(seeds), loss)}


@functools.lru_cache(maxsize=64)
def best(
    overrides: tuple[str, ...], lrs: tuple[float, ...], seeds: tuple[int, int], device: str
) -> tuple[float, float]:
    """The best step size and its mean loss over the seeds [first, last); all trials are one stack."""
    cell = cell_of(tuple(overrides_of(*overrides, {"optimizer.lr": 1.0})), device)
    (member,) = cell.members
    members = [Member(seed, {**member.hyperparameters, "lr": lr}) for lr in lrs for seed in range(*seeds)]
    columns = advance(Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine), {})
    loss = columns["objective"][: len(members)].double().cpu().numpy()
    loss = np.where(columns["diverged"][: len(members)].cpu().numpy() | ~np.isfinite(loss), np.inf, loss)
    means = loss.reshape(len(lrs), -1).mean(axis=1)
    return lrs[int(means.argmin())], float(means.min())
