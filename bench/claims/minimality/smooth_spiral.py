"""CL59: values converge and iterates do not, for a C^infinity function that is not definable (E14, a spiral valley).

D1 (ii) gives convergence of F(w_k), critical accumulation points and a connected accumulation set, here for a smooth
F with deterministic steps a / (k + 11)^0.1, which tend to 0 and sum up to infinity. It gives no limit of w_k, and
there is none: the accumulation set is a circle. (For definable F and gradient descent there is one; Kurdyka,
recalled.)

Along the valley of E14 (theory.md section 4), where the flow stays at the angle phi(r) at which it moves along the
spiral phi = theta - k u = const,

    du/dt = e^{-u} A cos(phi) / (k r^2)   =>   angle swept = k (u(t') - u(t)),   F ~ k^2 / t,   sweep -> k log(t' / t)

`valley_sweep` solves that differential equation from the radius at K/2; the clock t is the sum of the effective
steps. The prediction is that sweep, within 3 %, over [K/2, K]. Controls: without the sine (F = e^{-u}, definable) w_k
converges radially, and with summable steps F(w_k) does not reach 0. Pilots (seeds from 10,000) chose winding 4, the
step sizes and the box of starts: with steps 2.0, or beta = 0.9 and an effective step of 1.2, runs overshoot the
valley and end in the flat disc, where F = 0. SHB therefore has beta = 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import brentq

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment
from bench.claims.prediction import inside
from bench.claims.share import always, of_runs
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, power_steps, unbounded
from bench.statistics.cases import Cases
from bench.statistics.estimates import Mean, Proportion
from bench.statistics.inference import Region
from bench.statistics.slope import slopes
from shb.errors import ConfigurationError

WINDING, WIDTH, Q = 4.0, 4.0, 0.1
METHODS = {"SGD": (1.0, 0.0), "SHB": (0.5, 0.5)}  # name -> (a, beta): equal effective steps
START = {"init": "uniform", "init.low": 3.0, "init.high": 4.5}
PER_OCTAVE = 16  # recorded points: the angle moves by less than pi between two
OCTAVES, LATE = 4, 2  # doublings recorded at the end of a run; of these, for the slope of F
SUMMABLE = 2.0  # q of the control
MOST = 0.95  # of the runs go all the way round
GRID = 2000  # steps of the valley's differential equation
LEAST, MOST_U = 1.0, 100.0  # range of u in which it is solved


def recorded(steps: int) -> list[int]:
    """Steps at which w_k is recorded: PER_OCTAVE to each of the last OCTAVES doublings."""
    points = np.arange(OCTAVES * PER_OCTAVE, -1, -1)
    found = sorted({int(k) for k in np.rint(steps * 2.0 ** (-points / PER_OCTAVE))})
    if len(found) < len(points):
        raise ConfigurationError("claim.steps", steps, f"at least {32 * PER_OCTAVE}, for distinct points to record")
    return found


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(name: str, wave: float, q: float, steps: int) -> Experiment:
        lr, beta = METHODS[name]
        at = recorded(steps)
        return heavy_ball(
            protocol,
            {"problem": "e14", "problem.winding": WINDING, "problem.width": WIDTH, "problem.wave": wave},
            START,
            power(q),
            lr=lr,
            beta=beta,
            steps=steps,
            observe={"path": {"at": at}, "objective": {"at": at}},
        )

    few = protocol["control_steps"]
    spirals = {name: run(name, 1.0, Q, protocol["steps"]) for name in METHODS}
    straight = {f"{name} straight": run(name, 0.0, Q, few) for name in METHODS}
    return spirals | straight | {f"{name} summable": run(name, 1.0, SUMMABLE, few) for name in METHODS}


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**results)
    if scope:
        return [CLAIM.out_of_scope(scope)]
    steps, few = protocol["steps"], protocol["control_steps"]
    runs = {name: results[name] for name in METHODS}
    straight = {name: results[f"{name} straight"] for name in METHODS}
    summable = {name: results[f"{name} summable"] for name in METHODS}

    def ratio(name: str, columns: Columns, length: int) -> Mean:
        return Mean(sweep(columns, 1) / valley_sweep(columns, clock(name, length)))

    def round_trips(columns: Columns) -> Proportion:
        return of_runs(sweep(columns, OCTAVES) > 2 * np.pi)

    def falls(columns: Columns, length: int) -> Mean:
        late = -1 - LATE * PER_OCTAVE
        values = np.maximum(columns["objective_at"][:, late:], np.finfo(float).tiny)
        return Mean(slopes(np.log(values), np.log(recorded(length)[late:])))

    return [
        Part(
            "Along the spiral valley of E14 the iterates keep circling, at the speed of gradient flow.",
            "D1 (this project), E14",
            inside(
                f"angle swept over [K/2, K] / that of the valley within 3 % of 1, {' and '.join(METHODS)}",
                Region(0.97, 1.03),
                "ratio",
            ),
            Cases({name: ratio(name, columns, steps) for name, columns in runs.items()}),
            tuple(
                Control(f"{name} without the sine: F = e^-u", ratio(name, columns, few))
                for name, columns in straight.items()
            ),
            note="Mean angle: "
            + ", ".join(f"{name} {sweep(columns, 1).mean():.2f} rad" for name, columns in runs.items())
            + f"; for K to infinity {WINDING * (1 - Q) * np.log(2):.2f} rad in every doubling of K.",
            of=tuple(runs),
        ),
        Part(
            "The iterates go all the way round the disc over [K/16, K]: they do not converge.",
            "D1 (this project), E14",
            always("of the runs turning by more than 2 pi", MOST),
            Cases({name: round_trips(columns) for name, columns in runs.items()}),
            tuple(Control(f"{name} without the sine", round_trips(columns)) for name, columns in straight.items()),
            of=tuple(runs),
        ),
        Part(
            "The values converge: F(w_k) falls like a power of k.",
            "D1(ii) (this project), E14",
            inside("slope of log F(w_k) against log k over [K/4, K] at most -1/2", Region(high=-0.5), "slope"),
            Cases({name: falls(columns, steps) for name, columns in runs.items()}),
            tuple(
                Control(f"{name} with summable steps (q = {SUMMABLE:g})", falls(columns, few))
                for name, columns in summable.items()
            ),
            of=tuple(runs),
        ),
    ]


def sweep(columns: Columns, octaves: int) -> np.ndarray:
    """Angle by which each run turns over the last `octaves` doublings: [n]."""
    angle = np.unwrap(np.arctan2(columns["w1"], columns["w0"]), axis=1)
    return np.abs(angle[:, -1] - angle[:, -1 - octaves * PER_OCTAVE])


def clock(name: str, steps: int) -> float:
    """Sum of the effective steps over [K/2, K]."""
    lr, beta = METHODS[name]
    return float(power_steps(lr, Q, steps)[steps // 2 :].sum() / (1 - beta))


def valley_sweep(columns: Columns, duration: float) -> np.ndarray:
    """Angle that the valley's flow sweeps in `duration` from the radius of each run at K/2: [n] (midpoint rule)."""
    radius = np.hypot(columns["w0"], columns["w1"])[:, -1 - PER_OCTAVE]
    start = WIDTH / (np.maximum(radius, 1 + 1e-3) - 1)
    grid = np.linspace(LEAST, min(start.max(), MOST_U) + 20, 4000)
    speed = np.array([valley_speed(u) for u in grid])
    u, dt = start.copy(), duration / GRID
    for _ in range(GRID):
        middle = u + dt / 2 * np.interp(u, grid, speed)
        u = u + dt * np.interp(middle, grid, speed)
    return WINDING * np.maximum(u - start, 1e-12)


def valley_speed(u: float) -> float:
    """du/dt of gradient flow in the valley at u = L / (r - 1) >= LEAST."""
    gap = WIDTH / u
    r, k, u_r = 1 + gap, WINDING, -(u * u) / WIDTH
    stiffness = gap * gap / (WIDTH * r)
    change = (2 * gap * r - gap * gap) / (WIDTH * r * r)
    below = k * k + stiffness * stiffness
    a, a_r = k / below, -2 * k * stiffness * change / below**2

    def drift(phi: float) -> float:  # of theta - k u, over e^-u
        radial = u_r * (1 - a * np.sin(phi)) + a_r * np.sin(phi) - a * k * u_r * np.cos(phi)  # dr/dt
        return a * np.cos(phi) / r**2 - k * u_r * radial

    phi = brentq(drift, 0.5 / k, np.pi / 2 + 0.3)
    return float(a * np.cos(phi) / r**2 * np.exp(-u) / k)


CLAIM = Claim(
    "CL59",
    "minimality",
    "Smoothness does not make iterates converge: on a C^infinity spiral the values converge and the iterates circle.",
    "D1 (this project); Absil, Mahony and Andrews",
    experiments,
    parts,
)
