"""CL41: networks of several widths and kinds, from a random start, behave as D1 and D4 say.

    oscillation   Osc_K = max - min of F over [K/2, K], F the loss on all training data; log Osc_K falls with log K
    stationarity  m_eps falls: Goldstein's measure from full-batch gradients at sampled points
    exact zeros   a ReLU input is exactly 0 at most as often as rounding to float32 allows (budget 1e-6, theory.md 5.0)
    no stall      no 50 updates in a row leave the parameters as they are

From the all-zero start every weight is frozen and only the last bias moves. With one hidden layer and a bias for each
unit, near w = (W_2 = 0, W_1 = 0, b_1 = 0, b_2) the output is b_2 + W_2 relu(W_1 x + b_1): the second term and its
gradient are O(|w' - w|^2) and O(|w' - w|), so F is strictly differentiable at w and, once b_2 is best, dF(w) = {0}:
the point is Clarke critical, a bad saddle, not artificial. m_eps must tell it from the artificial point of E6.
Squared loss, because cross-entropy on separable data has no bounded minimising sequence (A5).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import bench.claims.sampling.monitors  # noqa: F401  registers its observers
from bench.claims.artificial.comparable import ARTIFICIAL
from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.sampling.networks import networks, out_of_scope, worst
from bench.claims.sampling.oracles import spec
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Exact, Mean, Poisson
from bench.statistics.inference import Region, p_inside

MOMENTUM = 0.9
POINTS = 16  # evaluations of F in a window
STALL = 50  # updates without effect (theory.md CL44)
ZERO_BUDGET = 1e-6  # exact zeros per ReLU input in float32 (theory.md 5.0)
FALLS = 1e-3  # level of "falls" in a control; at 0.05 chance decides on eight seeds, which differ by processor


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

    def run(name: str, schedule: str, step: float, observe: dict, *more: str) -> Experiment:
        return trajectories(
            "problem=learning",
            "dtype=float32",
            "loss=squared",
            "optimizer=shb",
            f"optimizer.momentum={MOMENTUM}",
            f"optimizer.lr={step * (1 - MOMENTUM):.12g}",
            f"schedule={schedule}",
            f"steps={protocol['steps']}",
            *present[name],
            *more,
            seeds=protocol["seeds"],
            chunk=protocol["chunk"],
            observe=observe,
            device=protocol.device,
            seconds=protocol["seeds"] * protocol["steps"] * protocol["seconds"][name],
        )

    planned = {f"{name} random": run(name, "power", protocol["step"][name], full) for name in present}
    for name in set(protocol["noisy"]) & present.keys():  # first step of the default schedule, kept
        planned[f"{name} constant"] = run(name, "constant", protocol["step"][name] * 11**-0.75, full)
    for name in set(protocol["from_zero"]) & present.keys():
        planned[f"{name} zero"] = run(name, "power", protocol["step"][name], {**watch, **goldstein}, "init=zeros")
    settings = spec("problem=e6", "problem.data=diabetes", device=protocol.device)
    planned["E6 artificial"] = Experiment("oracle_error", settings, 10)
    planned["E10 border"] = trajectories(
        "problem=e10", "optimizer=shb", "optimizer.lr=0.02", "steps=200", seeds=200, observe={"stall": {}}
    )
    return planned


def oscillations(columns: Mapping[str, np.ndarray], protocol: Protocol) -> np.ndarray:
    """Osc_K of each window and seed: [windows, n]."""
    place = {k: i for i, k in enumerate(evaluated(protocol))}
    f = columns["objective_at"]
    return np.stack([np.ptp(f[:, place[low] : place[high] + 1], axis=1) for low, high in windows(protocol)])


def slopes(columns: Mapping[str, np.ndarray], protocol: Protocol) -> np.ndarray:
    """Slope of log Osc_K against log K of each seed: [n]."""
    ends = [high for _, high in windows(protocol)]
    return np.polyfit(np.log(ends), np.log(oscillations(columns, protocol)), 1)[0]


def fall(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """log m_eps(w_K) - log m_eps(at the first mark) of each seed: [n]."""
    return np.diff(np.log(columns["stationarity"]), axis=1)[:, -1]


def parts(protocol: Protocol, results: Results) -> list[Part]:
    lacking = out_of_scope(protocol, {name: None for name in results if name.endswith(" random")})
    if lacking:
        return [
            Part("CL41", CLAIM.title, CLAIM.source, "", None, "exact", (), region=Region(), out_of_scope=lacking),
        ]
    random = {name: results[f"{name} random"] for name in protocol["networks"]}
    constant = {name: results[f"{name} constant"] for name in protocol["noisy"]}
    diverged = int(sum(one["diverged"].sum() for one in random.values()))
    largest = max(one["sup_norm"].max() for one in random.values())
    scope = f"{diverged} runs diverged" if diverged else None
    rows = []
    for letter, title, statistic, region, predicted in (
        ("a", "The training loss of every network settles.", lambda c: slopes(c, protocol), Region(high=0.0), "< 0"),
        ("b", "Every network comes nearer to Clarke stationarity.", fall, Region(high=0.0), "< 0"),
    ):
        settled = {name: statistic(one) for name, one in random.items()}
        control = Mean(worst({name: statistic(one) for name, one in constant.items()}))
        quantity = "slope of log Osc_K against log K" if letter == "a" else "change of log m_eps"
        rows.append(
            Part(
                f"CL41{letter}",
                title,
                "D1, D4",
                f"{quantity} {predicted} in the worst network",
                Mean(worst(settled)),
                "inside",
                (
                    Observed(
                        f"constant step ({', '.join(constant)})",
                        p_inside(control, region) > FALLS,
                        f"{control.value:.2g} [{control.interval()[0]:.2g}, {control.interval()[1]:.2g}]",
                    ),
                ),
                region=region,
                out_of_scope=scope,
                note=", ".join(f"{name} {one.mean():.2f}" for name, one in settled.items())
                + f"; largest |w_k| {largest:.3g}, of {sum(len(one['diverged']) for one in random.values())} runs",
            )
        )
    return [*rows, *_exact_zeros(protocol, results, random, scope), *_from_zero(protocol, results)]


def _exact_zeros(protocol: Protocol, results: Results, random: Mapping, scope: str | None) -> list[Part]:
    zeros, inputs = (sum(float(one[c].sum()) for one in random.values()) for c in ("zeros", "inputs"))
    started = [results[f"{name} zero"] for name in protocol["from_zero"]]
    share = sum(one["zeros"].sum() for one in started) / sum(one["inputs"].sum() for one in started)
    border = results["E10 border"]
    kinked, dead = float((border["w1"] == 0).mean()), float((border["longest_stall"] >= STALL).mean())
    stall = max(int(one["longest_stall"].max()) for one in random.values())
    return [
        Part(
            "CL41c",
            "From a random start the input of a ReLU is almost never exactly 0.",
            "D4, theory.md CL35",
            f"share of exact zeros < {ZERO_BUDGET:g} (float32)",
            Poisson(int(zeros), inputs),
            "tost",
            (
                Observed("all-zero start", share > 1e-3, f"share {share:.3g}"),
                Observed("E10, zero bias", kinked > 0.1, f"{kinked:.3g} of the runs end on the kink b = 0"),
            ),
            region=Region(0.0, ZERO_BUDGET),
            out_of_scope=scope,
            unit="per input",
        ),
        Part(
            "CL41d",
            "From a random start no network stalls.",
            "D4",
            f"fewer than {STALL} updates in a row without effect",
            Exact(stall, sum(len(one["longest_stall"]) for one in random.values())),
            "exact",
            (Observed("E10, zero bias", dead > 0.1, f"{dead:.3g} of the runs stall"),),
            region=Region(0, STALL - 1),
            out_of_scope=scope,
            unit="updates",
        ),
    ]


def _from_zero(protocol: Protocol, results: Results) -> list[Part]:
    started = {name: results[f"{name} zero"] for name in protocol["from_zero"]}
    moved = max(float(one["moved"].max()) for one in started.values())
    free = min(float(results[f"{name} random"]["moved"].min()) for name in started)
    artificial = results["E6 artificial"]["stationarity"]
    border = results["E10 border"]
    dead = border["clarke_distance"][border["longest_stall"] >= STALL]
    return [
        Part(
            "CL41e",
            "From the all-zero start a network is frozen but for its last bias.",
            "seed practice, theory.md CL41",
            "share of parameters that move < 1 %",
            Exact(moved, sum(len(one["moved"]) for one in started.values())),
            "exact",
            (Observed("random start", free > 0.5, f"{free:.3g} move"),),
            region=Region(0.0, 0.01),
            unit="share",
        ),
        Part(
            "CL41f",
            "That frozen point is Clarke critical, not artificial, and the stationarity measure says so.",
            "this project (derivation in sampling/networks_converge.py)",
            f"m_eps < {ARTIFICIAL:g} at the end",
            Mean(worst({name: one["stationarity"][:, -1] for name, one in started.items()})),
            "inside",
            (
                Observed(
                    "E6 on the diabetes data, frozen at 0",
                    bool((artificial > ARTIFICIAL).all()),
                    f"m_eps {artificial.mean():.3g}: artificial",
                ),
            ),
            region=Region(0.0, ARTIFICIAL),
            note=f"the stalled runs of E10 are Clarke critical too, at distance {dead.max(initial=0.0):.2g}",
        ),
    ]


CLAIM = Claim(
    "CL41",
    "sampling",
    "Networks of several widths settle at Clarke critical points from a random start.",
    "D1, D4",
    experiments,
    parts,
)
