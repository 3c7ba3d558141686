"""Closed-form examples of theory.md: E1-E16 of section 4 and the test functions of sections 2.6 and 5, with facts.

>>> from shb.problems.closed_forms import CLOSED_FORMS, Noise, Quadratic
>>> len(CLOSED_FORMS), CLOSED_FORMS["quadratic"] is Quadratic
(21, True)
>>> Quadratic(curvature=[1.0, 4.0], sigma=0.5).stationary_variance(lr=0.1, momentum=0.5).mul(1e4).round().tolist()
[259.0, 72.0]
"""

from shb.problems.closed_forms.additive import Absolute, Quadratic, Quartic, Valley
from shb.problems.closed_forms.border import E10
from shb.problems.closed_forms.closed_form import ClosedForm
from shb.problems.closed_forms.controls import E11, E12
from shb.problems.closed_forms.heavy_tails import E13
from shb.problems.closed_forms.lasso import E8
from shb.problems.closed_forms.max_affine import MaxAffinePlane
from shb.problems.closed_forms.neurons import E5, E6
from shb.problems.closed_forms.noise import LAWS, Noise
from shb.problems.closed_forms.regular import E4, E7
from shb.problems.closed_forms.saddle import E16
from shb.problems.closed_forms.spiral import E14
from shb.problems.closed_forms.splitting import E15
from shb.problems.closed_forms.traps import E1, E2, E3, E9

CLOSED_FORMS: dict[str, type[ClosedForm]] = {
    problem.name: problem
    for problem in (
        *(E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12, E13, E14, E15, E16),
        *(Quadratic, Absolute, MaxAffinePlane, Valley, Quartic),
    )
}

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
    "LAWS",
    "Absolute",
    "ClosedForm",
    "MaxAffinePlane",
    "Noise",
    "Quadratic",
    "Quartic",
    "Valley",
]
