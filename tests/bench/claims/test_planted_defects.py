"""Wrong worlds: each defect, planted alone, must change a verdict or silence a control of a claim that it concerns.

A defect is planted in the library (not in the claims), the claim's experiments run in that world, and its verdicts are
compared with those of the right world. `docs/claims.md` shows the table.
"""

import functools

import numpy as np
import pytest

from tests.bench.claims.planted_defects import DEFECTS, forget
from tests.bench.claims.planted_sizes import NOT_SUPPORTED, SIZES
from tests.bench.claims.synthetic import verdicts_of

pytestmark = pytest.mark.slow


@pytest.fixture
def world(monkeypatch):
    """monkeypatch, with the caches emptied before and after."""
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


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


@pytest.mark.parametrize("claim", sorted(SIZES))
def test_the_right_world_supports(claim):
    found = right_world(claim)
    assert found
    verdicts = {part: verdict for part, (verdict, _) in found.items()}
    assert {part: one for part, one in verdicts.items() if one != NOT_SUPPORTED.get(part, "SUPPORTED")} == {}


@pytest.mark.parametrize(("defect", "claim"), DEFECTS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_defect_is_seen(defect, claim, world):
    right = right_world(claim)
    forget()
    defect(world)
    wrong = outcome(claim)
    changed = {part: (right[part], wrong[part]) for part in right if right[part] != wrong[part]}
    assert changed, f"{defect.__name__} changed nothing in {claim}"


def test_there_are_at_least_twelve():
    assert len(DEFECTS) >= 12
