"""The table of slow cases fits the tests: what it names is there, and every test keeps a case that is not slow."""

from tests.conftest import CASES
from tests.slow_cases import SLOW_CASES, rows


def test_every_row_fits_a_case(request):
    cases = request.config.stash[CASES]
    fitting = {row for (file, test), ids in cases.items() for case in ids for row in rows(file, test, case)}
    collected = {file for file, _ in cases}
    table = [
        (file, name, row)
        for file, tests in SLOW_CASES.items()
        if file in collected  # in a run of all tests every one is
        for name, of_test in tests.items()
        for row in of_test
    ]
    assert [row for row in table if row not in fitting] == []


def test_every_test_keeps_a_case(request):
    cases = request.config.stash[CASES]
    lost = [key for key, ids in cases.items() if all(rows(*key, case) for case in ids)]
    assert lost == []
