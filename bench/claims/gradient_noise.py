"""The noise of a network's mini-batch gradient, as a whole and along the eigenvectors of the Hessian of F."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.claims.experiment import Columns
from bench.claims.sampling.monitors import members, training_data
from shb.problems import LearningProblem, Params
from shb.streams import stream

PIECE = 50  # mini-batch gradients at a time
MEMBERS = 8  # Hessians at a time


def gradient_noise(
    problem: LearningProblem, params: Params, seeds: np.ndarray, batches: int = 0, spectrum: bool = False
) -> Columns:
    """What the noise of the mini-batch gradient is at the parameters [n, ...] of each seed.

    Args:
        problem: its batch size is that of the gradients.
        params: name -> [n, ...].
        seeds: [n]; the stream "noise" of each draws its mini-batches.
        batches: of i.i.d. samples, from whose gradients the trace is estimated; 0: not measured.
        spectrum: whether the Hessian and the noise along its eigenvectors are computed, from all training samples.

    Returns:
        trace: of the covariance of the mini-batch gradient [n], unbiased;
        with `spectrum` curvature, the eigenvalues h_i of the Hessian of F, and noise, the variance of the mini-batch
        gradient along their eigenvectors under i.i.d. sampling: [n, p].
    """
    columns = {}
    if batches:
        each = zip(seeds, members(params))
        columns["trace"] = np.array([_trace(problem, one, int(seed), batches) for seed, one in each])
    if spectrum:
        columns["curvature"], columns["noise"] = _spectrum(problem, params)
    return columns


def _flat(gradients: Params) -> Tensor:
    """Gradients [n, ...] of each parameter as rows [n, p]."""
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


def _trace(problem: LearningProblem, params: Params, seed: int, batches: int) -> float:
    drawn = stream(seed, "noise").integers(0, problem.train_size, (batches, problem.batch_size))
    oracle = torch.func.vmap(torch.func.grad(problem.loss), in_dims=(None, 0, 0))
    pieces = [_flat(oracle(params, *problem.rows(index))) for index in torch.from_numpy(drawn).split(PIECE)]
    return float(torch.cat(pieces).double().var(0, correction=1).sum())


def _spectrum(problem: LearningProblem, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, and the noise along their eigenvectors: [n, p] each, from float64 derivatives."""
    x, y = (part.double() for part in training_data(problem, problem.train_size))
    names, shapes = list(params), [p.shape[1:] for p in params.values()]
    flat = torch.cat([p.double().flatten(1) for p in params.values()], 1)

    def loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = w.split([shape.numel() for shape in shapes])
        return problem.loss({n: part.reshape(s) for n, part, s in zip(names, parts, shapes)}, x, y)

    hessian = torch.func.vmap(torch.func.hessian(loss), in_dims=(0, None, None), chunk_size=MEMBERS)
    oracle = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    curvature, axes = torch.linalg.eigh(hessian(flat, x, y))
    along = [(oracle(w, x[:, None], y[:, None]) @ v).var(0, correction=0) for w, v in zip(flat, axes)]
    return curvature.cpu().numpy(), torch.stack(along).cpu().numpy() / problem.batch_size
