"""Identities of stored ensembles: a change of how claims are written must not make stored results useless."""

import json
from pathlib import Path

import pytest

from bench.cell.config import ClaimsConfig, compose_as
from bench.claims.catalogue import CLAIMS
from bench.claims.claim import LEVELS, Protocol
from bench.claims.sampling import networks

KNOWN = json.loads((Path(__file__).parent / "identities.json").read_text())  # claim level -> experiment -> identity


def identities(claim, level):
    """Experiment -> identity of its seed 0 alone, which depends on its measure and settings only."""
    sizes = compose_as(ClaimsConfig, [f"claim={claim}"]).claim.sizes[level]
    return {name: one.ensemble_id(0, 1) for name, one in CLAIMS[claim].experiments(Protocol(level, sizes)).items()}


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_experiments_of_a_claim_are_those_that_are_known(claim, monkeypatch):
    """A changed identity throws stored results away: it is a deliberate act, and then is written in identities.json

    (python -m tests.bench.claims.test_identities).
    """
    monkeypatch.setattr(networks, "check_files", lambda dataset: None)
    for level in LEVELS:
        assert identities(claim, level) == KNOWN[f"{claim} {level}"]


if __name__ == "__main__":
    networks.check_files = lambda dataset: None
    found = {f"{claim} {level}": identities(claim, level) for claim in CLAIMS for level in LEVELS}
    (Path(__file__).parent / "identities.json").write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
