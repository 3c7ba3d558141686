"""What the tests of planted defects share."""

import pytest

from tests.bench.claims.planted_defects import forget


@pytest.fixture
def planted(monkeypatch):
    """monkeypatch for a wrong world, with the caches emptied before and after."""
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()
