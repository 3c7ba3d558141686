"""A claim: a falsifiable statement with its protocol, its prediction and its controls (theory.md section 5).

A claim says which experiments it needs, and turns their stored columns into parts, each with one prediction, one
measurement and at least one control: the same statistic in a world where the prediction must fail, or else the part is
VOID. `parts` is a pure function of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.claims.experiment import Columns, Experiment
from bench.claims.verdict import Evidence
from bench.statistics.estimates import Estimate
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
        problem: where, if not on the problem of the part.
    """

    description: str
    fired: bool
    shown: str
    problem: str = ""


@dataclass(frozen=True)
class Alternative:
    """The measurement of the part beside another formula. That is arithmetic, no experiment, and no control.

    Attributes:
        description: the other formula, in words.
        shown: what it gives, with numbers.
    """

    description: str
    shown: str


@dataclass(frozen=True, eq=False)
class Part:
    """One row of the report.

    Attributes:
        id: "CL25", or "CL25a", "CL25b", ... for a claim of several parts.
        title: the statement in plain words, one sentence.
        source: whose statement it is: "paper C-e", "D4(C)", "L3", "seed practice" (theory.md sections 0 and 2).
        predicted: the prediction in words and numbers.
        estimate, rule, region, target, resolution: see `Evidence`.
        controls: at least one; see `Control`.
        alternatives: other formulas beside the measurement, which decide nothing.
        out_of_scope: why the claim does not apply (an assumption measured as violated, data absent), or None.
        unit: of the measured value, e.g. "share", "slope", "ratio", "" for none.
        note: what else should be known, one sentence or empty.
    """

    id: str
    title: str
    source: str
    predicted: str
    estimate: Estimate | None
    rule: str
    controls: tuple[Control | Observed, ...]
    region: Region | None = None
    target: float | None = None
    resolution: float | None = None
    out_of_scope: str | None = None
    unit: str = ""
    note: str = ""
    alternatives: tuple[Alternative, ...] = ()

    def evidence(self) -> Evidence:
        """What the verdict depends on."""
        return Evidence(
            self.id,
            self.estimate,
            self.rule,
            self.region,
            self.target,
            self.resolution,
            tuple(c.estimate if isinstance(c, Control) else bool(c.fired) for c in self.controls),
            self.out_of_scope,
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
        parts: (protocol, results) -> parts.
        datasets: names of data sets that need files; where one is absent the claim is OUT-OF-SCOPE.
        appendix: results -> Markdown that the report shows below the claim's family, e.g. a table of figures.
    """

    id: str
    family: str
    title: str
    source: str
    experiments: Callable[[Protocol], Mapping[str, Experiment]]
    parts: Callable[[Protocol, Results], Sequence[Part]]
    datasets: tuple[str, ...] = field(default=())
    appendix: Callable[[Results], str] | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise KeyError(f"{self.id}: unknown family {self.family}")
