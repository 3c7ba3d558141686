"""The measure "trajectories": an ensemble of members, described in the words of `python -m bench.run`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.cell.cell import CLOSED_FORM_STEPS, NUMERICS, Cell, build_cell
from bench.cell.config import compose_config
from bench.claims.experiment import CHUNK, Columns, Experiment, measure
from bench.claims.observers import OBSERVERS, objective
from shb.errors import choose
from shb.problems import Params, Problem
from shb.problems.closed_forms import ClosedForm
from shb.streams import BLOCK
from shb.training import Member, Stack, StackStep

CLOSED_FORM_COORDINATES = 8  # of w that are stored


def overrides_of(*settings: Mapping[str, Any] | str) -> list[str]:
    """Settings in the words of `python -m bench.run`: {"problem": "e1", "optimizer.lr": 0.1} -> ["problem=e1", ...].

    Numbers are written as `str` writes them, so that the identity of an ensemble does not depend on who wrote it.
    """
    texts = []
    for one in settings:
        texts += [one] if isinstance(one, str) else [f"{name}={_text(value)}" for name, value in one.items()]
    return texts


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value)


def trajectories(
    *settings: Mapping[str, Any] | str,
    seeds: int,
    first_seed: int = 0,
    observe: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
    chunk: int | None = None,
    seconds: float | None = None,
) -> Experiment:
    """Members of one cell: `trajectories({"problem": "e1", "optimizer": "sgd", "optimizer.lr": 0.1}, seeds=50)`.

    Args:
        settings: as for `python -m bench.run`, one value each; dtype is float64 and engine eager unless given. Several
            mappings are joined; a text is one override, as in conf/claim.
        observe: name in OBSERVERS -> its options.
        chunk: members of one stack, which is also the unit of storing (default: 16,384; for networks give a few).
        seconds: expected time of all seeds, for the time left (default: a guess for closed forms).

    The result has the columns of the end (`_end`) and those of the observers, one row per seed.
    """
    overrides = overrides_of(*settings)
    spec = {"overrides": sorted(overrides), "observe": dict(observe or {}), "device": device}
    if "engine=compiled" in overrides:  # its bits change with our kernels; those of eager steps are torch's
        spec["numerics"] = NUMERICS["compiled"]
    chunk = chunk or CHUNK
    if seconds is None:
        steps = next((int(o.removeprefix("steps=")) for o in overrides if o.startswith("steps=")), CLOSED_FORM_STEPS)
        seconds = steps * (3e-4 * math.ceil(seeds / chunk) + 5e-8 * seeds)
    return Experiment("trajectories", spec, seeds, first_seed, chunk, seconds)


@functools.lru_cache(maxsize=64)
def cell_of(overrides: tuple[str, ...], device: str) -> Cell:
    """The cell of one member, eager in float64 unless something else is given."""
    return build_cell(compose_config(["dtype=float64", "engine=eager", *overrides, f"device={device}", "seeds=1"]))


@measure("trajectories")
def run(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Advance the members of `seeds` together; see `trajectories`."""
    cell = cell_of(tuple(settings["overrides"]), settings["device"])
    (member,) = cell.members
    members = [Member(int(seed), member.hyperparameters) for seed in seeds]
    stack = Stack(cell.problem(), cell.optimizer, members, cell.plan, engine=cell.engine)
    return {name: values[: len(seeds)].cpu().numpy() for name, values in advance(stack, settings["observe"]).items()}


def advance(stack: Stack, observe: Mapping[str, Mapping[str, Any]], state: dict | None = None) -> dict[str, Tensor]:
    """Run a stack to its end under observers: columns [width, ...]. `state`: at k = 0, of another stack."""
    observers = [
        OBSERVERS[choose("observer", n, OBSERVERS)](stack.problem, stack.plan, **o) for n, o in observe.items()
    ]
    state = stack.start() if state is None else state
    end = _End(stack.problem, state["params"], stack.engine)
    for one in observers:
        one.engine = stack.engine
        one.start(state["params"])

    def see(step: StackStep) -> None:
        end(step)
        for one in observers:
            one(step)

    with torch.no_grad():
        for start in range(0, stack.plan.steps, BLOCK):
            stack.advance(state, start, min(start + BLOCK, stack.plan.steps), see)
        columns = end.columns(state)
        for one in observers:
            columns |= one.columns()
    return columns


class _End:
    """The last iterate of every member. Columns: objective, diverged (0 or 1), sup_norm = max_k |w_k|, and

    closed forms: w0, w1, ... (at most 8), clarke_distance, artificial_distance, touched, trapped, first_touch (the
    smallest k with w_k in the trapping set, -1 if none), speed = |w_K - w_{K-1}|; networks: accuracy.
    """

    def __init__(self, problem: Problem, params: Params, engine: str) -> None:
        self.problem, self.engine = problem, engine
        self.square = _square(params)
        inside = problem.in_trap(params) if isinstance(problem, ClosedForm) else None
        self.first = None if inside is None else torch.where(inside, 0, -1)

    def __call__(self, step: StackStep) -> None:
        self.square = torch.maximum(self.square, _square(step.new_params))
        if self.first is not None:
            newly = self.problem.in_trap(step.new_params) & (self.first < 0)
            self.first = torch.where(newly, step.k + 1, self.first)
        self.last = step

    def columns(self, state: dict) -> dict[str, Tensor]:
        params, problem = state["params"], self.problem
        columns = {
            **objective(problem, params, self.engine),
            "diverged": ~state["alive"],
            "sup_norm": self.square.sqrt(),
        }
        if isinstance(problem, ClosedForm):
            w = params["w"].double()
            columns |= {f"w{i}": w[:, i] for i in range(min(problem.size, CLOSED_FORM_COORDINATES))}
            columns["clarke_distance"] = problem.clarke_distance(w)
            columns["speed"] = (w - self.last.params["w"].double()).norm(dim=1)
            if self.first is not None:
                columns["artificial_distance"] = problem.artificial_distance(w)
                columns |= {"touched": state["touched"], "trapped": state["trapped"], "first_touch": self.first}
        return columns


def _square(params: Params) -> Tensor:
    """|w|^2 of every member, float64 [n]."""
    return sum((p.double() ** 2).flatten(1).sum(1) for p in params.values())
