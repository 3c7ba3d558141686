"""CL60: outside the class the oracle finds nothing: a Lipschitz F that is not path differentiable (E15).

E15 (theory.md section 4): F = r^2 (1/2 + psi(theta - log r)), d psi = [-2, 2] everywhere, so that dF(w) = {r (1 + 2
psi - c) e_r + r c e_theta : |c| <= 2}. The only critical point is the minimum 0, dist(0, dF(w)) = r (1 + 2 psi) /
sqrt 2 >= 0.15 r, yet the selection c = 1 + 2 psi is v(w) = (1 + 2 psi) J w, orthogonal to w. SGD has |w_{k+1}|^2 =
|w_k|^2 (1 + alpha_k^2 (1 + 2 psi)^2): |w_k| grows to a finite limit if sum alpha_k^2 < inf, w_k turns by sum alpha_k
(1 + 2 psi) = inf, and F(w_k) oscillates for ever as psi does. SHB likewise: by the z-transform its radius grows by
second-order terms only. All but path differentiability holds: F is Lipschitz near the orbit, v(w) in dF(w), steps,
momentum, boundedness.

What can be computed: psi and v to rounding (their values, not psi', decide). That v(w) is in dF(w) is proved in
theory.md; the measurement is its finite shadow: the distance of v(w) to the hull of gradients of F at points within
RADIUS |w|. In floating-point numbers psi has 55 bits of x and is a zigzag of slopes +-2 beyond; grad F at a random
point is that of the zigzag. It descends: with oracle=gradient the same runs go to 0. The failure needs a choice on a
null set of directions that no sampling of gradients makes; what it shows is that "an element of the Clarke
subdifferential at every step" is no sufficient hypothesis for Lipschitz functions. Controls: grad F almost
everywhere, of the same F; the tame zigzag (levels=0), where dF(w) is the gradient off the kinks. Pilots (seeds from
10,000) chose a = 0.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Columns, Experiment, measure
from bench.claims.minimality import METHODS
from bench.claims.prediction import inside
from bench.claims.share import always, of_runs
from bench.claims.step_sizes.heavy_ball import heavy_ball, power, unbounded, window_ends
from bench.statistics.cases import Cases
from bench.statistics.estimates import Estimate, Mean, Proportion
from bench.statistics.inference import Region
from bench.statistics.slope import slopes
from shb.nonsmooth import min_norm_point
from shb.problems.closed_forms import E15
from shb.problems.closed_forms.splitting import LEVELS
from shb.streams import normal, words

EFFECTIVE, Q = 0.3, 0.75  # of a_k = a / (k + 11)^q
EVERY = 4  # steps between recorded points
FIRST = 256  # K of the first window of a slope
FAR = 0.1  # least dist(0, dF(w)) / |w_0| of a run that finds nothing; it is at least 0.15 |w|
MOST = 0.95  # of the runs
RADIUS, NEAR, CLOSE = 1e-6, 2000, 1e-3  # of the points for the hull, in units of |w|; their number; largest distance
WORLDS: dict[str, dict[str, Any]] = {"gradient": {"oracle": "gradient"}, "zigzag": {"levels": 0}}  # options of E15


@measure("subgradient_hull")
def subgradient_hull(settings: Mapping[str, Any], seeds: np.ndarray) -> Columns:
    """Distance of v(w) to the hull of gradients near a random w, over |w|: {"distance": [n]}.

    The gradients lie on a line, so that the two farthest along J w span the hull.
    """
    oracle, near = E15(), E15(oracle="gradient", levels=settings["levels"])
    distances = []
    for w, drawn in zip(normal(words(seeds, "points", 0, 2)).T, normal(words(seeds, "near", 0, 2 * NEAR)).T):
        size = np.hypot(*w)
        steps = drawn.reshape(NEAR, 2)
        steps = steps / np.maximum(1, np.hypot(*steps.T))[:, None] * (RADIUS * size)  # in the ball
        rows = near.subgradient(torch.from_numpy(w + steps)).numpy() - oracle.subgradient(torch.from_numpy(w)).numpy()
        along = rows @ np.array([-w[1], w[0]])
        distances.append(min_norm_point(rows[[along.argmin(), along.argmax()]]).norm.item() / size)
    return {"distance": np.array(distances)}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    def run(method: str, options: Mapping[str, Any]) -> Experiment:
        beta = METHODS[method]
        return heavy_ball(
            protocol,
            {"problem": "e15", "init": "uniform", "init.low": -1.0, "init.high": 1.0},
            {f"problem.{name}": value for name, value in options.items()},
            power(Q),
            lr=round(EFFECTIVE * (1 - beta), 12),
            beta=beta,
            observe={"path": {"every": EVERY}},
        )

    runs = {method: run(method, {}) for method in METHODS}
    others = {f"{method} {world}": run(method, options) for world, options in WORLDS.items() for method in METHODS}
    hulls = {
        f"hull {name}": Experiment("subgradient_hull", {"levels": levels}, protocol["hulls"], seconds=5.0)
        for name, levels in (("splitting", LEVELS), ("zigzag", 0))
    }
    return runs | others | hulls


def parts(protocol: Protocol, results: Results) -> list[Part]:
    scope = unbounded(**{name: columns for name, columns in results.items() if not name.startswith("hull")})
    if scope:
        return [CLAIM.out_of_scope(scope)]

    def in_world(world: str, method: str) -> str:
        return {"gradient": f"{method} with grad F, where it exists", "zigzag": f"{method} on the tame zigzag"}[world]

    def controls(statistic: Callable[[Columns, Mapping[str, Any]], Estimate]) -> tuple[Control, ...]:
        return tuple(
            Control(in_world(world, method), statistic(results[f"{method} {world}"], options))
            for world, options in WORLDS.items()
            for method in METHODS
        )

    def finds_nothing(columns: Columns, options: Mapping[str, Any]) -> Proportion:
        least = E15(**options).clarke_norm(_points(columns)).amin(1).numpy()
        start = np.hypot(columns["w0"][:, 0], columns["w1"][:, 0])
        return of_runs(least > FAR * start)

    def oscillation(columns: Columns, options: Mapping[str, Any]) -> Mean:
        values, ends = E15(**options).objective(_points(columns)).numpy(), _ends(protocol["steps"])
        ranges = [values[:, k // (2 * EVERY) : k // EVERY + 1] for k in ends]
        osc = np.stack([one.max(1) - one.min(1) for one in ranges], 1)
        return Mean(slopes(np.log(np.maximum(osc, np.finfo(float).tiny)), np.log(ends)))

    def member(name: str) -> Proportion:
        distance = results[f"hull {name}"]["distance"]
        return of_runs(distance <= CLOSE)

    grown = {m: np.hypot(results[m]["w0"], results[m]["w1"]) for m in METHODS}
    return [
        Part(
            "An oracle of Clarke subgradients of a Lipschitz function finds no critical point.",
            "A2; Daniilidis and Drusvyatskiy; E15 (this project)",
            always(f"of the runs with dist(0, dF(w_k)) > {FAR:g} |w_0| for all k", MOST),
            Cases({method: finds_nothing(results[method], {}) for method in METHODS}),
            controls(finds_nothing),
            note="|w_K| / |w_0|: "
            + ", ".join(f"{m} {np.mean(r[:, -1] / r[:, 0]):.3f}" for m, r in grown.items())
            + ".",
            of=tuple(METHODS),
        ),
        Part(
            "Nor do the values converge: the oscillation of F over [K/2, K] stays.",
            "A2; E15 (this project)",
            inside("log-log slope of max - min of F in [-0.1, 0.1]", Region(-0.1, 0.1), "slope"),
            Cases({method: oscillation(results[method], {}) for method in METHODS}),
            controls(oscillation),
            of=tuple(METHODS),
        ),
        Part(
            "What the oracle returns lies in the hull of gradients nearby, as every Clarke subgradient does.",
            "E15 (this project)",
            always(f"of the points with distance <= {CLOSE:g} |w| to gradients within {RADIUS:g} |w|", MOST),
            member("splitting"),
            (Control("the same vectors, gradients of the tame zigzag", member("zigzag")),),
            of=("hull splitting",),
        ),
    ]


def _points(columns: Columns) -> torch.Tensor:
    """Recorded w_k: [n, points, 2]."""
    return torch.from_numpy(np.stack([columns["w0"], columns["w1"]], -1))


def _ends(steps: int) -> np.ndarray:
    """K of the windows of a slope."""
    ends = window_ends(steps)
    return ends[ends >= FIRST]


CLAIM = Claim(
    "CL60",
    "minimality",
    "Path differentiability is needed: Clarke subgradients of a Lipschitz function may lead nowhere.",
    "A2; Daniilidis and Drusvyatskiy",
    experiments,
    parts,
)
