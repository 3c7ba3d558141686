"""Verdicts on synthetic evidence whose truth is known."""

import math

import numpy as np
import pytest

from bench.claims.prediction import Prediction, point
from bench.claims.verdict import Evidence, Verdict, alone, judge
from bench.statistics.bootstrap import Bootstrap
from bench.statistics.cases import Cases
from bench.statistics.estimates import Exact, Mean, Poisson, Proportion
from bench.statistics.inference import Region
from shb.errors import ConfigurationError

# mean 0 and standard error 1, so that the ends of the 95 % interval are +-EDGE
TEN = Mean(np.linspace(-1, 1, 10) / np.linspace(-1, 1, 10).std(ddof=1) * math.sqrt(10))
EDGE = TEN.interval()[1]
EDGE_90 = TEN.interval(0.9)[1]


def part(id="A", estimate=TEN, rule="inside", region=None, controls=(True,), target=None, resolution=None, **rest):
    prediction = Prediction("", rule, region) if target is None else point("", target, resolution)
    return Evidence(id, prediction, estimate, controls=controls, **rest)


def verdict(**fields):
    judgements = judge([part(**fields)])
    assert len(judgements) == 1 and judgements[0].unadjusted is judgements[0].verdict
    assert "\n" not in judgements[0].reason and judgements[0].reason
    return judgements[0].verdict


CASES = [
    # inside, borderline: the closed interval touches the closed region
    ({"region": Region(-EDGE, EDGE)}, Verdict.SUPPORTED),
    ({"region": Region(-EDGE, EDGE * (1 - 1e-6))}, Verdict.INCONCLUSIVE),
    ({"region": Region(-EDGE * (1 - 1e-6), EDGE)}, Verdict.INCONCLUSIVE),
    ({"region": Region(EDGE, EDGE + 9)}, Verdict.INCONCLUSIVE),
    ({"region": Region(EDGE * (1 + 1e-6), EDGE + 9)}, Verdict.REFUTED),
    ({"region": Region(-9, -EDGE * (1 + 1e-6))}, Verdict.REFUTED),
    ({"region": Region(high=EDGE)}, Verdict.SUPPORTED),
    ({"region": Region(low=0)}, Verdict.INCONCLUSIVE),
    # tost: a 90 % interval supports, a 95 % interval refutes
    ({"rule": "tost", "region": Region(-EDGE_90, EDGE_90)}, Verdict.SUPPORTED),
    ({"rule": "tost", "region": Region(-EDGE_90, EDGE_90 * (1 - 1e-6))}, Verdict.INCONCLUSIVE),
    ({"rule": "tost", "region": Region(EDGE_90 * 1.01, 9)}, Verdict.INCONCLUSIVE),
    ({"rule": "tost", "region": Region(EDGE * 1.01, 9)}, Verdict.REFUTED),
    ({"rule": "tost", "estimate": Proportion(0, 3000), "region": Region(0, 1e-3)}, Verdict.SUPPORTED),
    ({"rule": "tost", "estimate": Proportion(0, 2990), "region": Region(0, 1e-3)}, Verdict.INCONCLUSIVE),
    ({"estimate": Proportion(0, 3000), "region": Region(0, 1e-3)}, Verdict.INCONCLUSIVE),
    ({"estimate": Proportion(0, 3700), "region": Region(0, 1e-3)}, Verdict.SUPPORTED),
    ({"estimate": Proportion(12, 3000), "region": Region(0, 1e-3)}, Verdict.REFUTED),
    # point: a 90 % interval supports, within the resolution; a 95 % interval refutes
    ({"rule": "point", "target": 0.0, "resolution": EDGE_90 * (1 + 1e-6)}, Verdict.SUPPORTED),
    ({"rule": "point", "target": 0.0, "resolution": EDGE_90 * (1 - 1e-6)}, Verdict.INCONCLUSIVE),
    ({"rule": "point", "target": EDGE * (1 - 1e-6), "resolution": EDGE + EDGE_90}, Verdict.SUPPORTED),
    ({"rule": "point", "target": EDGE * (1 - 1e-6), "resolution": EDGE}, Verdict.INCONCLUSIVE),
    ({"rule": "point", "target": EDGE * (1 + 1e-6), "resolution": 99.0}, Verdict.REFUTED),
    ({"rule": "point", "estimate": Proportion(10_037, 20_000), "target": 0.5, "resolution": 0.008}, "SUPPORTED"),
    ({"rule": "point", "estimate": Proportion(0, 20_000), "target": 0.5, "resolution": 0.007}, "REFUTED"),
    # several cases: the least favourable supports, one of m at alpha / m refutes
    ({"estimate": Cases({"a": TEN, "b": TEN}), "region": Region(-EDGE, EDGE)}, Verdict.SUPPORTED),
    ({"estimate": Cases({"a": TEN, "b": Mean([5.0, 5.1])}), "region": Region(-EDGE, EDGE)}, Verdict.REFUTED),
    ({"estimate": Cases({"a": TEN}), "region": Region(EDGE * 1.01, 9)}, Verdict.REFUTED),
    ({"estimate": Cases({"a": TEN, "b": TEN}), "region": Region(EDGE * 1.01, 9)}, Verdict.INCONCLUSIVE),
    ({"estimate": Cases({"a": TEN, "b": Proportion(1, 9)}), "region": Region(5, 9)}, Verdict.REFUTED),
    # exact
    ({"rule": "exact", "estimate": Exact(1e-10), "region": Region(0, 1e-10)}, Verdict.SUPPORTED),
    ({"rule": "exact", "estimate": Exact(1.1e-10), "region": Region(0, 1e-10)}, Verdict.REFUTED),
]


@pytest.mark.parametrize(("fields", "expected"), CASES)
def test_each_rule_at_its_edge(fields, expected):
    assert verdict(**fields) == expected


@pytest.mark.parametrize("fields", [fields for fields, _ in CASES[:1] + CASES[4:5] + CASES[-7:]])
def test_nothing_is_said_without_a_control_that_fired(fields):
    assert verdict(**fields, controls=()) is Verdict.VOID
    assert verdict(**fields, controls=(True, False, True)) is Verdict.VOID
    assert verdict(**fields, controls=(np.False_,)) is Verdict.VOID
    assert verdict(**fields, controls=(True, np.True_)) is not Verdict.VOID


def test_out_of_scope_comes_before_void_and_needs_no_estimate():
    out = {"region": Region(0, 1), "out_of_scope": "3 of 30 seeds\nunbounded"}
    assert verdict(**out) is Verdict.OUT_OF_SCOPE == "OUT-OF-SCOPE"
    assert verdict(**out, controls=(False,)) is Verdict.OUT_OF_SCOPE
    assert verdict(**out, estimate=None) is Verdict.OUT_OF_SCOPE
    assert verdict(region=Region(0, 1), estimate=None, controls=()) is Verdict.VOID
    assert judge([part(**out)])[0].reason == "3 of 30 seeds unbounded"
    assert verdict(region=Region(0, 1), out_of_scope="") is Verdict.OUT_OF_SCOPE


def test_the_reason_names_the_silent_controls():
    assert judge([part(region=Region(0, 1), controls=())])[0].reason == "no control was run"
    silent = judge([part(region=Region(0, 1), controls=(True, False, False))])[0]
    assert silent.reason == "control 2, 3 of 3 did not fire"
    assert silent.p_support is silent.p_refute is silent.p_support_holm is silent.p_refute_holm is None


def test_the_reason_shows_the_interval_that_decides():
    bound = Region(0, 1e-3)
    few, enough = (judge([part(estimate=Proportion(0, n), rule="tost", region=bound)])[0] for n in (2990, 3000))
    assert few.reason == "90 % interval [0, 0.001001] against [0, 0.001], Holm p = 0.05 for, 1 against"
    assert enough.reason == "90 % interval [0, 0.0009981] inside [0, 0.001], Holm p = 0.05"
    assert judge([part(region=Region(3, 9))])[0].reason.startswith("95 % interval [-2.262, 2.262] outside [3, 9], ")


def test_holm_families():
    """For and against: A, B and C. Exact, VOID and OUT-OF-SCOPE parts count in neither."""
    wide, far = Region(-EDGE, EDGE), Region(EDGE * 1.05, 99)
    report = [
        part("A", region=wide),
        part("X", Exact(1.0), "exact", Region(0, 2)),
        part("B", rule="tost", region=far),
        part("V", region=wide, controls=(False,)),
        part("C", rule="point", target=EDGE * 1.2, resolution=1.0),
        part("O", region=wide, out_of_scope="unbounded"),
    ]
    a, x, b, v, c, o = judge(report)
    assert [one.id for one in (a, x, b, v, c, o)] == list("AXBVCO")
    assert a.p_support == pytest.approx(0.05) and a.p_support_holm == pytest.approx(0.15)
    assert (a.unadjusted, a.verdict) == ("SUPPORTED", "INCONCLUSIVE") and "SUPPORTED before Holm" in a.reason
    assert b.p_support == b.p_support_holm == 1.0 and a.p_refute == a.p_refute_holm == 1.0
    assert c.p_refute_holm == pytest.approx(3 * c.p_refute)
    assert b.p_refute_holm == pytest.approx(2 * b.p_refute)
    assert (b.unadjusted, b.verdict) == ("REFUTED", "INCONCLUSIVE")
    # its plain interval excludes the target: too little for a refutation among three, but no support either
    assert (c.unadjusted, c.verdict) == ("REFUTED", "INCONCLUSIVE") and "REFUTED before Holm" in c.reason
    assert (x.verdict, x.p_support, x.p_refute) == ("SUPPORTED", None, None)
    assert (v.verdict, o.verdict) == ("VOID", "OUT-OF-SCOPE")
    alone = judge([report[0]])[0]
    assert alone.verdict is Verdict.SUPPORTED and alone.p_support_holm == alone.p_support


def test_order_of_the_parts_does_not_matter():
    rng = np.random.default_rng(0)
    report = [part(f"P{i}", Mean(rng.normal(size=6)), region=Region(-1 - i / 9, 1)) for i in range(9)]
    forward = {one.id: one for one in judge(report)}
    assert {one.id: one for one in judge(report[::-1])} == forward
    assert judge([]) == []


def test_alpha_is_that_of_the_report():
    at_5, at_1 = (judge([part(region=Region(-EDGE, EDGE))], alpha)[0] for alpha in (0.05, 0.01))
    assert (at_5.verdict, at_1.verdict) == ("SUPPORTED", "INCONCLUSIVE") and at_5.p_support == at_1.p_support


def error_rate(reports, wrong):
    """Share of reports with at least one wrong verdict, with and without Holm, and the largest that 5 % explains."""
    judged = [judge(report) for report in reports]
    rates = [np.mean([any(getattr(j, name) is wrong for j in one) for one in judged]) for name in NAMES]
    return *rates, 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(judged))


NAMES = ("verdict", "unadjusted")


@pytest.mark.slow
def test_family_wise_error_of_refuting_forty_true_predictions():
    """All truths lie on the edge of their prediction, where a false REFUTED is most likely."""
    rng = np.random.default_rng(21)

    def report():
        for i in range(10):
            yield part(f"t{i}", Mean(rng.normal(1.0, 2.0, 8)), region=Region(0, 1))
            yield part(f"c{i}", Mean(rng.normal(1.0, 2.0, 30)), target=1.0, resolution=9.0)
            share = 10.0 ** -(1 + i % 3)
            yield part(f"p{i}", Proportion(int(rng.binomial(300, share)), 300), "tost", Region(0, share))
            yield part(f"r{i}", Poisson(int(rng.poisson(3)), 2.0), region=Region(0, 1.5))

    holm, raw, limit = error_rate([list(report()) for _ in range(500)], Verdict.REFUTED)
    assert holm <= limit and raw > 0.4, (holm, raw)


@pytest.mark.slow
def test_family_wise_error_of_supporting_forty_false_predictions():
    """All truths lie on the edge of their region, the far end of which is far away: p-values are uniform there."""
    rng = np.random.default_rng(22)

    def report():
        for i in range(20):
            yield part(f"t{i}", Mean(rng.normal(1.0, 0.1, 8)), "tost", Region(0, 1))
            yield part(f"p{i}", Proportion(int(rng.binomial(400, 0.3)), 400), "tost", Region(0, 0.3))

    holm, raw, limit = error_rate([list(report()) for _ in range(500)], Verdict.SUPPORTED)
    assert holm <= limit and raw > 0.6, (holm, raw)


def drifting(rng, truth, n=12):
    """Five cases that share their noise; the truth of the last is `truth`, that of the others 0."""
    common = rng.normal(size=n)
    return Cases({f"{i}": Mean(0.3 * common + rng.normal(0, 0.5, n) + (truth if i == 4 else 0)) for i in range(5)})


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [Verdict.SUPPORTED, Verdict.REFUTED])
def test_family_wise_error_of_selection_points_and_shares_over_a_thousand_reports(wrong):
    """Each truth lies where this error is most likely: on the edge of the region, or, to refute a point, on it."""
    rng = np.random.default_rng(24)
    support = wrong is Verdict.SUPPORTED

    def report():
        for i in range(4):
            # a case that is truly outside (support) or none (refute: all five on the edge, so that selection may err)
            yield part(f"w{i}", drifting(rng, 1.0) if support else drifting(rng, 0.0), region=Region(-9 * support, 1.0))
            truth = 0.2 if support else 0.0
            yield part(f"c{i}", Mean(rng.normal(truth, 0.3, 20)), target=0.0, resolution=0.2)
            yield part(f"s{i}", Proportion(int(rng.binomial(200, 0.95)), 200), "tost", Region(0.95, 1.0))

    holm, raw, limit = error_rate([list(report()) for _ in range(1000)], wrong)
    assert holm <= limit and raw > 0.2, (holm, raw)


@pytest.mark.slow
def test_a_case_that_is_selected_before_it_is_tested_errs_too_often():
    """Why `Cases` exist: to test only the case that looks worst refutes a true prediction far too often."""
    rng = np.random.default_rng(25)
    region = Region(0.0, 9.0)  # every truth is 0, on its edge
    drawn = [Cases({f"{i}": Mean(rng.normal(size=12)) for i in range(10)}) for _ in range(1000)]
    selected = [cases[cases.least_favourable(region)] for cases in drawn]
    prediction = part(region=region).prediction
    rates = [np.mean([alone(prediction, one) is Verdict.REFUTED for one in found]) for found in (selected, drawn)]
    assert rates[0] > 0.1 and rates[1] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000), rates


def test_parts_of_another_family_are_not_corrected_for_one_another():
    wide = Region(-EDGE, EDGE)
    report = [part("A", region=wide, family="TEST"), part("S", region=wide, family="SUPERSEDED")]
    assert [one.p_support_holm for one in judge(report)] == [pytest.approx(0.05)] * 2
    assert [one.verdict for one in judge(report)] == [Verdict.SUPPORTED] * 2


def test_controls_are_asked_at_the_level_of_the_report():
    """A control that is refuted at 5 % and not at 1 %."""
    control = Mean(np.linspace(-1, 1, 10) + 1.35)
    low, high = control.interval(0.95)[0], control.interval(0.99)[0]
    fields = {"estimate": Mean([-9.0, -9.1]), "region": Region(-99, (low + high) / 2), "controls": (control,)}
    assert [judge([part(**fields)], alpha)[0].verdict for alpha in (0.05, 0.01)] == ["SUPPORTED", "VOID"]


def test_true_and_false_predictions_are_told_apart_with_enough_seeds():
    rng = np.random.default_rng(23)
    report = [part(f"T{i}", Mean(rng.normal(i, 1, 200)), region=Region(i - 0.5, i + 0.5)) for i in range(20)]
    report += [part(f"F{i}", Mean(rng.normal(i, 1, 200)), region=Region(i + 1, i + 2)) for i in range(20)]
    report += [part("B", Bootstrap(np.median, rng.exponential(size=400), seed=0), region=Region(0.5, 0.9))]
    verdicts = {one.id: one.verdict for one in judge(report)}
    assert {v for i, v in verdicts.items() if i[0] in "TB"} == {Verdict.SUPPORTED}
    assert {v for i, v in verdicts.items() if i[0] == "F"} == {Verdict.REFUTED}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: part(rule="insde", region=Region()), r"rule=insde: .*\(did you mean inside\?\)"),
        (lambda: Prediction("", "point", Region(0, 1)), "prediction.target=None"),
        (lambda: Prediction("", "inside", Region(0, 1), 0.5), "prediction.target=0.5"),
        (lambda: point("", math.nan, 1.0), "region="),
        (lambda: point("", math.inf, 1.0), "prediction.target=inf"),
        (lambda: point("", 0.0, 0.0), "prediction.resolution=0.0"),
        (lambda: Cases({}), "cases={}"),
        (lambda: part(region=Region(), controls=(math.nan,)), "A.controls="),
        (lambda: part(region=Region(), controls=(None,)), "A.controls="),
        (lambda: part(region=Region(), estimate=None), "A.estimate=None"),
        (lambda: part(rule="exact", region=Region()), "A.estimate=Mean: allowed is Exact"),
        (lambda: part(estimate=Exact(1.0), region=Region()), "A.estimate=Exact"),
        (lambda: judge([part(region=Region()), part(region=Region())]), "id=A: allowed is each id once"),
        (lambda: judge([], alpha=0.5), "alpha=0.5"),
    ],
)
def test_bad_evidence_is_refused_in_one_line(call, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# a control is judged by the rule of its part
LOW, HIGH, WIDE = Mean([0.9, 1.0, 1.1]), Mean([8.9, 9.0, 9.1]), Mean([-9.0, 0.5, 12.0])


@pytest.mark.parametrize("rule", ["inside", "tost"])
def test_a_control_fires_if_the_rule_of_the_part_refutes_the_prediction_there(rule):
    def of(*controls):
        fields = {"estimate": LOW, "rule": rule, "region": Region(-3, 3), "controls": controls}
        return judge([part(**fields)])[0]

    assert of(HIGH).verdict is Verdict.SUPPORTED
    assert of(LOW).verdict is Verdict.VOID  # the prediction holds there, too
    assert of(WIDE).verdict is Verdict.VOID  # not significant is not refuted, however wide the interval
    assert "control 2 of 2 did not fire" in of(HIGH, WIDE).reason


def test_a_control_of_a_point_and_of_an_exact_part():
    point = {"rule": "point", "target": 1.0, "resolution": 0.5}
    assert verdict(estimate=LOW, **point, controls=(HIGH,)) is Verdict.SUPPORTED
    assert verdict(estimate=LOW, **point, controls=(WIDE,)) is Verdict.VOID
    exact = {"estimate": Exact(0.0), "rule": "exact", "region": Region(0, 0)}
    assert verdict(**exact, controls=(Exact(0.1),)) is Verdict.SUPPORTED
    assert verdict(**exact, controls=(Exact(0.0),)) is Verdict.VOID
    assert verdict(**exact, controls=(HIGH,)) is Verdict.SUPPORTED
    assert verdict(**exact, controls=(WIDE,)) is Verdict.VOID
