"""How much work a member-step is, to predict the time that is left."""

from __future__ import annotations

import functools

import torch
from torch.utils.flop_counter import FlopCounterMode

from shb.problems import Problem

_PER_STEP, _PER_PARAMETER = 2.0e4, 20.0  # fixed work of a step and of an update, in floating-point operations


@functools.lru_cache(maxsize=32)
def step_cost(problem: Problem) -> float:
    """Floating-point operations of one member-step: three forward passes (forward, two in backward) and the update."""
    params = problem.initial_parameters(0)
    params = {name: p.to(problem.device) for name, p in params.items()}
    batch = [part[0] for part in problem.batch(problem.sample(0, 0, 1))]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        problem.loss(params, *batch)
    return 3.0 * counter.get_total_flops() + _PER_STEP + _PER_PARAMETER * sum(p.numel() for p in params.values())
