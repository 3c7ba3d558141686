"""What stands behind a report: experiments, and parts that only repeat the numbers of another part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.claims.claim import Part
from bench.claims.experiment import Experiment
from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate

Owned = tuple[str, Part]  # id of the claim, its part


def identities(
    parts: Sequence[Owned], experiments: Mapping[str, Mapping[str, Experiment]]
) -> dict[str, dict[str, str]]:
    """Id of a part -> identity -> name, "CL25 sgd", of the experiments that its estimate is computed from.

    Args:
        experiments: claim -> name -> experiment. Claims that plan the same settings share the identity.
    """
    found = {}
    for claim, part in parts:
        own = experiments.get(claim, {})
        found[part.id] = {own[name].ensemble_id(0, 1): f"{claim} {name}" for name in part.of if name in own}
    return found


def shared(used: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Id of a part -> its experiments that other parts are computed from, too: it is not independent of those parts."""
    owners: dict[str, int] = {}
    for own in used.values():
        for identity in own:
            owners[identity] = owners.get(identity, 0) + 1
    return {part: [name for identity, name in own.items() if owners[identity] > 1] for part, own in used.items()}


def repeats(parts: Sequence[Owned]) -> dict[str, str]:
    """Id of a part -> the first part that has the same numbers already.

    Numbers are the same if value, sample size and interval are: of the same columns, or of other experiments whose runs
    share their random numbers. A share of all or of none is no such coincidence, and repeats nothing.
    """
    first: dict[object, str] = {}
    found = {}
    for _, part in parts:
        if part.estimate is None or _degenerate(part.estimate):
            continue
        numbers = _numbers(part.estimate)
        if numbers in first:
            found[part.id] = first[numbers]
        first.setdefault(numbers, part.id)
    return found


def _numbers(estimate: Estimate | Cases) -> object:
    if isinstance(estimate, Cases):
        return tuple((name, _numbers(estimate[name])) for name in estimate)
    return float(estimate.value), estimate.n, estimate.interval()


def _degenerate(estimate: Estimate | Cases) -> bool:
    """Whether nothing varied, so that equal numbers say nothing."""
    if isinstance(estimate, Cases):
        return all(_degenerate(estimate[name]) for name in estimate)
    low, high = estimate.interval()
    return low == high or estimate.value in (0.0, 1.0)
