"""CL41: networks of several widths and kinds, from a random start, behave as D1 and D4 say.

    oscillation   Osc_K = max - min of F over [K/2, K], F the loss on all training data; slope of log Osc_K in log K
    stationarity  m_eps falls: Goldstein's measure from full-batch gradients at sampled points
    exact zeros   a ReLU input is exactly 0 at most as often as rounding to float32 allows (budget 1e-6, theory.md 5.0)
    no stall      no 50 updates in a row leave the parameters as they are

From the all-zero start every weight is frozen and only the last bias moves. With one hidden layer and a bias for each
unit, near w = (W_2 = 0, W_1 = 0, b_1 = 0, b_2) the output is b_2 + W_2 relu(W_1 x + b_1): the second term and its
gradient are O(|w' - w|^2) and O(|w' - w|), so F is strictly differentiable at w and, once b_2 is best, dF(w) = {0}:
the point is Clarke critical, a bad saddle, not artificial. m_eps must tell it from the artificial point of E6.
Squared loss, because cross-entropy on separable data has no bounded minimising sequence (A5).

Once the noise decides, Osc_K is proportional to the step size alpha_K ~ K^-q and m_eps to its root, under a constant
step neither falls. The predictions are half of these falls. They can fail only where noise stays: on networks that
interpolate (digits, squared loss) a constant step passes too, with slope -0.74 [-0.82, -0.67] (8 seeds). Hence the
networks `noisy`: regression, one sample for each gradient, few units (with 64 m_eps falls under a constant step too,
log m_eps by -0.80 [-1.00, -0.59] of 48 seeds). The others are shown beside them and decide nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

import bench.claims.sampling.monitors  # noqa: F401  registers its observers
from bench.claims.artificial.comparable import ARTIFICIAL
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.convergence.windows import oscillations as over_windows
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import exact, inside, tost
from bench.claims.sampling.networks import networks, out_of_scope
from bench.claims.sampling.oracles import spec
from bench.claims.share import always, of_runs
from bench.claims.trajectories import trajectories
from bench.statistics.cases import Cases
from bench.statistics.estimates import Exact, Mean, Poisson, Proportion
from bench.statistics.inference import Region
from bench.statistics.slope import exponents

MOMENTUM = 0.9
POINTS = 16  # evaluations of F in a window
STALL = 50  # updates without effect (theory.md CL44)
LOST = 1e-20  # effective step whose updates are far below the rounding of float32
LEAST = 0.9  # share of the runs without a stall, all networks together: networks are no replications, runs are
ZERO_BUDGET = 1e-6  # exact zeros per ReLU input in float32 (theory.md 5.0)
Q, K0 = 0.75, 10  # of the default schedule, lr / (k + 1 + k0)^q


def windows(protocol: Protocol) -> list[tuple[int, int]]:
    """[K/2, K] for K = 2 first_window, 4 first_window, ... up to the end, a power of 2."""
    first, steps = protocol["first_window"], protocol["steps"]
    return [(steps >> (j + 1), steps >> j) for j in reversed(range((steps // first).bit_length() - 1))]


def evaluated(protocol: Protocol) -> list[int]:
    return sorted({low + (high - low) * i // POINTS for low, high in windows(protocol) for i in range(POINTS + 1)})


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    marks = [protocol["first_window"], protocol["steps"]]
    rows, present = protocol["rows"], networks(protocol)
    watch = {"stall": {}, "exact_zeros": {"at": marks, "rows": protocol["zero_rows"]}}
    goldstein = {
        "network_stationarity": {
            "at": marks,
            "radius": protocol["radius"],
            "samples": protocol["samples"],
            "rows": rows,
        }
    }
    full = {**watch, **goldstein, "objective": {"at": evaluated(protocol)}}

    def run(
        name: str, schedule: str, step: float, observe: dict, init: str | None = None, group: str = "networks"
    ) -> Experiment:
        seeds, chunk = (protocol[size if group == "networks" else f"{group}_{size}"] for size in ("seeds", "chunk"))
        lr = f"{step * (1 - MOMENTUM):.12g}"
        return trajectories(
            {"problem": "learning", "dtype": "float32", "loss": "squared", "steps": protocol["steps"]},
            {"optimizer": "shb", "optimizer.momentum": MOMENTUM, "optimizer.lr": lr, "schedule": schedule},
            {"init": init} if init else {},
            *networks(protocol, group)[name],
            seeds=seeds,
            chunk=chunk,
            observe=observe,
            device=protocol.device,
            seconds=seeds * protocol["steps"] * protocol["seconds"][name],
        )

    planned = {f"{name} random": run(name, "power", protocol["step"][name], full) for name in present}
    settling = {**goldstein, "stall": {}, "objective": {"at": evaluated(protocol)}}
    for name in networks(protocol, "noisy"):
        step = protocol["step"][name]
        planned[f"{name} decaying"] = run(name, "power", step, settling, group="noisy")
        first = step * (1 + K0) ** -Q  # kept
        planned[f"{name} constant"] = run(name, "constant", first, settling, group="noisy")
    for name in set(protocol["from_zero"]) & present.keys():
        planned[f"{name} zero"] = run(name, "power", protocol["step"][name], {**watch, **goldstein}, "zeros")
        planned[f"{name} lost"] = run(name, "constant", LOST, {"stall": {}})
    settings = spec({"problem": "e6", "problem.data": "diabetes"}, device=protocol.device)
    planned["E6 artificial"] = Experiment("oracle_error", settings, 10)
    planned["E10 border"] = trajectories(
        {"problem": "e10", "optimizer": "shb", "optimizer.lr": 0.02, "steps": 200},
        seeds=200,
        observe={"stall": {}},
    )
    return planned


def oscillations(columns: Mapping[str, np.ndarray], protocol: Protocol) -> np.ndarray:
    """Osc_K of each seed and window: [n, windows]."""
    return over_windows(columns["objective_at"], evaluated(protocol), windows(protocol))


def slopes(columns: Mapping[str, np.ndarray], protocol: Protocol) -> np.ndarray:
    """Slope of log Osc_K against log K of each seed: [n]."""
    ends = [high for _, high in windows(protocol)]
    return exponents(oscillations(columns, protocol), ends)


def fall(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """log m_eps(w_K) - log m_eps(at the first mark) of each seed: [n]."""
    return np.diff(np.log(columns["stationarity"]), axis=1)[:, -1]


def parts(protocol: Protocol, results: Results) -> list[Part]:
    lacking = out_of_scope(protocol, {name: None for name in results if name.endswith(" random")})
    if lacking:
        return [CLAIM.out_of_scope(lacking)]
    random = {name: results[f"{name} random"] for name in protocol["networks"]}
    diverged = int(sum(one["diverged"].sum() for one in random.values()))
    scope = f"{diverged} runs diverged" if diverged else None
    return [
        *_settling(protocol, results, random),
        *_exact_zeros(protocol, results, random, scope),
        *_from_zero(protocol, results),
    ]


def _settling(protocol: Protocol, results: Results, random: Results) -> list[Part]:
    first, last = (k + 1 + K0 for k in (protocol["first_window"], protocol["steps"]))
    rows = []
    for title, statistic, most, quantity in (
        ("settles", lambda c: slopes(c, protocol), -Q / 2, "slope of log Osc_K against log K"),
        ("comes nearer to Clarke stationarity", fall, Q / 4 * math.log(first / last), "change of log m_eps"),
    ):
        runs = {
            kind: {name: results[f"{name} {kind}"] for name in protocol["noisy"]} for kind in ("decaying", "constant")
        }
        lost = int(sum(one["diverged"].sum() for one in runs["decaying"].values()))
        decaying, constant = ({name: Mean(statistic(_alive(one))) for name, one in runs[kind].items()} for kind in runs)
        shown = ", ".join(f"{name} {mean.value:.2f}" for name, mean in decaying.items())
        others = ", ".join(f"{name} {statistic(one).mean():.2f}" for name, one in random.items())
        rows.append(
            Part(
                f"Under noise that stays a network {title}, at least half as fast as the step size asks.",
                "D1, D4",
                inside(f"{quantity} at most {most:.3g} for every network", Region(high=most)),
                None if lost else Cases(decaying),
                tuple(Control(f"constant step, {name}", mean) for name, mean in constant.items()),
                of=tuple(f"{name} decaying" for name in decaying),
                out_of_scope=f"{lost} runs diverged" if lost else None,
                note=f"{shown}; without such a control, batches of 32 (n = {protocol['seeds']}): {others}",
            )
        )
    return rows


def _alive(columns: Columns) -> Columns:
    """The rows of the runs that did not diverge."""
    return {name: values[columns["diverged"] == 0] for name, values in columns.items()}


def _exact_zeros(protocol: Protocol, results: Results, random: Mapping, scope: str | None) -> list[Part]:
    zeros, inputs = (sum(float(one[c].sum()) for one in random.values()) for c in ("zeros", "inputs"))
    started = [results[f"{name} zero"] for name in protocol["from_zero"]]
    frozen = Poisson(*(int(sum(one[c].sum() for one in started)) for c in ("zeros", "inputs")))
    border = results["E10 border"]
    kinked = Poisson(int((border["w1"] == 0).sum()), len(border["w1"]))
    watched = {name: one for name, one in results.items() if name.endswith((" random", " decaying"))}

    def moving(*runs: Columns) -> Proportion:
        """Share of the runs without STALL idle updates in a row."""
        longest = np.concatenate([one["longest_stall"] for one in runs])
        return of_runs(longest < STALL)

    return [
        Part(
            "From a random start the input of a ReLU is almost never exactly 0.",
            "D4, theory.md CL35",
            tost(f"share of exact zeros < {ZERO_BUDGET:g} (float32)", Region(0.0, ZERO_BUDGET), "per input"),
            Poisson(int(zeros), inputs),
            (
                Control("all-zero start", frozen),
                Control("zero bias, one ReLU input per run at the end", kinked, "E10"),
            ),
            of=tuple(f"{name} random" for name in random),
            out_of_scope=scope,
        ),
        Part(
            "From a random start no network stalls.",
            "D4",
            always(f"without {STALL} updates in a row that change nothing", LEAST),
            moving(*watched.values()),
            (
                Control(
                    f"effective step {LOST:g}, below rounding, {', '.join(protocol['from_zero'])}",
                    moving(*(results[f"{name} lost"] for name in protocol["from_zero"])),
                ),
                Control("zero bias", moving(border), "E10"),
            ),
            of=tuple(watched),
            out_of_scope=scope,
        ),
    ]


def _from_zero(protocol: Protocol, results: Results) -> list[Part]:
    started = {name: results[f"{name} zero"] for name in protocol["from_zero"]}
    moved = max(float(one["moved"].max()) for one in started.values())
    runs = sum(len(one["moved"]) for one in started.values())
    free = min(float(results[f"{name} random"]["moved"].min()) for name in started)
    artificial = results["E6 artificial"]["stationarity"]
    border = results["E10 border"]
    dead = border["clarke_distance"][border["longest_stall"] >= STALL]
    return [
        Part(
            "From the all-zero start a network is frozen but for its last bias.",
            "seed practice, theory.md CL41",
            exact("share of parameters that move < 1 %", Region(0.0, 0.01), "share"),
            Exact(moved, runs),
            (Control("random start", Exact(free, runs)),),
            of=tuple(f"{name} zero" for name in started),
            note="Which gradients are exact zeros depends on no sample: one number per network, at every seed.",
        ),
        Part(
            "That frozen point is Clarke critical, not artificial, and the stationarity measure says so.",
            "this project (derivation in sampling/networks_converge.py)",
            inside(f"m_eps < {ARTIFICIAL:g} at the end", Region(0.0, ARTIFICIAL)),
            Cases({name: Mean(one["stationarity"][:, -1]) for name, one in started.items()}),
            (Control("frozen at 0, on the diabetes data", Mean(artificial), "E6"),),
            of=tuple(f"{name} zero" for name in started),
            note=f"the stalled runs of E10 are Clarke critical too, at distance {dead.max(initial=0.0):.2g}",
        ),
    ]


CLAIM = Claim(
    "CL41",
    "sampling",
    "Networks come nearer to Clarke critical points from a random start, and meet no exact zeros.",
    "D1, D4",
    experiments,
    parts,
)
