"""What a claim finds in a wrong world beside what it finds in the right one, at small sizes."""

import functools
from fnmatch import fnmatchcase

import numpy as np
import pytest

from bench.claims.catalogue import CLAIMS, number
from bench.claims.claim import Protocol, Status
from tests.bench.claims.planted_defects import DEFECTS, forget
from tests.bench.claims.planted_sizes import NOT_SUPPORTED, REACHED, SIZES
from tests.bench.claims.synthetic import verdicts_of

NETWORKS = ("CL47", "CL48", "CL49", "CL51", "CL52", "CL53", "CL58")  # claims whose runs train networks


def weighed(claims):
    """The claims as parameters of a test; from CL47 on they take so long that CI leaves them out."""
    return [pytest.param(one, marks=pytest.mark.long) if number(one) >= 47 else one for one in claims]


def defects_of(claims):
    """The defects that concern `claims`, as `weighed`."""
    return [
        pytest.param(one, marks=pytest.mark.long) if number(claim) >= 47 else one
        for one, claim in DEFECTS.items()
        if claim in claims
    ]


def columns(claim, only=("*",)):
    """Experiment -> columns in the present world, of the experiments whose name matches one of the patterns `only`."""
    from bench.claims.experiment import MEASURES

    found = {}
    for name, one in CLAIMS[claim].experiments(protocol_of(claim)).items():
        if any(fnmatchcase(name, pattern) for pattern in only):
            seeds = np.arange(one.first_seed, one.first_seed + one.seeds)
            measured = MEASURES[one.measure].function(one.settings, seeds)
            found[name] = {key: np.asarray(values, np.float64) for key, values in measured.items()}
    return found


def protocol_of(claim):
    return Protocol("quick", SIZES[claim])


def outcome(claim, results):
    """Part -> verdict and controls; of tests only."""
    tests = {part.id for part in CLAIMS[claim].parts(protocol_of(claim), results) if part.status is Status.TEST}
    return {part: found for part, found in verdicts_of(claim, SIZES[claim], results).items() if part in tests}


@functools.cache
def right_columns(claim):
    forget()
    return columns(claim)


@functools.cache
def right_world(claim):
    return outcome(claim, right_columns(claim))


def unsupported(claim):
    """Parts that have another verdict in the right world than they must have."""
    verdicts = {part: verdict for part, (verdict, _) in right_world(claim).items()}
    assert verdicts
    return {part: one for part, one in verdicts.items() if one != NOT_SUPPORTED.get(part, "SUPPORTED")}


def changes(defect, world, only=None):
    """Part -> what it finds in the right world and with the defect, where that differs.

    Args:
        only: patterns of the experiments that are run in the wrong world (default: those in REACHED); the others are
            those of the right world.
    """
    claim = DEFECTS[defect]
    right = right_columns(claim)
    expected = right_world(claim)
    forget()
    defect(world)
    wrong = columns(claim, only or REACHED.get(defect.__name__, ("*",)))
    assert wrong and wrong.keys() <= right.keys()
    found = outcome(claim, {name: wrong.get(name, right[name]) for name in right})
    return {part: (expected[part], found[part]) for part in expected if expected[part] != found[part]}
