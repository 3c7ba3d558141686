"""Objectives F(w) = E_s f(w, s): closed-form examples of the theory and learning problems, one protocol."""

from shb.problems.closed_form import E1, E2, E3, E6, ClosedForm
from shb.problems.learning import LOSSES, SAMPLINGS, LearningProblem, check_loss
from shb.problems.problem import EvaluationBatch, Params, Problem

CLOSED_FORMS: dict[str, type[ClosedForm]] = {"e1": E1, "e2": E2, "e3": E3, "e6": E6}

__all__ = [
    "CLOSED_FORMS",
    "E1",
    "E2",
    "E3",
    "E6",
    "LOSSES",
    "SAMPLINGS",
    "ClosedForm",
    "EvaluationBatch",
    "LearningProblem",
    "Params",
    "Problem",
    "check_loss",
]
