"""As test_planted_defects.py, for the claims whose runs train networks."""

import pytest

from tests.bench.claims.planted_defects import DEFECTS
from tests.bench.claims.planted_worlds import NETWORKS, changes, defects_of, unsupported, weighed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("claim", weighed(NETWORKS))
def test_the_right_world_supports(claim):
    assert unsupported(claim) == {}


@pytest.mark.parametrize("defect", defects_of(NETWORKS), ids=lambda one: one.__name__)
def test_a_planted_defect_is_seen(defect, planted):
    assert changes(defect, planted), f"{defect.__name__} changed nothing in {DEFECTS[defect]}"
