"""Wrong worlds: each defect, planted alone, must change a verdict or silence a control of a claim that it concerns.

A defect is planted in the library (not in the claims), experiments of the claim run in that world, and its verdicts are
compared with those of the right world. `docs/claims.md` shows the table. Claims on networks: test_planted_networks.py.
"""

import pytest

from tests.bench.claims.planted_defects import DEFECTS
from tests.bench.claims.planted_sizes import REACHED, SIZES
from tests.bench.claims.planted_worlds import NETWORKS, changes, defects_of, unsupported, weighed

pytestmark = pytest.mark.slow
CLAIMS = sorted(set(SIZES) - set(NETWORKS))


@pytest.mark.parametrize("claim", weighed(CLAIMS))
def test_the_right_world_supports(claim):
    assert unsupported(claim) == {}


@pytest.mark.parametrize("defect", defects_of(CLAIMS), ids=lambda one: one.__name__)
def test_a_planted_defect_is_seen(defect, planted):
    assert changes(defect, planted), f"{defect.__name__} changed nothing in {DEFECTS[defect]}"


def test_there_are_at_least_twelve():
    assert len(DEFECTS) >= 12 and set(DEFECTS.values()) <= set(SIZES)
    assert set(REACHED) <= {one.__name__ for one in DEFECTS}
