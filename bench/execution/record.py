"""Rows of the store for the members of a cell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.cell.cell import Cell
from bench.store.environment import environment
from bench.store.schema import MEMBER_SCHEMA
from shb.training import Trajectory


def described(cell: Cell, index: int) -> dict[str, Any]:
    """Columns of a member that follow from its spec."""
    member, problem = cell.members[index], cell.problem_spec
    hyperparameters = cell.setting(index)
    return {
        "member_id": cell.ids[index],
        "problem": cell.label,
        "model": problem["model"]["name"] if "model" in problem else None,
        "dataset": problem.get("dataset"),
        "optimizer": cell.optimizer.name,
        "seed": member.seed,
        "steps": cell.plan.steps,
        "batch_size": problem.get("batch_size", 1),
        **{column: v for name, v in hyperparameters.items() if (column := name.replace(".", "_")) in MEMBER_SCHEMA},
        "schedule": cell.plan.schedule,
        "momentum_schedule": cell.plan.momentum_schedule,
        "velocity_std": cell.plan.velocity_std,
        "unstable_momentum": cell.unstable[index],
        "init": problem["init"]["name"],
        "init_std": problem["init"].get("std"),
        "init_value": None if isinstance(value := problem["init"].get("value"), list) else value,
        "loss": problem.get("loss"),
        "sampling": problem.get("sampling"),
        "relu_derivative": problem["relu_derivative"],
        "relu_rule": problem["relu_rule"],
        "dtype": problem["dtype"],
        "device": problem["device"],
        "engine": cell.specs[index]["engine"],
        "hyperparameters": json.dumps(hyperparameters, sort_keys=True),
        "spec": cell.spec_json(index),
        "dataset_checksum": problem.get("checksum"),
    }


def _before(cell: Cell, index: int) -> dict[str, Any]:
    """What is known of a member before it runs."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {**described(cell, index), "created": created, **environment(cell.problem_spec["device"])}


def computed_rows(
    cell: Cell,
    indices: Sequence[int],
    trajectories: Sequence[Trajectory],
    steps: int,
    seconds: float,
    compile_seconds: float = 0.0,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Member rows and curve rows of one finished stack.

    Args:
        steps, seconds: steps per member and wall time of this process (a resumed stack did fewer than all).
        compile_seconds: the part of `seconds` that went into compiling, which the rate leaves out.
    """
    members, curves = [], []
    rate = len(indices) * steps / (seconds - compile_seconds)
    for index, trajectory in zip(indices, trajectories):
        members.append(
            {
                **_before(cell, index),
                "status": trajectory.status,
                "diverged_step": trajectory.diverged_step,
                **trajectory.metrics,
                "stack_members": len(indices),
                "stack_seconds": seconds,
                "compile_seconds": compile_seconds,
                "member_steps_per_second": rate,
            }
        )
        names = list(trajectory.curve)
        for values in zip(*trajectory.curve.values()):
            curves.append({"member_id": cell.ids[index], **dict(zip(names, values))})
    return members, curves


def failed_rows(cell: Cell, indices: Sequence[int], error: str) -> list[dict[str, Any]]:
    """Member rows of members that could not be computed."""
    return [{**_before(cell, index), "status": "failed", "error": error} for index in indices]
