"""CL17: a/(k+1) with a lambda/(1 - beta) < 1/2 converges, but so slowly that a finite run cannot say so.

At E1 the mean obeys m_{k+1} = (1 - a_eff/(k+1)) m_k to leading order, a_eff = a/(1 - beta), hence m_k ~ k^{-a_eff}:
with a_eff = 0.2 a factor 10 needs 10^5 times the steps. With momentum the exponent at step k is off by a relative
O(1/((1 - beta) k)). (A3) holds, so D1 predicts convergence; a test that reads the last iterate of a short run would
wrongly refute it. The test used here counts, of every run,
  arrived: max over [K/2, K] of |w_k - w*| <= 0.15 (fixed beforehand);
  stalled: not arrived, and that maximum did not fall over the last four doublings of K (log-log slope >= -0.05);
and leaves the others undecided. It must be INCONCLUSIVE here, SUPPORTED at a good schedule, REFUTED at a constant step.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.claims.claim import Alternative, Claim, Control, Observed, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside
from bench.claims.step_sizes.heavy_ball import heavy_ball, late_slopes, power, unbounded
from bench.claims.verdict import Verdict, alone
from bench.statistics.estimates import Mean, PartlyIdentified
from bench.statistics.inference import Region

START, TOLERANCE, STALL = 2.0, 0.15, -0.05
EFFECTIVE = 0.2  # a / (1 - beta)
ARRIVES = inside(
    "share of runs that converge >= 0.95: INCONCLUSIVE, since it can be 0 or 1", Region(0.95, 1.0), "share"
)
CASES = {  # name -> (a / (1 - beta), beta, schedule)
    "slow_sgd": (EFFECTIVE, 0.0, power(1.0, 0.0)),
    "slow_shb": (EFFECTIVE, 0.9, power(1.0, 0.0)),
    "good": (1.0, 0.9, power(0.9)),
    "constant": (0.5, 0.9, {"schedule": "constant"}),
    "unscaled_sgd": (EFFECTIVE * (1 - 0.9), 0.0, power(1.0, 0.0)),  # the step of slow_shb
}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    start = {"problem": "e1", "init": "point", "init.value": START}
    return {
        name: heavy_ball(
            protocol, start, schedule, lr=round(effective * (1 - beta), 12), beta=beta, observe={"windows": {}}
        )
        for name, (effective, beta, schedule) in CASES.items()
    }


def convergence(columns: Columns, steps: int) -> PartlyIdentified:
    """What a run of `steps` says about the share of seeds that converge."""
    arrived = columns["distance_max"][:, -1] <= TOLERANCE
    stalled = ~arrived & (late_slopes(columns["distance_max"], steps, steps // 16) >= STALL)
    return PartlyIdentified(int(arrived.sum()), int(stalled.sum()), len(arrived))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps = protocol["steps"]
    found = {name: convergence(columns, steps) for name, columns in results.items()}
    verdicts = {name: alone(ARRIVES, one) for name, one in found.items()}
    rate = {name: Mean(late_slopes(results[name]["distance_max"], steps, steps // 16)) for name in found}

    def counts(name: str) -> str:
        one = found[name]
        return f"{verdicts[name]}, of {one.n} runs {one.arrived} arrived, {one.stalled} stalled"

    return [
        Part(
            "A run too short for its slow step sizes is not evidence against convergence: the test says INCONCLUSIVE.",
            "D1 (this project), test of the verdicts",
            ARRIVES,
            found["slow_shb"],
            (
                Observed(
                    "good schedule a/k^0.9, same test",
                    verdicts["good"] is Verdict.SUPPORTED,
                    counts("good"),
                    "a test of the verdicts: the same rule must support here, and a control is what it refutes",
                ),
                Control("constant step, same test", found["constant"]),
            ),
            status=Status.META,
            of=("slow_shb",),
            note=f"Heavy ball: {counts('slow_shb')}; SGD: {counts('slow_sgd')}.",
        ),
        Part(
            "With a/(k+1) and a lambda/(1 - beta) = 0.2 the distance to the minimum falls like k^(-0.2).",
            "catalogue CL17 (derived)",
            inside("log-log slope -0.2, within 0.02", Region(-EFFECTIVE - 0.02, -EFFECTIVE + 0.02), "slope"),
            rate["slow_shb"],
            (
                Control("SGD with the step of the heavy ball", rate["unscaled_sgd"]),
                Control("constant step", rate["constant"]),
            ),
            alternatives=(
                Alternative(
                    "slope -a lambda without the factor 1/(1 - beta)",
                    f"-0.02 predicted, {rate['slow_shb'].value:.3f} seen",
                ),
            ),
            of=("slow_shb",),
            note=f"SGD with the same a/(1 - beta): {rate['slow_sgd'].value:.4f}.",
        ),
    ]


CLAIM = Claim(
    "CL17",
    "step_sizes",
    "Too short a run at slow step sizes is inconclusive, not a refutation.",
    "D1 (this project)",
    experiments,
    parts,
)
