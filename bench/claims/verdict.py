"""Verdicts on the parts of one report of claims, from their evidence and their controls (theory.md 5.0)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bench.statistics.estimates import Estimate, Exact
from bench.statistics.inference import ALPHA, Region, holm, p_inside, p_outside
from shb.errors import ConfigurationError, choose

RULES = ("inside", "tost", "contains", "exact")


class Verdict(StrEnum):
    """What the evidence says about a prediction."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    VOID = "VOID"  # a control did not fire: the experiment could not have failed
    OUT_OF_SCOPE = "OUT-OF-SCOPE"  # an assumption was measured as violated, or the data are absent


@dataclass(frozen=True, eq=False)
class Evidence:
    """One part of a claim: what was predicted, what was measured, and whether the controls fired.

    Args:
        id: name of the part, e.g. CL25a; unique in a report.
        estimate: the measurement; only a part that is out of scope or VOID may lack it.
        rule: with interval = two-sided confidence interval of the estimate, closed like the region,
            "inside": SUPPORTED if the (1 - alpha) interval lies inside `region`, REFUTED if it is disjoint from it;
            "tost": SUPPORTED if the (1 - 2 alpha) interval lies inside `region`, REFUTED as for "inside"
            ("no difference", and one-sided bounds on shares; the region is fixed beforehand);
            "contains": REFUTED if the (1 - alpha) interval excludes `target`, SUPPORTED if it contains it and its
            half-width is at most `resolution`;
            "exact": SUPPORTED if the deterministic value lies in `region`, else REFUTED.
        controls: for each control, what the part would have measured there, or whether the prediction failed there.
        out_of_scope: why the claim does not apply, or None.
    """

    id: str
    estimate: Estimate | None
    rule: str
    region: Region | None = None
    target: float | None = None
    resolution: float | None = None
    controls: tuple[Estimate | bool, ...] = ()
    out_of_scope: str | None = None

    def __post_init__(self) -> None:
        choose(f"{self.id}.rule", self.rule, RULES)
        given = {name for name in ("region", "target", "resolution") if getattr(self, name) is not None}
        needed = {"target", "resolution"} if self.rule == "contains" else {"region"}
        if given != needed:
            allowed = f"{' and '.join(sorted(needed))}, nothing else, for rule {self.rule}"
            raise ConfigurationError(f"{self.id}.prediction", ", ".join(sorted(given)) or "none", allowed)
        if self.rule == "contains" and not (math.isfinite(self.target) and 0 < self.resolution < math.inf):
            given = (self.target, self.resolution)
            raise ConfigurationError(f"{self.id}.target, resolution", given, "a finite target, a finite resolution > 0")
        if not all(isinstance(control, bool | np.bool_ | Estimate) for control in self.controls):
            raise ConfigurationError(f"{self.id}.controls", self.controls, "a tuple of estimates, or of True and False")
        if self.estimate is None and not self._without_verdict():
            raise ConfigurationError(
                f"{self.id}.estimate", None, "an estimate, for a part in scope whose controls fired"
            )
        if self.estimate is not None and isinstance(self.estimate, Exact) != (self.rule == "exact"):
            kind = type(self.estimate).__name__
            raise ConfigurationError(f"{self.id}.estimate", kind, "Exact for rule exact, and for no other rule")

    def _without_verdict(self) -> tuple[Verdict, str] | None:
        """OUT-OF-SCOPE or VOID with the reason, if the measurement is not to be judged."""
        if self.out_of_scope is not None:
            return Verdict.OUT_OF_SCOPE, " ".join(self.out_of_scope.split()) or "no reason given"
        if not self.controls:
            return Verdict.VOID, "no control was run"
        silent = [str(number) for number, control in enumerate(self.controls, 1) if not self.fires(control)]
        if silent:
            return Verdict.VOID, f"control {', '.join(silent)} of {len(self.controls)} did not fire"
        return None

    def fires(self, control: Estimate | bool, alpha: float = ALPHA) -> bool:
        """Whether the prediction is REFUTED by what was measured in a control, at `alpha` for this control alone.

        An interval that overlaps the prediction does not refute it, however wide it is.
        """
        if not isinstance(control, Estimate):
            return bool(control)
        if self.rule == "exact":
            low, high = control.interval(1 - alpha)
            return high < self.predicted.low or low > self.predicted.high
        return p_outside(control, self.predicted) < alpha * (1 - 1e-9)

    @property
    def predicted(self) -> Region:
        """The predicted region; a point for rule "contains"."""
        return self.region if self.region is not None else Region(self.target, self.target)


@dataclass(frozen=True)
class Judgement:
    """Verdict of one part after Holm's correction over the report; p-values are None where a rule has none."""

    id: str
    verdict: Verdict
    unadjusted: Verdict  # the verdict if this part were the whole report
    reason: str  # one line
    p_support: float | None = None
    p_refute: float | None = None
    p_support_holm: float | None = None
    p_refute_holm: float | None = None


def judge(evidences: Sequence[Evidence], alpha: float = ALPHA) -> list[Judgement]:
    """Verdicts on all parts of one report, in the order given.

    OUT-OF-SCOPE comes first, then VOID (a control did not fire, or there is none), then the rule. Two Holm families
    keep the chance of any false SUPPORTED, and of any false REFUTED, at `alpha` each: the p-values for support of all
    "inside" and "tost" parts, and those against the prediction of all parts but "exact" ones. A bootstrap of B
    resamples gives no p-value below 2 / (B + 1), so its part cannot be decided among more than alpha (B + 1) / 2.
    """
    if not 0 < alpha < 0.5:
        raise ConfigurationError("alpha", alpha, "a number in (0, 0.5)")
    ids = [evidence.id for evidence in evidences]
    if len(set(ids)) < len(ids):
        raise ConfigurationError("id", ", ".join(sorted({i for i in ids if ids.count(i) > 1})), "each id once")
    tested = [one for one in evidences if one.rule != "exact" and not one._without_verdict()]
    regions = [one for one in tested if one.rule != "contains"]
    support = {one.id: p_inside(one.estimate, one.region, one_sided=one.rule == "tost") for one in regions}
    refute = {one.id: p_outside(one.estimate, one.predicted) for one in tested}
    support_holm, refute_holm = (dict(zip(p, holm(list(p.values())).tolist())) for p in (support, refute))
    judgements = []
    for one in evidences:
        early = one._without_verdict()
        if early:
            judgements.append(Judgement(one.id, early[0], early[0], early[1]))
            continue
        raw, adjusted = ((p.get(one.id), q.get(one.id)) for p, q in ((support, refute), (support_holm, refute_holm)))
        unadjusted, _ = _decide(one, *raw, alpha)
        verdict, why = _decide(one, *adjusted, alpha)
        if unadjusted is not verdict:
            why += f"; {unadjusted} before Holm's correction"
        judgements.append(Judgement(one.id, verdict, unadjusted, why, *raw, *adjusted))
    return judgements


def _decide(one: Evidence, p_support: float | None, p_refute: float | None, alpha: float) -> tuple[Verdict, str]:
    if one.rule == "exact":
        inside = one.estimate.value in one.region
        why = f"{one.estimate.value:.4g} lies {'inside' if inside else 'outside'} {one.region}"
        return (Verdict.SUPPORTED if inside else Verdict.REFUTED), why
    # An interval that touches the edge of a closed region is inside, not disjoint. At such a tie the p-value equals
    # alpha up to rounding (1 - 0.95 > 0.05 in floating point).
    supported = p_support is not None and p_support <= alpha * (1 + 1e-9)
    refuted = p_refute < alpha * (1 - 1e-9)
    confidence = 1 - 2 * alpha if one.rule == "tost" and not refuted else 1 - alpha
    low, high = one.estimate.interval(confidence)
    shown = f"{100 * confidence:.4g} % interval [{low:.4g}, {high:.4g}]"
    if refuted:
        return Verdict.REFUTED, f"{shown} outside {one.predicted}, Holm p = {p_refute:.2g}"
    if one.rule != "contains":
        if supported:
            return Verdict.SUPPORTED, f"{shown} inside {one.region}, Holm p = {p_support:.2g}"
        return (
            Verdict.INCONCLUSIVE,
            f"{shown} against {one.region}, Holm p = {p_support:.2g} for, {p_refute:.2g} against",
        )
    half = (high - low) / 2
    if not low <= one.target <= high:
        return Verdict.INCONCLUSIVE, f"{shown} excludes {one.target:.4g}, but not after Holm, p = {p_refute:.2g}"
    if half <= one.resolution:
        return Verdict.SUPPORTED, f"{shown} for {one.target:.4g}, half-width within {one.resolution:.4g}"
    return Verdict.INCONCLUSIVE, f"{shown} for {one.target:.4g}, half-width {half:.2g} above {one.resolution:.4g}"
