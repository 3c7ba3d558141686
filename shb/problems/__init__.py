"""Objectives F(w) = E_s f(w, s): closed-form examples of the theory and learning problems, one protocol.

E1 is convex with its minimum at -1, and backpropagation returns 0 at w = 0 for the mean over both samples:

    >>> import torch
    >>> from shb.problems import E1
    >>> problem = E1(init="point", value=0.5)
    >>> w = torch.tensor([[-1.0], [0.0], [0.5]], dtype=torch.float64)
    >>> problem.objective(w).tolist(), problem.artificial_distance(w).tolist()
    ([-0.5, 0.0, 0.625], [1.0, 0.0, 0.5])
    >>> params, samples = problem.initial_parameters(seed=0), problem.sample(seed=0, start=0, stop=100)
    >>> params["w"].tolist(), samples.shape, samples.unique().tolist()
    ([0.5], torch.Size([100]), [-1, 1])
    >>> at_0 = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    >>> [torch.autograd.grad(problem.loss({"w": at_0}, s), at_0)[0].item() for s in (-1, 1)]
    [0.0, 0.0]
"""

from shb.problems.closed_forms import (
    CLOSED_FORMS,
    E1,
    E2,
    E3,
    E4,
    E5,
    E6,
    E7,
    E8,
    E9,
    E10,
    E11,
    E12,
    E13,
    E14,
    E15,
    E16,
    Absolute,
    ClosedForm,
    MaxAffinePlane,
    Quadratic,
    Quartic,
    Valley,
)
from shb.problems.learning import LOSSES, LearningProblem, check_loss
from shb.problems.problem import BufferedProblem, EvaluationBatch, Params, Problem, may_have_buffers
from shb.problems.sampling import SAMPLINGS

__all__ = [
    "CLOSED_FORMS",
    "E1",
    "E2",
    "E3",
    "E4",
    "E5",
    "E6",
    "E7",
    "E8",
    "E9",
    "E10",
    "E11",
    "E12",
    "E13",
    "E14",
    "E15",
    "E16",
    "LOSSES",
    "SAMPLINGS",
    "Absolute",
    "BufferedProblem",
    "ClosedForm",
    "EvaluationBatch",
    "LearningProblem",
    "MaxAffinePlane",
    "Params",
    "Problem",
    "Quadratic",
    "Quartic",
    "Valley",
    "check_loss",
    "may_have_buffers",
]
