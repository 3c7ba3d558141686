"""Verdicts on the parts of one report of claims, from their evidence and their controls (theory.md 5.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bench.claims.prediction import Prediction
from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate
from bench.statistics.inference import ALPHA, holm
from shb.errors import ConfigurationError


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
        controls: for each control, what the part would have measured there, or whether the prediction failed there.
        out_of_scope: why the claim does not apply, or None.
        family: parts that are corrected for one another.
    """

    id: str
    prediction: Prediction
    estimate: Estimate | Cases | None
    controls: tuple[Estimate | bool, ...] = ()
    out_of_scope: str | None = None
    family: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(control, bool | np.bool_ | Estimate) for control in self.controls):
            raise ConfigurationError(f"{self.id}.controls", self.controls, "a tuple of estimates, or of True and False")
        if self.estimate is not None:
            self.prediction.check(self.id, self.estimate)
        elif not self.without_verdict(ALPHA):
            allowed = "an estimate, for a part in scope whose controls fired"
            raise ConfigurationError(f"{self.id}.estimate", None, allowed)

    def without_verdict(self, alpha: float) -> tuple[Verdict, str] | None:
        """OUT-OF-SCOPE or VOID with the reason, if the measurement is not to be judged."""
        if self.out_of_scope is not None:
            return Verdict.OUT_OF_SCOPE, " ".join(self.out_of_scope.split()) or "no reason given"
        if not self.controls:
            return Verdict.VOID, "no control was run"
        silent = [str(number) for number, control in enumerate(self.controls, 1) if not self.fires(control, alpha)]
        if silent:
            return Verdict.VOID, f"control {', '.join(silent)} of {len(self.controls)} did not fire"
        return None

    def fires(self, control: Estimate | bool, alpha: float = ALPHA) -> bool:
        """Whether the prediction is REFUTED by what was measured in a control, at `alpha` for this control alone."""
        return self.prediction.refuted_by(control, alpha) if isinstance(control, Estimate) else bool(control)


def alone(prediction: Prediction, estimate: Estimate | Cases, alpha: float = ALPHA) -> Verdict:
    """The verdict on a prediction as if it were the whole report, and its controls had fired."""
    return judge([Evidence("alone", prediction, estimate, controls=(True,))], alpha)[0].verdict


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
    keep the chance of any false SUPPORTED, and of any false REFUTED, at `alpha` each: the p-values for and those
    against the predictions of all parts but "exact" ones, which have no randomness; within one `Evidence.family`. A
    bootstrap of B resamples gives no p-value below 2 / (B + 1), so its part cannot be decided among more than
    alpha (B + 1) / 2.
    """
    if not 0 < alpha < 0.5:
        raise ConfigurationError("alpha", alpha, "a number in (0, 0.5)")
    ids = [evidence.id for evidence in evidences]
    if len(set(ids)) < len(ids):
        raise ConfigurationError("id", ", ".join(sorted({i for i in ids if ids.count(i) > 1})), "each id once")
    early = {one.id: one.without_verdict(alpha) for one in evidences}
    tested = [one for one in evidences if one.prediction.rule != "exact" and early[one.id] is None]
    support = {one.id: one.prediction.p_support(one.estimate) for one in tested}
    refute = {one.id: one.prediction.p_refute(one.estimate) for one in tested}
    support_holm, refute_holm = {}, {}
    for family in {one.family for one in tested}:
        members = [one.id for one in tested if one.family == family]
        for raw, adjusted in ((support, support_holm), (refute, refute_holm)):
            adjusted |= zip(members, holm([raw[id] for id in members]).tolist())
    judgements = []
    for one in evidences:
        if early[one.id]:
            verdict, why = early[one.id]
            judgements.append(Judgement(one.id, verdict, verdict, why))
            continue
        raw, adjusted = ((p.get(one.id), q.get(one.id)) for p, q in ((support, refute), (support_holm, refute_holm)))
        unadjusted, _ = _decide(one, *raw, alpha)
        verdict, why = _decide(one, *adjusted, alpha)
        if unadjusted is not verdict:
            why += f"; {unadjusted} before Holm's correction"
        judgements.append(Judgement(one.id, verdict, unadjusted, why, *raw, *adjusted))
    return judgements


def _decide(one: Evidence, p_support: float | None, p_refute: float | None, alpha: float) -> tuple[Verdict, str]:
    prediction = one.prediction
    if prediction.rule == "exact":
        inside = one.estimate.value in prediction.region
        why = f"{one.estimate.value:.4g} lies {'inside' if inside else 'outside'} {prediction.region}"
        return (Verdict.SUPPORTED if inside else Verdict.REFUTED), why
    # An interval that touches the edge of a closed region is inside, not disjoint. At such a tie the p-value equals
    # alpha up to rounding (1 - 0.95 > 0.05 in floating point).
    refuted = p_refute < alpha * (1 - 1e-9)
    supported = not refuted and p_support <= alpha * (1 + 1e-9)
    confidence = 1 - 2 * alpha if prediction.one_sided and not refuted else 1 - alpha
    estimate = one.estimate
    if isinstance(estimate, Cases):
        estimate = estimate[estimate.least_favourable(prediction.region)]
    low, high = estimate.interval(confidence)
    shown = f"{100 * confidence:.4g} % interval [{low:.4g}, {high:.4g}]"
    if refuted:
        return Verdict.REFUTED, f"{shown} outside {prediction.refutable}, Holm p = {p_refute:.2g}"
    if supported:
        return Verdict.SUPPORTED, f"{shown} inside {prediction.region}, Holm p = {p_support:.2g}"
    return (
        Verdict.INCONCLUSIVE,
        f"{shown} against {prediction.region}, Holm p = {p_support:.2g} for, {p_refute:.2g} against",
    )
