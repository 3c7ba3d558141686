"""CL43: how much of success is decided by the step size, by initialisation scale, momentum and decay.

A run succeeds if F(w_K) - F* (networks: the training loss) is at most a target. The variance share of a factor is that
of its marginal means over its levels in the variance of all outcomes (eta^2 of an analysis of variance):

    share = Var_l( mean of success at level l ) / Var( success )

Shares of main effects add up to less than 1; the rest is interactions and the seeds. Under "no effect" a share is not 0
but about (levels - 1) / runs; the threshold of 5 % is fixed beforehand and far above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.claims.claim import Claim, Observed, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.practice.grid import FACTORS, shape
from bench.claims.prediction import inside
from bench.statistics.bootstrap import Bootstrap
from bench.statistics.estimates import Estimate
from bench.statistics.inference import Region

LEAST = 0.05  # share of the variance that counts as mattering
NAMES = {"init": "initialisation scale", "momentum": "momentum", "q": "decay", "lr": "step size"}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    return {name: Experiment("grid", _settings(protocol, name), **_sizes(one)) for name, one in _problems(protocol)}


def _problems(protocol: Protocol) -> list[tuple[str, Mapping[str, Any]]]:
    return list(protocol["problems"].items())


def _settings(protocol: Protocol, name: str) -> dict[str, Any]:
    one = protocol["problems"][name]
    return {"overrides": list(one["overrides"]), "levels": dict(one["levels"]), "device": protocol.device}


def _sizes(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"seeds": one["seeds"], "chunk": one["chunk"], "seconds": one["seconds"]}


def success(protocol: Protocol, results: Results, name: str) -> np.ndarray:
    """1 where F(w_K) <= target, 0 elsewhere (diverged runs included): [n, levels of init, momentum, q, lr]."""
    one = protocol["problems"][name]
    hit = results[name]["objective"] <= one["target"]
    return hit.astype(float).reshape(len(hit), *shape(one["levels"]))


def variance_shares(outcome: np.ndarray, factor: int) -> np.ndarray:
    """Share of one factor: outcome [batch, n, *levels] -> [batch]; 0 where the outcome does not vary at all."""
    axis = 2 + factor
    others = tuple(i for i in range(1, outcome.ndim) if i != axis)
    total = outcome.var(axis=tuple(range(1, outcome.ndim)))
    effect = outcome.mean(axis=others).var(axis=1)
    return np.divide(effect, total, out=np.zeros_like(total), where=total > 0)


def share(outcome: np.ndarray, factor: str) -> Estimate:
    """Variance share of a factor, bootstrap over the seeds."""
    index = FACTORS.index(factor)
    return Bootstrap(lambda rows: variance_shares(rows, index), outcome, seed=43, vectorized=True)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    rows = []
    for name, one in _problems(protocol):
        outcome = success(protocol, results, name)
        shares = {factor: share(outcome, factor) for factor in FACTORS}
        shuffled = np.random.default_rng(43).permuted(outcome, axis=1 + FACTORS.index("lr"))
        chance = share(shuffled, "lr")
        bounds = {factor: one_share.interval() for factor, one_share in shares.items()}
        rows.append(
            Part(
                f"Whether a run succeeds depends on the step size ({one['title']}).",
                "seed practice",
                inside(f"variance share of the step size > {LEAST:g}", Region(LEAST, 1.0), "share"),
                shares["lr"],
                (
                    Observed(
                        "step sizes shuffled within each seed and setting",
                        chance.interval()[1] < LEAST,
                        f"share {chance.value:.2g} [{chance.interval()[0]:.2g}, {chance.interval()[1]:.2g}]",
                    ),
                ),
                note="shares: "
                + ", ".join(
                    f"{NAMES[f]} {s.value:.3f} [{bounds[f][0]:.3f}, {bounds[f][1]:.3f}]" for f, s in shares.items()
                )
                + f"; {outcome.mean():.0%} of {outcome.size} runs succeed",
            )
        )
    return rows


def by_cell(outcome: np.ndarray) -> np.ndarray:
    """Share of success for each initialisation scale and step size: [levels of init, levels of lr]."""
    return outcome.mean(axis=(0, 2, 3))


CLAIM = Claim(
    "CL43",
    "practice",
    "The control of the step size decides success.",
    "seed practice",
    experiments,
    parts,
)
