"""Any number of members within a memory budget: stacks of equal width, one after the other.

Because a member's bits do not depend on its stack, chunking changes nothing but memory and speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from shb.memory import usable_memory
from shb.optimizers import Optimizer
from shb.problems import Problem
from shb.training.checkpoint import Checkpoint
from shb.training.member import Member, Plan, Trajectory
from shb.training.stack import Stack, minimal_width
from shb.training.step import runs_native

# bytes: stacks that needed more were slower, because other things than they are in a shared cache too (make speed)
CPU_BUDGETS = {"eager": 24 << 20, "compiled": 6 << 20}


def default_budget(device: torch.device, engine: str) -> int:
    """Bytes a stack may use: 24 MiB on a CPU (6 MiB compiled, which needs few of them), 60 % of what a GPU has free.

    Args:
        device: of the problem.
        engine: "eager" or "compiled".
    """
    if device.type == "cuda":
        return int(0.6 * torch.cuda.mem_get_info(device)[0])
    return CPU_BUDGETS[engine]


def chunk_width(
    problem: Problem,
    optimizer: Optimizer,
    members: Sequence[Member],
    plan: Plan,
    budget: int,
    engine: str = "eager",
) -> int:
    """Width of equal chunks, none of which is predicted to need more than `budget` bytes.

    The prediction is measured: the live bytes of a traced step of a minimal stack, per member. What is
    compiled for a GPU has a power of two of members, so that few programs are compiled.

    Args:
        problem, optimizer, members, plan, engine: as in `Stack`.
        budget: bytes, of a stack.

    Raises:
        ConfigurationError: as `Stack`.
        MemoryError: not even the smallest stack has room in the memory of this process.
    """
    narrow = Stack(problem, optimizer, members[: minimal_width()], plan, engine=engine)
    free = usable_memory() if problem.device.type == "cpu" else None
    if free is not None and narrow.width * narrow.bytes_per_member() > free:
        needed = narrow.width * narrow.bytes_per_member() / 2**30
        raise MemoryError(f"the smallest stack needs {needed:.3g} GiB, {free / 2**30:.3g} GiB are free")
    widest = max(minimal_width(), budget // max(1, narrow.bytes_per_member()))
    if engine == "compiled" and not runs_native(problem):
        return _power_of_two(len(members), widest)
    return max(minimal_width(), math.ceil(len(members) / math.ceil(len(members) / widest)))


def _power_of_two(count: int, widest: int) -> int:
    """The largest power of two up to `widest` that fills up little: by at most a third, or to at most 16."""
    width = 1 << (minimal_width() - 1).bit_length()
    while width < count and 2 * width <= widest and (2 * width <= 16 or -count % (2 * width) <= count / 3):
        width *= 2
    return width


def run_chunked(
    problem: Problem,
    optimizer: Optimizer,
    members: Sequence[Member],
    plan: Plan,
    *,
    engine: str = "eager",
    budget: int | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoint: Callable[[Sequence[Member]], Checkpoint | None] = lambda members: None,
) -> Iterator[list[Trajectory]]:
    """Yield the trajectories of `members`, chunk by chunk, in order.

    Args:
        problem, optimizer, members, plan, engine: as in `Stack`; without members nothing is done.
        budget: bytes a stack may use (default: `default_budget`). When memory runs out all the same, the
            width is halved and the chunk starts again; a stack of minimal width that fails raises.
        progress: as in `Stack.run`; a negative number of member-steps where a chunk starts again.
        checkpoint: `checkpoint(members of a chunk)` makes that of the chunk, or returns None.

    Raises:
        ConfigurationError: as `Stack`, and `Stack.run`.
        CheckpointError: a checkpoint cannot be written.
        MemoryError: not even the smallest stack has room.

    Example:
        >>> from shb.optimizers import get_optimizer
        >>> from shb.problems import E4
        >>> members = [Member(seed, {"lr": 0.5, "momentum": 0.5}) for seed in range(10)]
        >>> chunks = run_chunked(E4(), get_optimizer("shb"), members, Plan(8), budget=1)
        >>> sum(len(chunk) for chunk in chunks)
        10
    """
    if not members:
        return
    budget = default_budget(problem.device, engine) if budget is None else budget
    width = chunk_width(problem, optimizer, members, plan, budget, engine)
    done = 0
    while done < len(members):
        chunk = members[done : done + width]
        counted = 0

        def count(steps: int) -> None:
            nonlocal counted
            counted += steps
            if progress:
                progress(steps)

        try:
            trajectories = Stack(problem, optimizer, chunk, plan, width, engine).run(
                progress=count, checkpoint=checkpoint(chunk)
            )
        except (MemoryError, RuntimeError) as error:
            if width <= minimal_width() or not _out_of_memory(error):
                raise
            width = max(minimal_width(), width // 2)
            if progress:
                progress(-counted)
            continue
        yield trajectories
        done += len(chunk)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
