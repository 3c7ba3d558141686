"""The traced programs of a stack: gradients of a mini-batch loss, and metric sums of an evaluation batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from shb.kernels import Tape, Unsupported, load, record, use_native
from shb.problems import BufferedProblem, Params, Problem, may_have_buffers
from shb.training.drawing import drawn
from shb.training.program import Program, note_values, trace

_LOG = logging.getLogger(__name__)
RECORDED = 3  # members of a program that is traced for a tape, which then holds for any number


@lru_cache(maxsize=8)
def gradient_program(problem: Problem, width: int) -> Program:
    """The program (params..., buffers..., batch...) -> (losses [width], gradients..., new buffers...) of a stack.

    Args:
        width: members of the stack.
    """
    params, batch = example(problem, width)
    buffers = example_buffers(problem, width)
    if may_have_buffers(problem) and buffers:
        return _gradients_and_buffers(problem, params, buffers, batch)
    names = list(params)

    def gradients(*tensors: Tensor) -> list[Tensor]:
        stacked = dict(zip(names, tensors))
        grad_and_value = torch.func.grad_and_value(lambda p, *b: problem.loss(p, *b))
        grads, losses = torch.func.vmap(grad_and_value, randomness=_randomness(problem))(
            stacked, *tensors[len(names) :]
        )
        return [losses, *(grads[name] for name in names)]

    return _program(problem, gradients, *params.values(), *batch)


def _gradients_and_buffers(
    problem: BufferedProblem, params: Params, buffers: Params, batch: Sequence[Tensor]
) -> Program:
    names, first = list(params), len(params) + len(buffers)

    def gradients(*tensors: Tensor) -> list[Tensor]:
        stacked, held = dict(zip(names, tensors)), dict(zip(buffers, tensors[len(names) :]))
        grad_and_value = torch.func.grad_and_value(problem.loss_and_buffers, has_aux=True)
        run = torch.func.vmap(grad_and_value, randomness=_randomness(problem))
        grads, (losses, new) = run(stacked, held, *tensors[first:])
        return [losses, *(grads[name] for name in names), *(new[name] for name in buffers)]

    return _program(problem, gradients, *params.values(), *buffers.values(), *batch)


def _randomness(problem: Problem) -> str:
    """What vmap lets a random operation be."""
    return "different" if draws(problem) else "error"


def _program(problem: Problem, function: Callable[..., list[Tensor]], *examples: Tensor) -> Program:
    return Program(drawn(function, *examples) if draws(problem) else function, *examples)


def metrics_program(problem: Problem, width: int, rows: int, engine: str = "eager") -> tuple[Program | Tape, list[str]]:
    """The program (params..., buffers..., evaluation batch of `rows` samples...) -> metric sums, and their names.

    The engine "compiled" has it on a tape if it can, for any width; else, on a CPU, it uses native operations.
    """
    if engine == "compiled" and problem.device.type == "cpu":
        taped = _taped_metrics(problem, rows)
        if taped is not None:
            return taped
    return _traced_metrics(problem, width, rows, engine)


@lru_cache(maxsize=32)
def _traced_metrics(problem: Problem, width: int, rows: int, engine: str) -> tuple[Program, list[str]]:
    metrics, names, examples = _metrics(problem, width, rows)
    program = Program(metrics, *examples)
    if engine == "compiled" and problem.device.type == "cpu":
        load()
        use_native(program.module.graph)
        program.module.recompile()
        program.measure(*examples)
    return program, names


@lru_cache(maxsize=32)
def _taped_metrics(problem: Problem, rows: int) -> tuple[Tape, list[str]] | None:
    load()
    metrics, names, examples = _metrics(problem, RECORDED, rows)
    module = trace(metrics, *examples)
    use_native(module.graph)
    note_values(module, *examples)
    try:
        return record(module, RECORDED), names
    except Unsupported as error:
        _LOG.info("the metrics of %s are no tape: %s", problem.name, error)
        return None


METRICS = (_traced_metrics, _taped_metrics)  # what is kept


def _metrics(problem: Problem, width: int, rows: int) -> tuple[Callable[..., list[Tensor]], list[str], list[Tensor]]:
    """A function of params, buffers and an evaluation batch, names of its results, and examples of its arguments."""
    params, _ = example(problem, width)
    params |= example_buffers(problem, width)
    names = list(params)
    tensors = next(b.tensors for b in problem.evaluation(full=True) if b.weight == rows)
    with torch.no_grad():
        metric_names = list(problem.metrics({n: p[0] for n, p in params.items()}, *tensors))

    def metrics(*inputs: Tensor) -> list[Tensor]:
        sums = torch.func.vmap(problem.metrics)(dict(zip(names, inputs)), *inputs[len(names) :])
        return [sums[name] for name in metric_names]

    return metrics, metric_names, [*params.values(), *shared(tensors, width)]


def example(problem: Problem, width: int) -> tuple[Params, tuple[Tensor, ...]]:
    """Parameters (0) and a mini-batch of a stack of `width` members, for their shapes."""
    params = {
        name: torch.zeros((width, *p.shape), dtype=p.dtype, device=problem.device)
        for name, p in problem.initial_parameters(0).items()
    }
    return params, problem.batch(example_samples(problem, width))


def example_buffers(problem: Problem, width: int) -> Params:
    """Buffers (0) of a stack of `width` members; empty for problems without any."""
    initial = problem.initial_buffers(0) if may_have_buffers(problem) else {}
    return {name: torch.zeros((width, *b.shape), dtype=b.dtype, device=problem.device) for name, b in initial.items()}


def draws(problem: Problem) -> bool:
    """Whether a training step draws random numbers: the last tensor of a batch is then the members' keys."""
    return getattr(problem, "draws", False)


def example_samples(problem: Problem, width: int) -> Tensor:
    """Samples of one step of a stack of `width` members."""
    sample = problem.sample(0, 0, 1)
    return sample.expand(width, *sample.shape[1:])


def shared(tensors: Sequence[Tensor], width: int) -> list[Tensor]:
    """The same data for every member, without copying it."""
    return [t.expand(width, *t.shape) for t in tensors]
