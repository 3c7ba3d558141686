"""A claim: a falsifiable statement with its protocol, its prediction and its controls (theory.md section 5).

A claim says which experiments it needs, and turns their stored columns into parts, each with one prediction, one
measurement and at least one control: the same statistic in a world where the prediction must fail, or else the part is
VOID. `Claim.parts` is a pure function of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from string import ascii_lowercase
from typing import Any

from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import Prediction, exact
from bench.claims.share import counted
from bench.claims.verdict import Evidence
from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate, Proportion
from bench.statistics.inference import Region
from shb.errors import ConfigurationError

LEVELS = ("quick", "full")
FAMILIES = {  # name -> title in the report
    "equivalences": "Equivalent forms",
    "convergence": "Convergence",
    "step_sizes": "Step sizes",
    "inclusion": "Differential inclusion",
    "artificial": "Artificial critical points",
    "precision": "Finite precision, ReLU'(0), max-pooling",
    "sampling": "Subgradient sampling and optimizers",
    "practice": "Rules for practice",
    "minimality": "Why the conditions are needed",
}


@dataclass(frozen=True)
class Protocol:
    """The sizes of one run of a claim, from conf/claim/ID.yaml.

    Attributes:
        level: "quick" or "full".
        sizes: name -> number of seeds, steps, ... of this level.
        device: "cpu" or "cuda".
    """

    level: str
    sizes: Mapping[str, Any]
    device: str = "cpu"

    def __getitem__(self, name: str) -> Any:
        if name not in self.sizes:
            raise ConfigurationError(f"claim.{self.level}.{name}", "(missing)", "a value in conf/claim")
        return self.sizes[name]


@dataclass(frozen=True, eq=False)
class Control:
    """The statistic of the part in a world where its prediction must fail.

    It is judged by the rule of the part against the prediction of the part, and fires if that comes out REFUTED.

    Attributes:
        description: what was changed, in words.
        estimate: what the part would have measured there.
        problem: where, if not on the problem of the part.
    """

    description: str
    estimate: Estimate
    problem: str = ""


@dataclass(frozen=True)
class Observed:
    """A control that cannot be judged by the rule of its part: the claim says itself whether the prediction failed.

    Attributes:
        description: what was changed, in words.
        fired: True if the prediction failed there, as it must.
        shown: what was seen, with numbers.
        why: why it is no estimate that the rule of the part must refute.
        problem: where, if not on the problem of the part.
    """

    description: str
    fired: bool
    shown: str
    why: str
    problem: str = ""

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise ConfigurationError(f"control {self.description}.why", "empty", "why the rule cannot refute it")


@dataclass(frozen=True)
class Alternative:
    """The measurement of the part beside another formula. That is arithmetic, no experiment, and no control.

    Attributes:
        description: the other formula, in words.
        shown: what it gives, with numbers.
    """

    description: str
    shown: str


class Status(StrEnum):
    """What a part is a test of."""

    TEST = "TEST"  # of the theory
    META = "META"  # of the logic of the verdicts
    SUPERSEDED = "SUPERSEDED"  # an old prediction, kept beside its correction; it never counts


@dataclass(frozen=True, eq=False)
class Part:
    """One row of the report.

    Attributes:
        title: the statement in plain words, one sentence.
        source: whose statement it is: "paper C-e", "D4(C)", "L3", "seed practice" (theory.md sections 0 and 2).
        prediction: see `Prediction`.
        estimate: the measurement; `Cases` for a prediction about each of several; None only where it is not judged.
        controls: at least one; see `Control`.
        alternatives: other formulas beside the measurement, which decide nothing.
        out_of_scope: why the claim does not apply (an assumption measured as violated, data absent), or None.
        note: what else should be known, one sentence or empty.
        status: see `Status`.
        of: names of the claim's experiments that `estimate` is computed from.
        id: "CL25a", "CL25b", ..., or that of the claim; `Claim.parts` gives it, by the order.
    """

    title: str
    source: str
    prediction: Prediction
    estimate: Estimate | Cases | None
    controls: tuple[Control | Observed, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    out_of_scope: str | None = None
    note: str = ""
    status: Status = Status.TEST
    of: tuple[str, ...] = ()
    id: str = ""

    @property
    def shown(self) -> Estimate | None:
        """The measurement that the report shows: of several cases, the least favourable."""
        if isinstance(self.estimate, Cases):
            return self.estimate[self.estimate.least_favourable(self.prediction.region)]
        return self.estimate

    @property
    def remarks(self) -> str:
        """The note, after what was counted and the case that is shown."""
        remarks = []
        if isinstance(self.estimate, Cases) and len(self.estimate) > 1:
            case = self.estimate.least_favourable(self.prediction.region)
            remarks.append(f"Least favourable of {len(self.estimate)} cases: {case}.")
        if self.prediction.counted and isinstance(self.shown, Proportion):
            remarks.append(f"{counted(self.shown, self.prediction.counted)}.")
        return " ".join([*remarks, self.note]).strip()

    def evidence(self) -> Evidence:
        """What the verdict depends on."""
        return Evidence(
            self.id,
            self.prediction,
            self.estimate,
            tuple(c.estimate if isinstance(c, Control) else bool(c.fired) for c in self.controls),
            self.out_of_scope,
            str(self.status),
        )


Results = Mapping[str, Columns]  # name of the experiment -> its columns


@dataclass(frozen=True)
class Claim:
    """See the module's docstring.

    Attributes:
        id: "CL1", ..., as in theory.md section 5.
        family: a key of FAMILIES.
        title: the statement in plain words.
        source: as in Part.
        experiments: protocol -> name -> experiment.
        statements: (protocol, results) -> parts, in the order of their letters.
        datasets: names of data sets that need files; where one is absent the claim is OUT-OF-SCOPE.
        single: it has one part, whose id is that of the claim.
        appendix: results -> Markdown that the report shows below the claim's family, e.g. a table of figures.
    """

    id: str
    family: str
    title: str
    source: str
    experiments: Callable[[Protocol], Mapping[str, Experiment]]
    statements: Callable[[Protocol, Results], Sequence[Part]]
    datasets: tuple[str, ...] = field(default=())
    appendix: Callable[[Results], str] | None = None
    single: bool = False

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise KeyError(f"{self.id}: unknown family {self.family}")

    def parts(self, protocol: Protocol, results: Results) -> list[Part]:
        """Its parts with their ids: CL25a, CL25b, ... in their order; CL27 for a single one, at every level."""
        letters = ("",) if self.single else ascii_lowercase
        parts = self.statements(protocol, results)
        if unknown := sorted({name for part in parts for name in part.of} - {*results}):
            raise ValueError(f"{self.id}: no experiments called {', '.join(unknown)}")
        if len(parts) > len(letters):
            raise ValueError(f"{self.id}: {len(parts)} parts, more than {len(letters)}")
        return [replace(part, id=part.id or f"{self.id}{letter}") for part, letter in zip(parts, letters)]

    def out_of_scope(self, why: str) -> Part:
        """The only part of a claim that does not apply."""
        return Part(self.title, self.source, exact("", Region()), None, out_of_scope=why, id=self.id)
