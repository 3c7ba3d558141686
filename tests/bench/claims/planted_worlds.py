"""What a claim finds in a wrong world beside what it finds in the right one, at small sizes."""

import functools

import numpy as np

from tests.bench.claims.planted_defects import DEFECTS, forget
from tests.bench.claims.planted_sizes import NOT_SUPPORTED, SIZES
from tests.bench.claims.synthetic import verdicts_of

NETWORKS = ("CL47", "CL48", "CL49", "CL51", "CL52", "CL53", "CL58")  # claims whose runs train networks


def outcome(claim):
    """Part -> verdict and controls, of the claim in the present world."""
    from bench.claims.catalogue import CLAIMS
    from bench.claims.claim import Protocol, Status
    from bench.claims.experiment import MEASURES

    protocol = Protocol("quick", SIZES[claim])
    results = {}
    for name, one in CLAIMS[claim].experiments(protocol).items():
        columns = MEASURES[one.measure].function(one.settings, np.arange(one.first_seed, one.first_seed + one.seeds))
        results[name] = {key: np.asarray(values, np.float64) for key, values in columns.items()}
    tests = {part.id for part in CLAIMS[claim].parts(protocol, results) if part.status is Status.TEST}
    return {part: found for part, found in verdicts_of(claim, SIZES[claim], results).items() if part in tests}


@functools.cache
def right_world(claim):
    forget()
    return outcome(claim)


def unsupported(claim):
    """Parts that have another verdict in the right world than they must have."""
    verdicts = {part: verdict for part, (verdict, _) in right_world(claim).items()}
    assert verdicts
    return {part: one for part, one in verdicts.items() if one != NOT_SUPPORTED.get(part, "SUPPORTED")}


def changes(defect, world):
    """Part -> what it finds in the right world and with the defect, where that differs."""
    claim = DEFECTS[defect]
    right = right_world(claim)
    forget()
    defect(world)
    wrong = outcome(claim)
    return {part: (right[part], wrong[part]) for part in right if right[part] != wrong[part]}
