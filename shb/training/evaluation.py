"""Evaluating the members of a stack: rows of their curves along the run, trajectories at its end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shb.problems import Problem
from shb.training.gradient import metrics_program, shared
from shb.training.member import Member, Trajectory
from shb.training.state import freeze, held, select


def evaluate(problem: Problem, engine: str, slices: Sequence[slice], state: dict, k: int, full: bool) -> None:
    """Append a row to every column of the curve of `state`; columns not evaluated at k get NaN.

    Args:
        slices: of equal size, all members: those that are evaluated together.
        full: at the end, training objective and test metrics too; a member whose objective is not finite has diverged.
    """
    curve, size = state["curve"], slices[0].stop - slices[0].start
    sums: dict[str, Tensor] = {}
    weights: dict[str, int] = {}
    for part, tensors, weight in problem.evaluation(full=full):
        program, names = metrics_program(problem, size, weight, engine)
        data, params = shared(tensors, size), held(state).values()
        values = [program(*(p[rows] for p in params), *data) for rows in slices]
        for name, value in zip(names, map(torch.cat, zip(*values))):
            sums[part + name] = sums.get(part + name, 0) + value.double()
            weights[part + name] = weights.get(part + name, 0) + weight
    row = {name: sums[name] / weights[name] for name in sums}
    if "train_loss" in row:
        freeze(state, state["alive"] & ~row["train_loss"].isfinite(), held(state), k)
    previous = int(curve["step"][-1]) if curve else 0
    row |= {name: state[name].double() for name in ("touched", "trapped") if name in state}
    row["batch_loss"] = state["batch_loss"] / (k - previous if k else torch.nan)
    state["batch_loss"] = torch.zeros_like(state["batch_loss"])
    missing = torch.full((len(state["alive"]),), torch.nan, dtype=torch.float64)
    rows = len(curve.setdefault("step", torch.empty(0, dtype=torch.int64)))
    curve["step"] = torch.cat([curve["step"], torch.tensor([k])])
    for name in sorted((curve.keys() | row.keys()) - {"step"}):
        past = curve.get(name, missing.expand(rows, -1))
        curve[name] = torch.cat([past, row.get(name, missing).cpu().unsqueeze(0)])


def trajectories(members: Sequence[Member], state: dict) -> list[Trajectory]:
    """What `members`, the first of a stack, left in its `state` at the end."""
    alive, diverged = state["alive"].tolist(), state["diverged_step"].tolist()
    kept = select(state["alive"], held(state), state["frozen"]) if "frozen" in state else held(state)
    kept = {n: p.cpu() for n, p in kept.items()}
    params = {n: kept[n] for n in state["params"]}
    buffers = {n: kept[n] for n in state.get("buffers", ())}
    steps = state["curve"]["step"].tolist()
    columns = {name: values.T.tolist() for name, values in state["curve"].items() if name != "step"}
    found = []
    for i, member in enumerate(members):
        rows = len(steps) if alive[i] else sum(step <= diverged[i] for step in steps)
        curve = {n: [None if v != v else v for v in values[i][:rows]] for n, values in columns.items()}
        found.append(
            Trajectory(
                member,
                "done" if alive[i] else "diverged",
                None if alive[i] else diverged[i],
                {n: v[-1] if alive[i] else None for n, v in curve.items() if n != "batch_loss"},
                {"step": steps[:rows], **curve},
                {name: p[i].clone() for name, p in params.items()},
                {name: b[i].clone() for name, b in buffers.items()},
            )
        )
    return found
