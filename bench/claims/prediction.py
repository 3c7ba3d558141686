"""What a part of a claim predicts, fixed before the measurement: a value or a region, and the rule that judges it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate, Exact
from bench.statistics.inference import Region, p_inside, p_outside
from shb.errors import ConfigurationError, choose

RULES = ("inside", "tost", "point", "exact")


@dataclass(frozen=True)
class Prediction:
    """Made by `inside`, `tost`, `point` and `exact` below, and by those of bench/claims/share.py.

    Attributes:
        words: the prediction in words and numbers, for the report.
        rule: with interval = two-sided confidence interval of the estimate, closed like the region,
            "inside": SUPPORTED if the (1 - alpha) interval lies inside `region`, REFUTED if it is disjoint from it;
            "tost": SUPPORTED if the (1 - 2 alpha) interval lies inside `region`, REFUTED as for "inside"
            ("no difference", and one-sided bounds on shares);
            "point": REFUTED if the (1 - alpha) interval excludes `target`, else SUPPORTED if the (1 - 2 alpha) interval
            lies inside `region`, which is target +- resolution;
            "exact": SUPPORTED if the deterministic value lies in `region`, else REFUTED.
        region: predicted values.
        target: the predicted value, of rule "point".
        unit: of the measured value, e.g. "share", "slope", "ratio", "" for none.
        counted: of a share, what is counted, in words; "" if nothing is.
    """

    words: str
    rule: str
    region: Region
    target: float | None = None
    unit: str = ""
    counted: str = ""

    def __post_init__(self) -> None:
        choose("prediction.rule", self.rule, RULES)
        if (self.target is not None) != (self.rule == "point"):
            raise ConfigurationError("prediction.target", self.target, "a value for rule point, and for no other rule")
        if self.target is not None and not math.isfinite(self.region.high - self.region.low):
            raise ConfigurationError("prediction.target", self.target, "finite, with a finite resolution")

    @property
    def refutable(self) -> Region:
        """What an interval must exclude to refute the prediction."""
        return self.region if self.target is None else Region(self.target, self.target)

    @property
    def one_sided(self) -> bool:
        """Whether two one-sided tests support it."""
        return self.rule in ("tost", "point")

    def p_support(self, estimate: Estimate | Cases) -> float:
        """p-value for the prediction: the false-positive rate of SUPPORTED where the truth lies outside `region`."""
        if isinstance(estimate, Cases):
            return estimate.p_inside(self.region, one_sided=self.one_sided)
        return p_inside(estimate, self.region, one_sided=self.one_sided)

    def p_refute(self, estimate: Estimate | Cases) -> float:
        """p-value against the prediction."""
        if isinstance(estimate, Cases):
            return estimate.p_outside(self.refutable)
        return p_outside(estimate, self.refutable)

    def refuted_by(self, estimate: Estimate, alpha: float) -> bool:
        """Whether `estimate` alone makes the verdict REFUTED at `alpha`: what a control must do.

        An interval that overlaps the prediction does not refute it, however wide it is.
        """
        if self.rule == "exact":
            low, high = estimate.interval(1 - alpha)
            return high < self.region.low or low > self.region.high
        return self.p_refute(estimate) < alpha * (1 - 1e-9)

    def check(self, name: str, estimate: Estimate | Cases) -> None:
        """Raise a ConfigurationError if `estimate` is no measurement for this rule."""
        if isinstance(estimate, Exact) != (self.rule == "exact"):
            kind = type(estimate).__name__
            raise ConfigurationError(f"{name}.estimate", kind, "Exact for rule exact, and for no other rule")


def inside(words: str, region: Region, unit: str = "") -> Prediction:
    """The value lies in `region`."""
    return Prediction(words, "inside", region, unit=unit)


def tost(words: str, region: Region, unit: str = "") -> Prediction:
    """No difference: the value lies in `region`, a margin fixed beforehand; or a one-sided bound."""
    return Prediction(words, "tost", region, unit=unit)


def point(words: str, target: float, resolution: float, unit: str = "") -> Prediction:
    """The value is `target`, known to within `resolution` > 0."""
    if not 0 < resolution < math.inf:
        raise ConfigurationError("prediction.resolution", resolution, "a finite number > 0")
    return Prediction(words, "point", Region(target - resolution, target + resolution), target, unit)


def exact(words: str, region: Region, unit: str = "") -> Prediction:
    """A number without any randomness lies in `region`."""
    return Prediction(words, "exact", region, unit=unit)
