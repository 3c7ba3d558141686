"""Parts of a claim from columns made up by a test, and tiny runs of a claim."""

import numpy as np

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.verdict import judge


def verdicts_of(claim, sizes, results):
    """Part -> (verdict, the controls that fired), for columns of the experiments."""
    parts = CLAIMS[claim].parts(Protocol("quick", sizes), results)
    judged = judge([part.evidence() for part in parts])
    return {
        p.id: (str(j.verdict), tuple(map(p.evidence().fires, p.evidence().controls))) for p, j in zip(parts, judged)
    }


def run_tiny(claim, sizes):
    """The columns of all experiments of a claim at `sizes`, and its parts."""
    protocol = Protocol("quick", sizes)
    results = {}
    for name, one in CLAIMS[claim].experiments(protocol).items():
        columns = MEASURES[one.measure].function(one.settings, np.arange(one.seeds))
        results[name] = {key: np.asarray(values, np.float64) for key, values in columns.items()}
    return results, CLAIMS[claim].parts(protocol, results)
