"""CL4: the objective converges: its oscillation over [K/2, K] tends to 0 (D1 ii).

Osc_K = max - min of F(w_k) over K/2 <= k <= K, exact F (networks: all training data, 21 points per window). The slope
of log Osc_K against log K is fitted to every seed over the last five dyadic K; its mean over seeds has a t interval.
Where several problems are judged together, the least favourable one is shown: all must hold, so that the largest of the
p-values decides (intersection-union test).

Level at a smooth minimum: theory.md allows Osc_K <= 3 alpha_K tr C / (4 (1 - beta)), three times the mean gap of L3.
But Osc_K is the maximum of a process over a window of many relaxation times, hence larger by a factor of order
2 log(their number), and alpha_{K/2} = 1.7 alpha_K: window_maximum.py has the prediction that is tested beside it.

D1 covers SGD and SHB. Adam's step sizes are random and differ between coordinates: its convergence is covered by
Xiao, Hu, Liu and Toh (Adam-family methods), not by Le or D1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.convergence.gap import mean_gap
from bench.claims.convergence.window_maximum import mean_maximum
from bench.claims.experiment import Columns, Experiment
from bench.claims.trajectories import trajectories
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from shb.problems.closed_forms import E1
from shb.schedules import schedule_table

WINDOWS, POINTS = 5, 21  # dyadic windows that are fitted; evaluations of a network in each
Q, K0, EFFECTIVE = 0.75, 10.0, 2.0  # alpha_k / (1 - beta) = EFFECTIVE / (k + 1 + k0)^q
POWER = ("schedule=power", f"schedule.q={Q}", f"schedule.k0={K0}")
OPTIMIZERS = {
    "sgd": ("optimizer=sgd", f"optimizer.lr={EFFECTIVE}"),
    "shb": ("optimizer=shb", f"optimizer.lr={EFFECTIVE / 10}", "optimizer.momentum=0.9"),
    "adam": ("optimizer=adam", "optimizer.lr=1.0"),
}
NETWORK_OPTIMIZERS = {
    "sgd": ("optimizer=sgd", "optimizer.lr=3.0"),
    "shb": ("optimizer=shb", "optimizer.lr=0.3", "optimizer.momentum=0.9"),
    "adam": ("optimizer=adam", "optimizer.lr=0.05"),
}
PROBLEMS = {
    "e1": ("problem=e1",),
    "e6": ("problem=e6", "problem.data=diabetes"),
    "max_affine": ("problem=max_affine",),
}
NAMES = {"e1": "E1", "e6": "ReLU neuron", "max_affine": "max of affine functions", "mlp": "MLP"}
CONTROLS = {
    "constant": ("constant step size 0.01 / (1 - beta)", "optimizer.lr=0.01", "schedule=constant"),
    "inverse_log": ("alpha_k = 0.03 / log(k + 2), effective c = 0.3", "optimizer.lr=0.03", "schedule=inverse_log"),
}
DECREASING, NEAR_Q, PLATEAU, MAXIMUM = Region(high=0.0), Region(-0.85, -0.65), Region(0.0, 3.0), Region(0.85, 1.15)


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def closed(problem: tuple[str, ...], *overrides: str, steps: str) -> Experiment:
        return trajectories(
            *problem,
            *overrides,
            f"steps={protocol[steps]}",
            seeds=protocol["seeds_level" if problem == PROBLEMS["e1"] and steps == "steps" else "seeds"],
            observe={"windows": {}},
            device=protocol.device,
        )

    planned = {}
    for name, problem in PROBLEMS.items():
        for optimizer, overrides in OPTIMIZERS.items():
            steps = "steps" if optimizer == "shb" else "steps_other"
            planned[f"{name}_{optimizer}"] = closed(problem, *overrides, *POWER, steps=steps)
    for optimizer in OPTIMIZERS:
        planned[f"mlp_{optimizer}"] = _network(optimizer, protocol)
    for name, (_, *overrides) in CONTROLS.items():
        planned[name] = closed(
            PROBLEMS["e1"], "optimizer=shb", "optimizer.momentum=0.9", *overrides, steps="steps_control"
        )
    planned["detached"] = closed(("problem=e11",), *OPTIMIZERS["shb"], *POWER, steps="steps_detached")
    return planned


def _network(optimizer: str, protocol: Protocol) -> Experiment:
    steps = protocol["steps_network"]
    stops = [steps >> j for j in reversed(range(WINDOWS))]
    at = sorted({int(k) for stop in stops for k in np.linspace(stop // 2, stop, POINTS)})
    return trajectories(
        "problem=learning",
        "model=mlp",
        "model.hidden=[16]",
        "dataset=digits",
        "dtype=float32",
        *NETWORK_OPTIMIZERS[optimizer],
        *POWER,
        f"steps={steps}",
        seeds=protocol["seeds_network"],
        observe={"objective": {"at": at}},
        device=protocol.device,
        chunk=64,
        seconds=steps * 1.1e-3 * max(1, protocol["seeds_network"] / 32),
    )


def oscillations(columns: Columns, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """K of the last five dyadic windows [5], and Osc_K [n, 5], from an observer "windows" or "objective" (networks)."""
    stops = np.array([steps >> j for j in reversed(range(WINDOWS))])
    if "osc" in columns:
        return stops, columns["osc"][:, -WINDOWS:]
    at = np.array(sorted({int(k) for stop in stops for k in np.linspace(stop // 2, stop, POINTS)}))
    windows = [columns["objective_at"][:, (at >= stop // 2) & (at <= stop)] for stop in stops]
    return stops, np.stack([f.max(1) - f.min(1) for f in windows], 1)


def slopes(columns: Columns, steps: int) -> np.ndarray:
    """Slope of log Osc_K against log K of each seed: [n]."""
    stops, osc = oscillations(columns, steps)
    x = np.log(stops) - np.log(stops).mean()
    return np.log(osc) @ x / (x @ x)


def steps_of(name: str, protocol: Protocol) -> int:
    """Length of the runs of an experiment of this claim."""
    if name.startswith("mlp"):
        return protocol["steps_network"]
    if name in CONTROLS:
        return protocol["steps_control"]
    if name == "detached":
        return protocol["steps_detached"]
    return protocol["steps" if name.endswith("shb") else "steps_other"]


def parts(protocol: Protocol, results: Results) -> list[Part]:
    found = {
        name: Mean(slopes(columns, steps_of(name, protocol)))
        for name, columns in results.items()
        if not columns["diverged"].any() and name != "detached"
    }
    controls = tuple(
        Observed(change, found[name].interval()[1] >= 0, f"slope {found[name].value:+.2f}")
        for name, (change, *_) in CONTROLS.items()
    )
    wrong = results["detached"]
    grown = slopes(wrong, protocol["steps_detached"])
    detached = Observed(
        "wrong oracle E11a",
        bool((grown > 0).all()),
        f"slope at least {grown.min():+.1f}, {int(wrong['diverged'].sum())} of {len(grown)} overflowed",
    )
    controls = (*controls, detached)
    rows = [
        _decreasing(f"CL4{letter}", [f"{name}_shb"], results, found, controls, "D1 (paper C-a)", f"SHB, {NAMES[name]}")
        for letter, name in zip("abcd", NAMES)
    ]
    sgd, adam = ([f"{name}_{optimizer}" for name in NAMES] for optimizer in ("sgd", "adam"))
    every = "worst of E1, ReLU neuron, max of affine functions, MLP"
    rows.append(_decreasing("CL4e", sgd, results, found, controls, "D1 (paper C-a)", f"SGD, {every}"))
    rows.append(_decreasing("CL4f", adam, results, found, controls, "Xiao, Hu, Liu, Toh (not D1)", f"Adam, {every}"))
    return rows + _levels(protocol, results, found["e1_shb"], controls[:2], found["constant"])


def _decreasing(
    part: str,
    names: list[str],
    results: Results,
    found: Mapping[str, Mean],
    controls: tuple[Observed, ...],
    source: str,
    where: str,
) -> Part:
    """Slope < 0 for all of `names`; the one with the largest upper end is shown."""
    lost = {name: int(results[name]["diverged"].sum()) for name in names if results[name]["diverged"].any()}
    worst = None if lost else max((found[name] for name in names), key=lambda slope: slope.interval(0.999)[1])
    shown = ", ".join(f"{NAMES[name.rsplit('_', 1)[0]]} {found[name].value:.2f}" for name in names if name in found)
    return Part(
        part,
        f"The oscillation of the objective over [K/2, K] decreases with K ({where}).",
        source,
        "slope of log Osc_K against log K < 0",
        worst,
        "inside",
        controls,
        region=DECREASING,
        unit="slope",
        note=f"Slopes: {shown}." if len(names) > 1 else "",
        out_of_scope=f"unbounded runs (A5): {lost}" if lost else None,
    )


def _levels(
    protocol: Protocol, results: Results, slope: Mean, controls: tuple[Observed, ...], constant: Mean
) -> list[Part]:
    steps = protocol["steps"]
    a = schedule_table("power", [EFFECTIVE], {"q": Q, "k0": K0}, steps // 2, steps + 1, steps)[:, 0]
    osc = results["e1_shb"]["osc"][:, -1]
    maximum = mean_maximum(a)
    expected = mean_gap(E1().noise_covariance().numpy(), a[-1])
    level, corrected = Mean(osc / expected), Mean(osc / maximum)
    plateau = Mean(results["constant"]["osc"][:, -1] / expected)
    slow = Mean(results["constant"]["osc"][:, -1] / maximum)
    return [
        Part(
            "CL4g",
            "At a smooth minimum the oscillation falls like the step size (E1, SHB).",
            "L3 (this project)",
            f"slope of log Osc_K against log K -q +- 0.1, q = {Q:g}",
            slope,
            "inside",
            (
                Observed(
                    "constant step size",
                    not NEAR_Q.low <= constant.value <= NEAR_Q.high,
                    f"slope {constant.value:+.2f}",
                ),
            ),
            region=NEAR_Q,
            unit="slope",
            note="At these K the number of relaxation times in the window still grows, and with it the maximum (CL4i).",
        ),
        Part(
            "CL4h",
            "The last oscillation is at most three times the mean gap of L3 (E1, SHB).",
            "theory.md CL4 (this project)",
            "Osc_K / (alpha_K / (4 (1 - beta))) <= 3",
            level,
            "inside",
            (Observed("constant step size", plateau.interval()[0] > PLATEAU.high, f"ratio {plateau.value:.3g}"),),
            region=PLATEAU,
            note=f"The maximum over many relaxation times is predicted at {maximum / expected:.2g} (CL4i).",
        ),
        Part(
            "CL4i",
            "The last oscillation is the mean maximum of the limit process over the window (E1, SHB).",
            "corrects CL4h (this project; window_maximum.py)",
            f"Osc_K / {maximum:.3g} in [0.85, 1.15]",
            corrected,
            "inside",
            (Observed("constant step size", slow.interval()[0] > MAXIMUM.high, f"ratio {slow.value:.3g}"),),
            region=MAXIMUM,
        ),
    ]


CLAIM = Claim(
    "CL4",
    "convergence",
    "The objective value converges under step sizes that decay as the theory asks.",
    "D1 (paper C-a)",
    experiments,
    parts,
)
