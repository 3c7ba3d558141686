"""One update of a stack as a program: gradient, update rule, and the flags that it keeps of every member."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shb.errors import CompilationError, choose
from shb.kernels import Recurrence, Tape, Unsupported, load, record, use_native
from shb.optimizers import Optimizer
from shb.problems import Params, Problem
from shb.training.gradient import METRICS, RECORDED, example, example_buffers, example_samples, gradient_program
from shb.training.leaves import example_numbers, matched, updated
from shb.training.opaque import opaque
from shb.training.preflight import check_optimizer, check_rule
from shb.training.program import Program, trace
from shb.training.state import as_rows

ENGINES = ("eager", "compiled")
_LOG = logging.getLogger(__name__)


class Step:
    """One update: (carried, numbers, batch, k) -> (carried, not_finite, gradients).

    `carried` is a tree of tensors with a leading member axis: "params", "optimizer" (its state), and "flags":

        batch_loss   sum of the mini-batch losses, float64
        alive        False: diverged before (never changed here)
        inside, touched, trapped   of problems with `in_trap`: w_k is exactly in the trapping set, some iterate
                     was, this one and the one before are

    and, of problems that have some, "buffers": what belongs to a member but is not trained.

    `not_finite` is a bool [] tensor: True if some member that had not diverged now has a non-finite parameter (or its
    sum overflows); the caller then finds out which.

    Args:
        names: hyperparameters that the step is given, each float64 [width].
        engine: "eager" runs torch's operations one by one; "compiled" native ones on a CPU (shb.kernels), and on a GPU
            what torch's compiler makes. A member's bits differ between the two; within each they do not depend on its
            stack.
        observed: also return the gradients.
        taped: the whole step is a tape, for any number of members; `batch` is then the samples, of which it makes the
            batch itself.

    Raises:
        ConfigurationError: of a rule that cannot be a step (see `check_optimizer`).
        Unsupported: if `taped`, of an operation that a tape does not have.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        width: int,
        names: Sequence[str],
        engine: str = "eager",
        observed: bool = False,
        taped: bool = False,
    ) -> None:
        choose("engine", engine, ENGINES)
        check_optimizer(optimizer, problem)
        params, batch = example(problem, width)
        device = problem.device
        self.name = f"{problem.name} with {optimizer.name}"
        numbers = example_numbers(names, width, device)
        carried = {"params": params, "optimizer": optimizer.init(params, numbers), "flags": flags(problem, params)}
        buffers = example_buffers(problem, width)
        if buffers:
            carried["buffers"] = buffers
        leaves, self._spec = pytree.tree_flatten(carried)
        self._count, self._names, self._observed, self.taped = len(leaves), list(numbers), observed, taped
        self._recurrences: dict[bool, Recurrence | None] = {}  # of samples that are bits, and that are not
        batch = (example_samples(problem, width),) if taped else batch
        inputs, spec = pytree.tree_flatten((carried, numbers, batch, torch.zeros((), dtype=torch.int64, device=device)))
        gradients = _gradients(problem, width, engine)

        def step(*tensors: Tensor) -> list[Tensor]:
            carried, numbers, batch, k = pytree.tree_unflatten(list(tensors), spec)
            batch = problem.batch(*batch) if taped else batch
            new, not_finite, grads = _step(problem, optimizer, gradients, carried, numbers, batch, k)
            leaves = matched(optimizer, problem.name, carried, new)
            return [*leaves, not_finite, *(grads if observed else ())]

        self.program: Tape | Program
        if taped:
            self.program = record(trace(step, *inputs, rounded=True), width)
        else:
            self.program = Program(step, *inputs, compiled=engine == "compiled" and not runs_native(problem))

    def flatten(self, carried: dict[str, Any]) -> list[Tensor]:
        """The tensors of `carried`, in the order of `__call__`."""
        leaves, spec = pytree.tree_flatten(carried)
        if spec != self._spec:
            raise ValueError(f"a step carries {self._spec}, not {spec}")
        return leaves

    def unflatten(self, leaves: Sequence[Tensor]) -> dict[str, Any]:
        """The inverse of `flatten`."""
        return pytree.tree_unflatten(list(leaves), self._spec)

    def __call__(
        self, carried: Sequence[Tensor], numbers: dict[str, Tensor], batch: Sequence[Tensor], k: Tensor
    ) -> tuple[Sequence[Tensor], Tensor, Sequence[Tensor]]:
        """Flat, because walking through dictionaries costs as much as a small step; `k` is an int64 [] tensor."""
        out = self.program(*carried, *(numbers[name] for name in self._names), *batch, k)
        return out[: self._count], out[self._count], out[self._count + 1 :]

    def many(
        self, carried: Sequence[Tensor], numbers: Mapping[str, Tensor], samples: Tensor, ks: Tensor, signs: bool = False
    ) -> tuple[Sequence[Tensor], Tensor] | None:
        """Steps of [steps, ...] as one call: (carried, not_finite of any step); None if it cannot be done.

        Args:
            signs: `samples` are bits (`sign_bits`), as int64 [1, members].
        """
        recurrence = self.recurrence(signs)
        if recurrence is None:
            return None
        return recurrence(carried, [*(numbers[name] for name in self._names), samples.contiguous(), ks])

    def recurrence(self, signs: bool) -> Recurrence | None:
        """What `many` runs, made once; None if it cannot be made."""
        if signs not in self._recurrences:
            self._recurrences[signs] = self._recurrence(signs)
        return self._recurrences[signs]

    def _recurrence(self, signs: bool) -> Recurrence | None:
        if not isinstance(self.program, Tape) or self._observed:
            return None
        try:
            place = self._count + len(self._names) if signs else None  # of the samples among the inputs
            return Recurrence(self.program, self._count, place)
        except (Unsupported, CompilationError) as error:
            _LOG.info("%s: one step after the other: %s", self.name, error)
            return None


def step_of(
    problem: Problem, optimizer: Optimizer, width: int, names: tuple[str, ...], engine: str, observed: bool
) -> Step:
    """The step, made once for every stack that can use it: a tape if it can be one."""
    if engine == "compiled" and runs_native(problem):
        step = _taped_step(problem, optimizer, names, observed)
        if step is not None:
            return step
    return _traced_step(problem, optimizer, width, names, engine, observed)


@lru_cache(maxsize=16)
def _taped_step(problem: Problem, optimizer: Optimizer, names: tuple[str, ...], observed: bool) -> Step | None:
    try:
        return Step(problem, optimizer, RECORDED, names, "compiled", observed, taped=True)
    except Unsupported as error:
        _LOG.info("%s with %s is no tape: %s", problem.name, optimizer.name, error)
        return None


@lru_cache(maxsize=16)
def _traced_step(
    problem: Problem, optimizer: Optimizer, width: int, names: tuple[str, ...], engine: str, observed: bool
) -> Step:
    return Step(problem, optimizer, width, names, engine, observed)


def forget_programs() -> None:
    """Drop every program that was traced: for who changes a problem or a rule in place, as tests do."""
    for cache in (check_rule, gradient_program, _taped_step, _traced_step, *METRICS):
        cache.cache_clear()


def runs_native(problem: Problem) -> bool:
    """Whether its compiled steps are made of native operations; else torch's compiler makes them."""
    return problem.device.type == "cpu"


def flags(problem: Problem, params: Params) -> dict[str, Tensor]:
    """The flags at k = 0 (see Step)."""
    width, device = len(next(iter(params.values()))), problem.device
    start = {
        "batch_loss": torch.zeros(width, dtype=torch.float64, device=device),
        "alive": torch.ones(width, dtype=torch.bool, device=device),
    }
    inside = in_trap(problem, params)
    if inside is not None:
        start |= {"inside": inside, "touched": inside.clone(), "trapped": torch.zeros_like(inside)}
    return start


def in_trap(problem: Problem, params: Params) -> Tensor | None:
    """Members exactly in the trapping set: bool [width]; None for problems without one."""
    function = getattr(problem, "in_trap", None)
    return function(params) if function else None


def _gradients(problem: Problem, width: int, engine: str) -> Callable[..., Sequence[Tensor]]:
    module = gradient_program(problem, width).module
    if engine == "compiled":
        module = copy.deepcopy(module)
        if runs_native(problem):
            load()
            use_native(module.graph)
        else:
            opaque(module.graph)
        module.recompile()
    return module


def _step(
    problem: Problem,
    optimizer: Optimizer,
    gradients: Callable[..., Sequence[Tensor]],
    carried: dict[str, Any],
    numbers: dict[str, Tensor],
    batch: Sequence[Tensor],
    k: Tensor,
) -> tuple[dict[str, Any], Tensor, Sequence[Tensor]]:
    params, old = carried["params"], carried["flags"]
    buffers = carried.get("buffers", {})
    losses, *results = gradients(*params.values(), *buffers.values(), *batch)
    grads, new_buffers = results[: len(params)], results[len(params) :]
    new_params, state = updated(optimizer, params, dict(zip(params, grads)), carried["optimizer"], numbers, k)
    new = {**old, "batch_loss": old["batch_loss"] + losses}
    inside = in_trap(problem, new_params)
    if inside is not None:
        new |= {"inside": inside, "touched": old["touched"] | inside, "trapped": inside & old["inside"]}
    not_finite = (old["alive"] & ~_sums_finite(new_params)).any()
    moved = {"params": new_params, "optimizer": state, "flags": new}
    if buffers:
        moved["buffers"] = dict(zip(buffers, new_buffers))
    return moved, not_finite, grads


def _sums_finite(params: Params) -> Tensor:
    """Members whose parameters have a finite sum: bool [width]. True implies that all are finite; cheap."""
    first, *others = (as_rows(p).sum(1) for p in params.values())
    return sum(others, first).isfinite()
