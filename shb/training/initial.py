"""What the members of a stack begin with, drawn once for every seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shb.problems import Params, Problem, may_have_buffers
from shb.streams import stream


def initial_buffers(problem: Problem, seeds: np.ndarray, rows: Tensor) -> Params:
    """By name [members, ...]: `rows` [members] says which of `seeds` a member has. Empty for problems without any."""
    if not may_have_buffers(problem):
        return {}
    drawn = [problem.initial_buffers(int(seed)) for seed in seeds]
    return {name: torch.stack([one[name] for one in drawn])[rows].to(problem.device) for name in drawn[0]}


def initial_velocity(params: Params, std: float, seeds: np.ndarray, rows: Tensor) -> Params:
    """Gaussian w_0 - w_{-1} of standard deviation `std`, with the shapes and dtypes of `params`."""
    drawn: list[dict[str, Tensor]] = []
    for seed in map(int, seeds):
        generator = stream(seed, "velocity")
        drawn.append(
            {
                name: torch.from_numpy(np.asarray(std * generator.standard_normal(tuple(p.shape[1:]))))
                for name, p in params.items()
            }
        )
    return {name: torch.stack([one[name] for one in drawn])[rows].to(p.device, p.dtype) for name, p in params.items()}
