"""Wrong worlds: each defect, planted alone, must change a verdict or silence a control of a claim that it concerns.

A defect is planted in the library (not in the claims), the claim's experiments run in that world, and its verdicts are
compared with those of the right world. `docs/claims.md` shows the table. Claims on networks: test_planted_networks.py.
"""

import pytest

from tests.bench.claims.planted_defects import DEFECTS, forget
from tests.bench.claims.planted_sizes import SIZES
from tests.bench.claims.planted_worlds import NETWORKS, changes, unsupported

pytestmark = pytest.mark.slow
CLAIMS = sorted(set(SIZES) - set(NETWORKS))


@pytest.fixture
def world(monkeypatch):
    """monkeypatch, with the caches emptied before and after."""
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_right_world_supports(claim):
    assert unsupported(claim) == {}


@pytest.mark.parametrize("defect", [one for one in DEFECTS if DEFECTS[one] in CLAIMS], ids=lambda one: one.__name__)
def test_a_planted_defect_is_seen(defect, world):
    assert changes(defect, world), f"{defect.__name__} changed nothing in {DEFECTS[defect]}"


def test_there_are_at_least_twelve():
    assert len(DEFECTS) >= 12 and set(DEFECTS.values()) <= set(SIZES)
