"""Stacked training: many members of one problem in one program, each with the bits it has alone."""

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
