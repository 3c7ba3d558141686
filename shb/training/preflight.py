"""Whether a stack can train a problem, found by tracing a tiny one before anything is computed."""

from __future__ import annotations

import torch

from shb.errors import ConfigurationError
from shb.problems import LearningProblem
from shb.training.gradient import gradient_program, metrics_program

_MEMBERS = 2


def check_trainable(problem: LearningProblem, name: str) -> None:
    """Trace a training step and an evaluation of two members.

    Args:
        problem: with few samples, so that it costs little.
        name: of its model, for the error.

    Raises:
        ConfigurationError: the first line of what torch says, for whatever cannot be traced.
    """
    try:
        problem.initial_parameters(0)
        gradient_program.__wrapped__(problem, _MEMBERS)
        metrics_program(problem, _MEMBERS, problem.evaluation(full=False)[0].weight)
    except ConfigurationError as error:  # an interpreter has written its own words into it
        raise ConfigurationError(error.field, error.value, error.allowed) from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        cause = " ".join((str(error).strip() or type(error).__name__).split())[:200]
        allowed = f"a module that torch.func.vmap can train and evaluate ({type(error).__name__}: {cause})"
        raise ConfigurationError("model", name, allowed) from error
