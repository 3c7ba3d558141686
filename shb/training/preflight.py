"""Whether a stack can train a problem by a rule, found by tracing a tiny one before anything is computed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shb.errors import ConfigurationError
from shb.optimizers import Optimizer
from shb.problems import LearningProblem, Problem
from shb.training.gradient import gradient_program, metrics_program
from shb.training.leaves import example_numbers, initial_state, leaf_name, matched, updated
from shb.training.program import trace

_MEMBERS = 2


def check_trainable(problem: LearningProblem, field: str, name: str) -> None:
    """Trace a training step and an evaluation of two members.

    Args:
        problem: with few samples, so that it costs little.
        field, name: "model" or "loss" and what it is called, for the error.

    Raises:
        ConfigurationError: the first line of what torch says, for whatever cannot be traced.
    """
    kind = "module" if field == "model" else field
    with _refusing(field, name, f"a {kind} that torch.func.vmap can train and evaluate"):
        _check_repeatable(problem, field, name)
        gradient_program.__wrapped__(problem, _MEMBERS)
        metrics_program(problem, _MEMBERS, problem.evaluation(full=False)[0].weight)


def _check_repeatable(problem: LearningProblem, field: str, name: str) -> None:
    """Refuse draws that are not torch's: a traced step would have those of its first call for ever."""
    params, buffers, sample = problem.initial_parameters(0), problem.initial_buffers(0), problem.sample(0, 0, 1)
    batch = [tensor[0] for tensor in problem.batch(sample)]
    losses = []
    for _ in range(2):
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses.append(problem.loss_and_buffers(params, buffers, *batch)[0])
    if not torch.equal(*(loss.nan_to_num(0.5) for loss in losses)):
        allowed = "a forward pass that gives the same again: no random numbers but those of torch's dropout"
        raise ConfigurationError(field, name, allowed)


def check_optimizer(optimizer: Optimizer, problem: Problem) -> None:
    """Trace one update of two members; what the problem computes does not matter.

    Args:
        optimizer: the rule.
        problem: whose parameters, their names, shapes and dtypes, the rule is tried on.

    Raises:
        ConfigurationError: a leaf comes back otherwise than it was given, is changed in place, or the rule cannot be
            traced.
    """
    shapes = tuple((name, p.shape, p.dtype) for name, p in problem.initial_parameters(0).items())
    check_rule(optimizer, shapes, problem.device)


@functools.lru_cache(maxsize=256)
def check_rule(
    optimizer: Optimizer, shapes: tuple[tuple[str, torch.Size, torch.dtype], ...], device: torch.device
) -> None:
    """As `check_optimizer`, once for all problems whose parameters have these names, shapes and dtypes."""
    traceable = "a rule that is traced once, so without branches on k or on values of tensors (torch.where can)"
    with _refusing("optimizer", optimizer.name, traceable):
        params = {n: torch.zeros((_MEMBERS, *shape), dtype=dtype, device=device) for n, shape, dtype in shapes}
        numbers = example_numbers(list(optimizer.hyperparameters), _MEMBERS, device)
        carried = {"params": params, "optimizer": initial_state(optimizer, params, numbers)}
        if optimizer.takes_velocity:
            moving = initial_state(optimizer, params, numbers, velocity=pytree.tree_map(torch.zeros_like, params))
            matched(optimizer, "", carried, {"params": params, "optimizer": moving})
        grads, k = pytree.tree_map(torch.zeros_like, params), torch.zeros((), dtype=torch.int64, device=device)
        given = {**carried, "hyperparameters": numbers, "grads": grads, "k": k}
        leaves, spec = pytree.tree_flatten(given)

        def update(*tensors: Tensor) -> list[Tensor]:
            given = pytree.tree_unflatten(list(tensors), spec)
            old = {name: given[name] for name in ("params", "optimizer")}
            new = updated(
                optimizer, old["params"], given["grads"], old["optimizer"], given["hyperparameters"], given["k"]
            )
            return matched(optimizer, "", old, dict(zip(old, new)))

        versions = [leaf._version for leaf in leaves]
        trace(update, *leaves)
        for (path, leaf), version in zip(pytree.tree_flatten_with_path(given)[0], versions):
            if leaf._version != version:
                allowed = "new tensors: update changes nothing of what it is given, and + - * / make new ones"
                raise ConfigurationError(f"optimizer {optimizer.name}: {leaf_name(path)}", "changed in place", allowed)


@contextlib.contextmanager
def _refusing(field: str, name: str, allowed: str) -> Iterator[None]:
    """Whatever is raised inside, as one line."""
    try:
        yield
    except ConfigurationError as error:  # an interpreter has written its own words into it
        raise ConfigurationError(error.field, error.value, error.allowed) from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        cause = " ".join((str(error).strip() or type(error).__name__).split())[:200]
        raise ConfigurationError(field, name, f"{allowed} ({type(error).__name__}: {cause})") from error
