"""CL18: boundedness of the iterates (A5) is an assumption of D1: it is measured here, and concluded nowhere.

E1 and E6 grow quadratically, so small steps keep SHB bounded: no run gets far (a). That says nothing of all times, and
all runs of a share their largest |w_k|, that of the start. So d asks for more, which can fail: at E1 the second half of
a run stays within six standard deviations of the stationary law at its first step size (L1), variance alpha / (2 (1 -
beta)) to leading order; the start is forgotten by then up to e^-4.4. A step that does not fall leaves that region. F =
w^4/4 with w_0 = 10, alpha_0 = 1 has w_1 = 10 - 1000 and runs away: there the claim of convergence must come out
OUT-OF-SCOPE. A network under cross-entropy on separable data has no bounded minimising sequence: |w| grows with log K,
which no fixed bound sees in time. So the growth of log sup |w_k| from K/4 to K is measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Control, Observed, Part, Protocol, Results, Status
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside, tost
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps, unbounded
from bench.claims.trajectories import trajectories
from bench.claims.verdict import Verdict, alone
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region

LIMIT = 1e6  # |w| beyond which a run counts as unbounded
RARE = Region(0.0, 1e-3)
BETAS = (0.0, 0.9)
UNSTABLE = 4.0  # a constant step at E1 beyond 2 (1 + beta) = 3.8 (L2)
NETWORK_LR = {"cross_entropy": 0.5, "squared": 0.05}  # loss of the network -> lr
GROWING = Region(low=0.05)  # of log sup |w_k| from K/4 to K
STEP, EXPONENT = 0.5, 0.75  # effective step alpha_k = STEP / (k + 11)^EXPONENT at E1 and E6
DEVIATIONS = 6.0  # of the stationary law; a normal number exceeds them with probability 2e-9
SMALL_START = 1.0  # of the quartic: alpha_0 w_0^2 = 1 < 2


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    runs = {
        f"{problem} beta{beta}": heavy_ball(
            protocol,
            {"problem": problem},
            power(EXPONENT),
            lr=lr_of(beta),
            beta=beta,
            observe={"windows": {}} if problem == "e1" else None,
        )
        for problem in ("e1", "e6")
        for beta in BETAS
    }

    def quartic(start: float) -> Experiment:
        problem = {"problem": "quartic", "problem.noise": "signs", "problem.sigma": 0.1}
        at = {"init": "point", "init.value": start}
        return heavy_ball(protocol, problem, at, power(0.75, 0.0), lr=1.0, seeds=protocol["quartic_seeds"])

    def network(loss: str, lr: float, part: int = 1) -> Experiment:
        steps = protocol["network_steps"] // part
        return trajectories(
            {"problem": "learning", "model": "mlp", "dataset": "digits", "model.hidden": [16], "loss": loss},
            {"optimizer": "shb", "optimizer.lr": lr, "optimizer.momentum": 0.9, "steps": steps},
            power(0.75),
            {"dtype": "float32", "engine": "compiled"},
            seeds=protocol["network_seeds"],
            device=protocol.device,
            chunk=32,
            seconds=steps * 1e-3,
        )

    runs["kept step"] = heavy_ball(
        protocol,
        {"problem": "e1", "schedule": "constant"},
        lr=float(power_steps(lr_of(0.0), EXPONENT, 1)[0]),
        seeds=protocol["quartic_seeds"],
        observe={"windows": {}},
    )
    runs["unstable"] = heavy_ball(
        protocol, {"problem": "e1", "schedule": "constant"}, lr=UNSTABLE, beta=0.9, seeds=protocol["quartic_seeds"]
    )
    runs |= {"quartic": quartic(10.0), "quartic small": quartic(SMALL_START)}
    for loss, lr in NETWORK_LR.items():
        runs |= {f"network {loss}": network(loss, lr), f"network {loss} K/4": network(loss, lr, 4)}
    return runs


def lr_of(beta: float) -> float:
    """alpha_k (k + 11)^q at E1 and E6."""
    return round(STEP * (1 - beta), 12)


def deviation(steps: int, beta: float) -> float:
    """Standard deviation of the stationary law L1 of E1 at the step size of step `steps`."""
    alpha = float(power_steps(lr_of(beta), EXPONENT, steps)[-1])
    return float(np.sqrt(alpha * (1 + beta) / ((1 - beta) * (2 * (1 + beta) - alpha))))


def left(columns: Columns, bound: float) -> Proportion:
    """Share of runs with a larger |w_k - w*| than `bound` over the second half of the run."""
    far = columns["distance_max"][:, -1]
    return Proportion(int((~(far <= bound)).sum()), len(far))


def escaped(columns: Columns) -> Proportion:
    """Share of runs with sup |w_k| > LIMIT or not finite."""
    sup = columns["sup_norm"]
    return Proportion(int((~(sup <= LIMIT) | (columns["diverged"] > 0)).sum()), len(sup))


def growth(results: Results, loss: str) -> Mean:
    """Log of sup |w_k| up to K over that up to K/4, of the network under a loss."""
    return Mean(np.log(results[f"network {loss}"]["sup_norm"] / results[f"network {loss} K/4"]["sup_norm"]))


def parts(protocol: Protocol, results: Results) -> list[Part]:
    shares = {name: escaped(columns) for name, columns in results.items()}
    sups = {name: float(np.max(columns["sup_norm"])) for name, columns in results.items()}
    closed = {name: one for name, one in shares.items() if name.startswith("e")}
    small = shares["quartic small"]
    grown = growth(results, "cross_entropy")
    half = protocol["steps"] // 2
    bounds = {beta: DEVIATIONS * deviation(half, beta) for beta in BETAS}
    largest = ", ".join(
        f"beta = {beta:g}: {results[f'e1 beta{beta}']['distance_max'][:, -1].max() / bound * DEVIATIONS:.2f}"
        for beta, bound in bounds.items()
    )
    return [
        Part(
            f"No run at E1 or E6 gets beyond |w_k| = 1e6 in {protocol['steps']} updates.",
            "A5, an assumption of D1 (this project)",
            tost(f"share with sup |w_k| > 1e6 below 0.001, beta in {BETAS}", RARE, "share"),
            Cases(closed),
            (
                Control(f"constant step {UNSTABLE:g} at beta = 0.9", shares["unstable"]),
                Control("from w_0 = 10 with alpha_0 = 1", shares["quartic"], "F = w^4/4"),
            ),
            of=tuple(closed),
            note=f"Largest sup |w_k|, that of the start: {', '.join(f'{n}: {sups[n]:.2f}' for n in closed)}. No proof "
            "of A5.",
        ),
        quartic_part(results["quartic"], results["quartic small"], small),
        Part(
            "Under cross-entropy on separable data the weights of a network keep growing: A5 is not met there.",
            "no bounded minimising sequence (this project)",
            inside(f"log of sup |w_k| up to K over that up to K/4 at least {GROWING.low:g}", GROWING, "growth"),
            grown,
            (Control("squared loss, same network and data", growth(results, "squared")),),
            of=("network cross_entropy", "network cross_entropy K/4"),
            note=f"MLP 64-16-10 on digits, K = {protocol['network_steps']}; sup |w_k| at K "
            + ", ".join(f"{loss} {results[f'network {loss}']['sup_norm'].mean():.2f}" for loss in NETWORK_LR)
            + ". Growth below the bound would be no proof of A5.",
        ),
        Part(
            f"At E1 the second half of a run stays within {DEVIATIONS:g} standard deviations of the stationary law L1.",
            "L1 (this project)",
            tost(
                f"share with |w_k - w*| beyond {DEVIATIONS:g} sd for a k >= {half} below 0.001, beta in {BETAS}",
                RARE,
                "share",
            ),
            Cases({f"e1 beta{beta}": left(results[f"e1 beta{beta}"], bound) for beta, bound in bounds.items()}),
            (Control("the first step size kept", left(results["kept step"], bounds[0.0])),),
            of=tuple(f"e1 beta{beta}" for beta in BETAS),
            note=f"Largest distance in standard deviations: {largest}.",
        ),
    ]


def quartic_part(columns: Columns, small: Columns, escaped_small: Proportion) -> Part:
    """Convergence at F = w^4/4 from w_0 = 10, which A5 does not cover; the small start is its control."""

    def convergence(own: Columns) -> tuple[Proportion | None, str | None]:
        scope = unbounded(quartic=own)
        return (None if scope else Proportion(int((own["clarke_distance"] <= 0.5).sum()), len(own["diverged"]))), scope

    region = Region(0.95, 1.0)
    (estimate, scope), (near, near_scope) = convergence(columns), convergence(small)
    prediction = tost("OUT-OF-SCOPE: w^4/4 from w_0 = 10 with alpha_0 = 1 diverges", region, "share")
    verdict = Verdict.OUT_OF_SCOPE if near_scope else alone(prediction, near)
    shown = f"{verdict}, {escaped_small.hits} of {escaped_small.n} escaped"
    return Part(
        "Where the iterates run away the claim of convergence is out of scope, not refuted.",
        "A5, test of the verdicts",
        prediction,
        estimate,
        (
            Observed(
                f"same problem from w_0 = {SMALL_START:g}: in scope",
                verdict is Verdict.SUPPORTED,
                shown,
                "a test of the verdicts: the same rule must support here, and a control is what it refutes",
            ),
        ),
        out_of_scope=scope,
        status=Status.META,
        of=("quartic",),
        note=f"From w_0 = {SMALL_START:g} the claim of convergence is {shown}.",
    )


CLAIM = Claim(
    "CL18",
    "step_sizes",
    "Boundedness is an assumption: measured, never concluded.",
    "A5 of D1 (this project)",
    experiments,
    parts,
)
