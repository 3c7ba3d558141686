"""CL56: an oracle is conservative on the kinks themselves: the chain rule holds along polygons inside their strata.

CL31b follows random polygons, which see gradients almost everywhere: it would pass an oracle that returns garbage on
every kink. The content of "conservative" is what happens along paths that stay on kinks (`kink_strata`): E3's line, the
zero bias of E10, a network with a dead unit, one with two tied units. Backpropagation passes whatever ReLU'(0) = t is,
and so does the injected rule (theory.md section 3), although what they return there depends on t: by the chain rule
that part is normal to the stratum.

Predictions: the share of polygons whose defect is above 1e-9 is 0, which n polygons bound; of garbage and of a detached
target it is not, and garbage passes polygons that cross the strata (b), which is what CL31b cannot see.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from bench.claims.artificial import kink_strata  # registers the measure
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.share import never, of_runs
from bench.statistics.cases import Cases
from bench.statistics.estimates import Proportion

TOLERANCE, MOST = 1e-9, 0.05
CORNERS = 3
CONVENTIONS = [(t, "chain") for t in (0.0, 0.25, 0.5, 1.0)] + [(t, "injected") for t in (0.25, 0.5, 1.0)]
WRONG = {"garbage": f"{kink_strata.GARBAGE:g} added on the stratum, along it", "detached": "a detached target"}
PLACES = {"line": "E3's line", "bias": "E10's b = 0", "dead": "dead unit", "tied": "tied units"}
CLOSED, NETWORKS = ("line", "bias"), ("dead", "tied")


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    fresh = itertools.count()  # polygons of its own for every oracle
    each = protocol["polygons"]

    def polygons(kind: str, t: float, rule: str, wrong: str = "", inside: bool = True) -> Experiment:
        count = each if inside else each * len(CONVENTIONS)
        settings = {"kind": kind, "derivative": t, "rule": rule, "wrong": wrong, "inside": inside, "corners": CORNERS}
        seconds = count * (0.05 if kind in NETWORKS else 0.01)
        return Experiment("stratum_defect", settings, count, next(fresh) * each, protocol["chunk"], seconds)

    planned = {f"{kind} {rule} {t:g}": polygons(kind, t, rule) for kind in PLACES for t, rule in CONVENTIONS}
    planned |= {f"{kind} {wrong}": polygons(kind, 0.0, "chain", wrong) for kind in PLACES for wrong in WRONG}
    return planned | {f"{kind} across": polygons(kind, 0.0, "chain", "garbage", inside=False) for kind in CLOSED}


def broken(*columns: Columns) -> Proportion:
    """Share of the polygons whose defect is above TOLERANCE."""
    defects = np.concatenate([one["defect"] for one in columns])
    return of_runs(defects > TOLERANCE)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    def of(kind: str) -> list[str]:
        return [f"{kind} {rule} {t:g}" for t, rule in CONVENTIONS]

    def controls(kinds: Iterable[str], wrongs: Iterable[str] = WRONG) -> tuple[Control, ...]:
        return tuple(Control(f"{PLACES[k]}: {WRONG[w]}", broken(results[f"{k} {w}"])) for k in kinds for w in wrongs)

    def part(title: str, cases: Mapping[str, list[str]], against: tuple[Control, ...], note: str) -> Part:
        names = [name for one in cases.values() for name in one]
        largest = max(float(results[name]["defect"].max()) for name in names)
        return Part(
            title,
            "paper C-b, C-d; theory.md section 3",
            never(f"with a chain-rule defect above {TOLERANCE:g}", MOST),
            Cases({PLACES[kind]: broken(*(results[name] for name in one)) for kind, one in cases.items()}),
            against,
            note=f"Largest defect {largest:.1e}. {note}",
            of=tuple(names),
        )

    def values(kinds: Iterable[str]) -> str:
        """How long the oracle's values are under the conventions that differ most."""
        conventions = ("chain 0", "chain 1", "injected 1")
        shown = {c: np.concatenate([results[f"{kind} {c}"]["oracle"] for kind in kinds]).mean() for c in conventions}
        words = ", ".join(f"{value:.2f} ({c})" for c, value in shown.items())
        return f"Chain and injected rule, t in {{0, 1/4, 1/2, 1}}; mean |v| there {words}."

    across = {kind: [f"{kind} across"] for kind in CLOSED}
    crossings = int(sum(results[name]["crossings"].sum() for names in across.values() for name in names))
    return [
        part(
            "Along polygons inside a line of kinks (E3, E10) backpropagation obeys the chain rule, for every ReLU'(0).",
            {kind: of(kind) for kind in CLOSED},
            controls(CLOSED),
            values(CLOSED),
        ),
        part(
            "The same inside the kinks of networks, where a unit is dead or two units are tied.",
            {kind: of(kind) for kind in NETWORKS},
            controls(NETWORKS),
            values(NETWORKS),
        ),
        part(
            "Random polygons, which only cross kinks, cannot see an oracle that returns garbage on them.",
            across,
            controls(CLOSED, ("garbage",)),
            f"They cross the line of kinks {crossings:,} times.",
        ),
    ]


CLAIM = Claim(
    "CL56",
    "artificial",
    "Formal oracles are conservative on the kinks themselves: the chain rule holds inside their strata.",
    "paper C-b, C-d",
    experiments,
    parts,
)
