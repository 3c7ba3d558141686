"""Every tensor has the dtype and the shape that a stack counts on: of a problem, of `init`, of `update`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bench.check.fault import Fault
from bench.check.subject import Subject
from shb.optimizers import Optimizer
from shb.problems import LearningProblem, Problem
from shb.training import check_optimizer
from shb.training.gradient import example, example_samples
from shb.training.leaves import example_numbers, initial_state, leaf_name

_MEMBERS = 5


def check(subject: Subject) -> str:
    """What was seen; a Fault or, of `update`, a ConfigurationError otherwise. In the dtype asked for and in float64."""
    count = 0
    dtypes = list(dict.fromkeys((subject.dtype, "float64")))
    for dtype in dtypes:
        problem = subject.problem(dtype)
        _check_problem(problem)
        count = _check_state(subject.optimizer, problem)
        check_optimizer(subject.optimizer, problem)
    return f"parameters, loss, metrics and {count} leaves of the state, in {' and '.join(dtypes)}"


def _check_problem(problem: Problem) -> None:
    seed = 0
    initial = problem.initial_parameters(seed)
    for name, p in initial.items():
        if p.dtype != problem.dtype:
            raise Fault(f"initial {name} is {p.dtype}", f"draw parameters in the problem's dtype, {problem.dtype}")
    batch = problem.batch(example_samples(problem, _MEMBERS))
    for i, tensor in enumerate(batch):
        if tensor.shape[:1] != (_MEMBERS,):
            cure = f"`batch` gives tensors [members, ...], here [{_MEMBERS}, ...]"
            raise Fault(f"tensor {i} of a batch of {_MEMBERS} members has shape {list(tensor.shape)}", cure)
    one, buffers = [tensor[0] for tensor in batch], getattr(problem, "initial_buffers", lambda seed: {})(seed)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        learning, outputs = isinstance(problem, LearningProblem), []
        hook = problem.module.register_forward_hook(lambda *a: outputs.append(a[-1])) if learning else None
        try:
            loss = problem.loss_and_buffers(initial, buffers, *one)[0] if buffers else problem.loss(initial, *one)
        finally:
            if hook is not None:
                hook.remove()
        evaluation = problem.evaluation(full=True)[0]
        metrics = problem.metrics({**initial, **buffers}, *evaluation.tensors)
    for output in outputs[-1:]:
        if output.dtype != problem.dtype:
            cure = "no cast in `forward`; constants by torch.zeros_like, new_tensor or as Python numbers"
            raise Fault(f"the model's output is {output.dtype} for {problem.dtype} inputs and parameters", cure)
    for name, value in (("loss", loss), *metrics.items()):
        if not isinstance(value, Tensor) or value.shape != ():
            given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Fault(f"{name} of one member has shape {given}", "a scalar tensor, []")
    if loss.dtype != problem.dtype:
        raise Fault(f"the loss is {loss.dtype}", f"compute it in the problem's dtype, {problem.dtype}")


def _check_state(optimizer: Optimizer, problem: Problem) -> int:
    """The number of leaves that `init` makes."""
    params, _ = example(problem, _MEMBERS)
    numbers = example_numbers(list(optimizer.hyperparameters), _MEMBERS, problem.device)
    leaves = pytree.tree_flatten_with_path({"optimizer": initial_state(optimizer, params, numbers)})[0]
    for path, leaf in leaves:
        if leaf.is_floating_point() and leaf.dtype not in (problem.dtype, torch.float64):
            raise Fault(
                f"{leaf_name(path)} is {leaf.dtype}", f"torch.zeros_like(w), which is {problem.dtype}, or float64"
            )
    return len(leaves)
