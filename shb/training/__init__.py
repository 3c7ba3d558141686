"""Stacked training: many members of one problem in one program, each with the bits it has alone.

Three members of E1, each with a seed and a step size of its own, for 64 steps of SGD:

    >>> from shb.optimizers import get_optimizer
    >>> from shb.problems import E1
    >>> from shb.training import Member, Plan, Stack
    >>> members = [Member(seed, {"lr": lr}) for seed, lr in [(0, 0.125), (1, 0.125), (1, 0.25)]]
    >>> plan = Plan.with_evaluations(steps=64, evaluations=4)
    >>> trajectories = Stack(E1(init="point", value=2.0), get_optimizer("sgd"), members, plan).run()
    >>> [t.status for t in trajectories], trajectories[0].curve["step"]
    (['done', 'done', 'done'], [0, 16, 32, 48, 64])
    >>> sorted(trajectories[0].metrics)
    ['artificial_distance', 'clarke_distance', 'touched', 'train_loss', 'trapped']

A member alone has the same bits:

    >>> (alone,) = Stack(E1(init="point", value=2.0), get_optimizer("sgd"), members[2:], plan).run()
    >>> bool(alone.parameters["w"] == trajectories[2].parameters["w"])
    True
"""

from shb.training.determinism import prepare_process

prepare_process()

from shb.training.checkpoint import Checkpoint, CheckpointError  # noqa: E402
from shb.training.chunking import chunk_width, default_budget, run_chunked  # noqa: E402
from shb.training.compiler import CompilationError, seconds_spent, why_not  # noqa: E402
from shb.training.member import Member, Plan, Trajectory  # noqa: E402
from shb.training.preflight import check_optimizer, check_trainable  # noqa: E402
from shb.training.stack import Stack, StackStep, minimal_width  # noqa: E402
from shb.training.step import ENGINES  # noqa: E402

__all__ = [
    "ENGINES",
    "Checkpoint",
    "CheckpointError",
    "CompilationError",
    "Member",
    "Plan",
    "Stack",
    "StackStep",
    "Trajectory",
    "check_optimizer",
    "check_trainable",
    "chunk_width",
    "default_budget",
    "minimal_width",
    "prepare_process",
    "run_chunked",
    "seconds_spent",
    "why_not",
]
