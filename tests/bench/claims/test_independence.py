"""What stands behind a report: shared experiments, repeated numbers, parts that are no tests of the theory."""

import numpy as np
import pytest

from bench.claims.claim import Observed, Part, Status
from bench.claims.independence import identities, repeats, shared
from bench.claims.prediction import inside
from bench.claims.row import headline, rows
from bench.claims.share import always
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region

FIRED = (Observed("changed", True, "failed", "made up"),)
SGD, SHB = ({"problem": "e1", "optimizer": name, "optimizer.lr": 0.1, "steps": 5} for name in ("sgd", "shb"))
EXPERIMENTS = {
    "CL1": {"sgd": trajectories(SGD, seeds=10), "shb": trajectories(SHB, seeds=10)},
    "CL2": {"same": trajectories(SGD, seeds=99), "longer": trajectories({**SGD, "steps": 6}, seeds=10)},
}


def part(id, estimate, of=(), **fields):
    return Part("", "", inside("", Region(0, 2)), estimate, FIRED, of=of, id=id, **fields)


def mean(seed):
    return Mean(np.random.default_rng(seed).normal(1, 0.1, 50))


def owned(*parts):
    return [(one.id[:3], one) for one in parts]


def test_an_experiment_is_shared_by_its_settings_not_by_its_name_or_seeds():
    parts = owned(
        part("CL1a", mean(1), ("sgd", "shb")), part("CL2a", mean(2), ("same",)), part("CL2b", mean(3), ("longer",))
    )
    used = identities(parts, EXPERIMENTS)
    assert shared(used) == {"CL1a": ["CL1 sgd"], "CL2a": ["CL2 same"], "CL2b": []}


def test_the_same_numbers_are_a_repetition_and_a_share_of_all_is_none():
    all_of = Proportion(10, 10)
    parts = owned(
        part("CL1a", mean(1), ("sgd",)),
        part("CL1b", mean(1), ("shb",)),  # another experiment that shares its random numbers
        part("CL1c", all_of, ("sgd",)),
        part("CL1d", all_of, ("shb",)),
        part("CL2a", all_of, ("same",)),
        part("CL2b", Cases({"x": mean(4)}), ("longer",)),
        part("CL2c", Cases({"x": mean(4)}), ("longer",)),
        part("CL2d", None),
    )
    assert repeats(parts) == {"CL1b": "CL1a", "CL2c": "CL2b"}


def test_the_headline_counts_nothing_twice():
    parts = {
        "CL1": [part("CL1a", mean(1), ("sgd",)), part("CL1b", mean(1), ("shb",))],
        "CL2": [
            part("CL2a", mean(2), ("same",)),
            part("CL2b", Mean(np.full(50, 9.0) + np.arange(50) / 50), ("longer",), status=Status.SUPERSEDED),
            part("CL2c", mean(5), ("longer",), status=Status.META),
        ],
    }
    report = rows(parts, EXPERIMENTS)
    found = headline(report, EXPERIMENTS)
    assert [row.repeats for row in report] == ["", "CL1a", "", "", ""]
    assert found.verdicts == {"SUPPORTED": 2} and found.repeated == 1 and found.experiments == 1
    assert found.apart == {"META": 1, "SUPERSEDED": 1}
    assert found.sentences() == [
        "2 SUPPORTED.",
        "Behind these 2 verdicts stand 1 different experiments.",
        "Not counted: 1 that repeat the numbers of another part.",
        "Not counted: 1 tests of the verdicts.",
        "Not counted: 1 superseded predictions.",
    ]


def test_what_is_no_test_of_the_theory_costs_the_others_nothing():
    tests = [part(f"CL1{letter}", mean(i)) for i, letter in enumerate("abc")]
    alone = rows({"CL1": tests})
    beside = rows({"CL1": [*tests, *(part(f"CL1{letter}", mean(9), status=Status.SUPERSEDED) for letter in "de")]})
    for one, other in zip(alone, beside):
        assert one.judgement == other.judgement


def test_a_share_says_what_it_counts_and_cases_say_which_is_shown():
    cases = Cases({"good": Proportion(400, 400), "bad": Proportion(399, 400)})
    one = Part("", "", always("frozen"), cases, FIRED, note="As derived.")
    assert one.remarks == "Least favourable of 2 cases: bad. 399 of 400 frozen. As derived."
    assert one.shown == Proportion(399, 400)


def test_an_experiment_that_a_part_names_must_exist():
    from bench.claims.claim import Claim

    claim = Claim("CL1", "convergence", "", "", lambda _: {}, lambda _, __: [part("", mean(1), ("sgd",))])
    with pytest.raises(ValueError, match="CL1: no experiments called sgd"):
        claim.parts(None, {})
    assert [one.id for one in claim.parts(None, {"sgd": {}})] == ["CL1a"]
