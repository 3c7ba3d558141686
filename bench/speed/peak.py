"""What the machine can do at most, and what a member-step needs at least."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.work import Work, device, synchronize
from shb.kernels import load

SIDE = 2048  # of the matrices of the product
COPIED = 1 << 28  # bytes of the copied tensor: more than any cache holds
E1_BYTES = 4 * 8 + 1  # of a member-step of E1: read and write w and velocity in float64, read a sample


def product() -> tuple[Callable[[], None], int]:
    """A float32 product of square matrices, and its floating-point operations."""
    a, b = (torch.rand(SIDE, SIDE, device=device()) for _ in range(2))
    out = torch.empty_like(a)

    def run() -> None:
        torch.matmul(a, b, out=out)
        synchronize()

    return run, 2 * SIDE**3


def native_product() -> tuple[Callable[[], None], int]:
    """As many operations by the native product of a stack (shb.kernels), smaller matrices for each of 64 members.

    What `product` does is what the processor can do only where MKL uses its widest vectors.
    """
    load()
    members, side = 64, SIDE // 4
    a, b = (torch.rand(members, side, side) for _ in range(2))
    return lambda: torch.ops.shb.native_bmm(a, b), 2 * members * side**3


def copy() -> tuple[Callable[[], None], int]:
    """A copy of a large tensor, and the bytes that it reads and writes."""
    source = torch.ones(COPIED // 8, dtype=torch.float64, device=device())  # zeros would not be in memory
    target = torch.ones_like(source)

    def run() -> None:
        target.copy_(source)
        synchronize()

    return run, 2 * COPIED


def member_step_flops(work: Work) -> int:
    """Floating-point operations of the gradient of one trajectory, products and convolutions only."""
    problem = work.problem
    params = {n: p.to(problem.device).requires_grad_() for n, p in problem.initial_parameters(0).items()}
    batch = [part[0] for part in problem.batch(problem.sample(0, 0, 1))]
    with FlopCounterMode(display=False) as counter:
        problem.loss(params, *batch).backward()
    return counter.get_total_flops()
