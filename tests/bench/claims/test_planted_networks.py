"""As test_planted_defects.py, for the claims whose runs train networks."""

import pytest

from tests.bench.claims.planted_defects import DEFECTS, forget
from tests.bench.claims.planted_worlds import NETWORKS, changes, unsupported

pytestmark = pytest.mark.slow
CLAIMS = NETWORKS


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
