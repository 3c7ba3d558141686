"""A judged row per part of a report, and what they come to: no number is counted twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.claims.claim import Part, Status
from bench.claims.expectations import Expectation, expectations
from bench.claims.experiment import Experiment
from bench.claims.independence import identities, repeats, shared
from bench.claims.verdict import Judgement, Verdict, judge


@dataclass(frozen=True, eq=False)
class Row:
    """A part with its judgement and what the expectation file says of it."""

    claim: str  # id of the claim
    part: Part
    judgement: Judgement
    expectation: Expectation
    shared: tuple[str, ...] = ()  # its experiments that other parts are computed from, too
    repeats: str = ""  # the part whose numbers these are

    @property
    def of_processor(self) -> bool:
        """The verdict is another one than on the reference's processors, as it may be on this one."""
        return self.judgement.verdict in self.expectation.elsewhere

    @property
    def expected(self) -> bool:
        """The verdict is acceptable; the exit code depends on this alone."""
        return self.judgement.verdict in self.expectation.verdicts or self.of_processor


def rows(
    parts: Mapping[str, Sequence[Part]], experiments: Mapping[str, Mapping[str, Experiment]] | None = None
) -> list[Row]:
    """Judge all parts of one report together (claim id -> its parts; claim id -> name -> experiment)."""
    owners = [(claim, part) for claim, of_claim in parts.items() for part in of_claim]
    judgements = judge([part.evidence() for _, part in owners])
    known = expectations()
    used = identities(owners, experiments or {})
    sharing, repeated = shared(used), repeats(owners)
    return [
        Row(
            claim,
            part,
            judgement,
            known.get(part.id, Expectation()),
            tuple(sharing[part.id]),
            repeated.get(part.id, ""),
        )
        for (claim, part), judgement in zip(owners, judgements)
    ]


@dataclass(frozen=True)
class Headline:
    """What a report comes to.

    Attributes:
        verdicts: verdict -> parts that test the theory and do not repeat another part.
        repeated: parts that test the theory and repeat the numbers of another.
        apart: status -> parts that are no tests of the theory.
        experiments: different experiments (settings) behind the verdicts that are counted.
    """

    verdicts: Mapping[Verdict, int]
    repeated: int
    apart: Mapping[Status, int]
    experiments: int

    def sentences(self) -> list[str]:
        """The counts, in words."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        lines = [f"{counts}."]
        if self.experiments:
            parts = sum(self.verdicts.values())
            lines.append(f"Behind these {parts} verdicts stand {self.experiments} different experiments.")
        if self.repeated:
            lines.append(f"Not counted: {self.repeated} that repeat the numbers of another part.")
        names = {Status.META: "tests of the verdicts", Status.SUPERSEDED: "superseded predictions"}
        lines += [f"Not counted: {count} {names[status]}." for status, count in self.apart.items()]
        return lines


def headline(report: Sequence[Row], experiments: Mapping[str, Mapping[str, Experiment]]) -> Headline:
    """Counts of a report: duplicates once, and apart what is no test of the theory."""
    tests = [row for row in report if row.part.status is Status.TEST]
    counted = [row for row in tests if not row.repeats]
    used = identities([(row.claim, row.part) for row in counted], experiments)
    return Headline(
        {v: n for v in Verdict if (n := sum(row.judgement.verdict is v for row in counted))},
        len(tests) - len(counted),
        {s: n for s in Status if s is not Status.TEST and (n := sum(row.part.status is s for row in report))},
        len({identity for own in used.values() for identity in own}),
    )
