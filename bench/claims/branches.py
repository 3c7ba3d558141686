"""The measure "branches": a network's run from which several runs go on, each under something else.

All branches start where the trunk ends, with its iterate and its velocity, so that their differences are due to what
was changed and not to where the run had come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.cell.cell import NUMERICS
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.gradient_noise import gradient_noise
from bench.claims.observers import objective
from bench.claims.trajectories import cell_of, overrides_of
from shb.streams import BLOCK
from shb.training import Member, Stack
from shb.training.state import mapped

OTHER_SAMPLES = 2**32  # added to a seed whose samples must be others


@dataclass(frozen=True)
class Phase:
    """`steps` updates of a branch.

    Attributes:
        steps: number of updates.
        settings: what differs from the trunk.
        other_samples: whether samples come from another stream than the trunk's and the other branches'.
    """

    steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    other_samples: bool = False


def branches(
    *settings: Mapping[str, Any] | str,
    steps: int,
    before: Sequence[int] = (),
    then: Mapping[str, Sequence[Phase]],
    at: Sequence[int],
    noise: Mapping[str, Any],
    seeds: int,
    first_seed: int = 0,
    chunk: int,
    device: str = "cpu",
    seconds: float = 1.0,
) -> Experiment:
    """Networks trained for `steps` updates under `settings`, and from there along the branches `then`.

    Args:
        settings: as for `trajectories`.
        steps: updates of the trunk.
        before: how many updates before the end of the trunk F is measured there, the longest first.
        then: name of the branch -> its phases, one after the other.
        at: updates since the start of the last phase of a branch at which F is measured (0: its start), increasing.
        noise: options of `gradient_noise`, which is measured where the trunk ends.
        seeds, first_seed, chunk, device, seconds: as for `trajectories`.

    Columns: "before", and of each branch under its name, F (the loss on all training data) [n, points]; those of
    `gradient_noise`; diverged (0 or 1, in any branch) [n].
    """
    overrides = overrides_of(*settings)
    phases = {
        name: [[phase.steps, overrides_of(phase.settings), phase.other_samples] for phase in branch]
        for name, branch in then.items()
    }
    spec = {"overrides": sorted(overrides), "steps": steps, "before": list(before), "branches": phases}
    spec |= {"at": list(at), "noise": dict(noise), "device": device}
    if "engine=compiled" in overrides:
        spec["numerics"] = NUMERICS["compiled"]
    return Experiment("branches", spec, seeds, first_seed, chunk, seconds)


@measure("branches")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """See `branches`."""
    steps, before = settings["steps"], settings["before"]
    trunk = _stack(settings, seeds, steps)
    state, values = _advanced(trunk, trunk.start(), 0, [steps - early for early in before] if before else [], steps)
    columns = {"before": values[:, : len(seeds)].T} if before else {}
    params = {name: p[: len(seeds)] for name, p in state["params"].items()}
    columns |= gradient_noise(trunk.problem, params, seeds, **settings["noise"])
    alive = state["alive"].clone()
    for name, phases in settings["branches"].items():
        now, start = {**state}, steps
        for place, (length, changes, other) in enumerate(phases, 1):
            stack = _stack(settings, seeds + OTHER_SAMPLES * other, start + length, changes)
            at = [start + one for one in settings["at"]] if place == len(phases) else []
            now, values = _advanced(stack, now, start, at, start + length)
            start += length
        columns[name] = values[:, : len(seeds)].T
        alive &= now["alive"]
    return {**columns, "diverged": (~alive[: len(seeds)]).cpu().numpy()}


def _stack(settings: Mapping[str, Any], seeds: np.ndarray, stop: int, changes: Sequence[str] = ()) -> Stack:
    names = {change.partition("=")[0] for change in changes}
    kept = [one for one in settings["overrides"] if one.partition("=")[0] not in names]
    cell = cell_of((*kept, *changes, f"steps={stop}"), settings["device"])
    members = [Member(int(seed), cell.members[0].hyperparameters) for seed in seeds]
    return Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine)


def _advanced(stack: Stack, state: dict, start: int, at: Sequence[int], stop: int) -> tuple[dict, np.ndarray]:
    """The state after the steps `start` .. `stop` - 1, and F of every member at the steps `at`: [len(at), width]."""
    state, values = mapped(Tensor.clone, state), []
    with torch.no_grad():
        for end in [*at, stop]:
            while start < end:
                until = min(end, (start // BLOCK + 1) * BLOCK)
                stack.advance(state, start, until)
                start = until
            if len(values) < len(at):
                values.append(objective(stack.problem, state["params"], stack.engine)["objective"].cpu().numpy())
    return state, np.array(values)
