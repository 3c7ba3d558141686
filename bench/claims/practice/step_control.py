"""CL43: how much of success is decided by the effective step size, and how little by momentum beside it.

A run succeeds if F(w_K) - F* (networks: the training loss) is at most a target. The variance share of some factors is
that of the mean success in the cells of their levels in the variance of all outcomes (eta^2, analysis of variance):

    share(A) = Var_cells( mean of success in a cell of A ) / Var( success )

To first order SHB sees lr and beta through a = lr / (1 - beta) only (D1: the same inclusion on the clock sum a_k). So
the raw step size is the wrong factor: on a symmetric grid of lr, beta = 0.9 loses at the top what it gains at the
bottom, and its share is nearly 0 by that symmetry alone. Compared are therefore the runs with beta = 0 and 0.9 at equal
a, crossed with all other levels. Predicted, before any run: a matters (share > 5 %), and beta beside it, alone and
together with a, does not (share(a, beta) - share(a) < 5 %), while beside the raw lr it does.

What the grid decides: a share compares factors over the levels chosen, here half decades of a from too small to
unstable, and initialisations over decades; of other ranges the shares are others. That the step size matters on such
a grid is no surprise; that beta adds nothing to it could fail, and must where a is large: SHB is stable up to a (1 +
beta) / (1 - beta) times larger (L2). Under "no effect" a share is about levels / runs, which the jackknife removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.cell.cell import NUMERICS
from bench.claims.claim import Claim, Control, Part, Protocol, Results
from bench.claims.experiment import Experiment
from bench.claims.practice.grid import FACTORS, shape
from bench.claims.prediction import inside, tost
from bench.statistics.inference import Region
from bench.statistics.jackknife import Jackknife

LEAST = 0.05  # share of the variance that counts as mattering
COMPARED = (0.0, 0.9)  # momenta
NAMES = {"init": "initialisation scale", "momentum": "momentum", "q": "decay", "lr": "effective step size"}


def experiments(protocol: Protocol) -> Mapping[str, Experiment]:
    return {name: Experiment("grid", _settings(protocol, name), **_sizes(one)) for name, one in _problems(protocol)}


def _problems(protocol: Protocol) -> list[tuple[str, Mapping[str, Any]]]:
    return list(protocol["problems"].items())


def _settings(protocol: Protocol, name: str) -> dict[str, Any]:
    one = protocol["problems"][name]
    settings = {"overrides": list(one["overrides"]), "levels": dict(one["levels"]), "device": protocol.device}
    compiled = "engine=compiled" in one["overrides"]  # its bits change with our kernels
    return settings | ({"numerics": NUMERICS["compiled"]} if compiled else {})


def _sizes(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"seeds": one["seeds"], "chunk": one["chunk"], "seconds": one["seconds"]}


def success(protocol: Protocol, results: Results, name: str) -> np.ndarray:
    """1 where F(w_K) <= target, 0 elsewhere (diverged runs included): [n, levels of init, momentum, q, lr]."""
    one = protocol["problems"][name]
    hit = results[name]["objective"] <= one["target"]
    return hit.astype(float).reshape(len(hit), *shape(one["levels"]))


def same_effective_step(outcome: np.ndarray, levels: Mapping[str, Sequence[float]]) -> np.ndarray:
    """The runs with each of COMPARED at every effective step that all of them have: [n, init, momenta, q, steps]."""
    rows = [list(levels["momentum"]).index(beta) for beta in COMPARED]
    steps = [[_key(lr / (1 - beta)) for lr in levels["lr"]] for beta in COMPARED]
    common = [a for a in steps[0] if all(a in own for own in steps)]
    return np.stack([outcome[:, :, row][..., [own.index(a) for a in common]] for row, own in zip(rows, steps)], axis=2)


def same_raw_step(outcome: np.ndarray, levels: Mapping[str, Sequence[float]]) -> np.ndarray:
    """The runs with each of COMPARED at every lr: [n, init, momenta, q, lr]."""
    return outcome[:, :, [list(levels["momentum"]).index(beta) for beta in COMPARED]]


def _key(step: float) -> float:
    return float(f"{step:.6g}")  # 0.1 / (1 - 0.9) is not 1 to the last bit


def explained(outcome: np.ndarray, *factors: str) -> float:
    """Share of `factors` together, see above: outcome [n, init, momenta, q, steps]; 0 where it does not vary at all."""
    kept = [1 + FACTORS.index(factor) for factor in factors]
    cells = outcome.mean(axis=tuple(i for i in range(outcome.ndim) if i not in kept))
    total = outcome.var()
    return float(cells.var() / total) if total > 0 else 0.0


def share(outcome: np.ndarray, factor: str) -> Jackknife:
    """Variance share of one factor, over the seeds."""
    return Jackknife(lambda rows: explained(rows, factor), outcome)


def momentum_beside(outcome: np.ndarray) -> Jackknife:
    """What momentum, alone and together with the step size, adds to the share of the step size."""
    return Jackknife(lambda rows: explained(rows, "momentum", "lr") - explained(rows, "lr"), outcome)


def parts(protocol: Protocol, results: Results) -> list[Part]:
    step, momentum = [], []
    for name, one in _problems(protocol):
        outcome = success(protocol, results, name)
        matched, raw = (choose(outcome, one["levels"]) for choose in (same_effective_step, same_raw_step))
        shuffled = np.random.default_rng(43).permuted(matched, axis=1 + FACTORS.index("lr"))
        shares = {NAMES[factor]: share(matched, factor) for factor in FACTORS}
        step.append(
            Part(
                f"Whether a run succeeds depends on the effective step size ({one['title']}).",
                "seed practice",
                inside(f"variance share of the effective step size > {LEAST:g}", Region(LEAST, 1.0), "share"),
                share(matched, "lr"),
                (Control("step sizes shuffled within each seed and setting", share(shuffled, "lr")),),
                note="Shares: "
                + ", ".join(f"{factor} {_text(s)}" for factor, s in shares.items())
                + f"; {matched.mean():.0%} of {matched.size} runs succeed",
                of=(name,),
            )
        )
        momentum.append(
            Part(
                f"At equal effective step size momentum decides next to nothing ({one['title']}).",
                "D1",
                tost(
                    f"variance share of momentum beside the effective step size < {LEAST:g}",
                    Region(high=LEAST),
                    "share",
                ),
                momentum_beside(matched),
                (Control("beside the raw step size lr", momentum_beside(raw)),),
                note=f"At equal raw step size: lr {_text(share(raw, 'lr'))}, momentum {_text(share(raw, 'momentum'))}",
                of=(name,),
            )
        )
    return [*step, *momentum]


def _text(share: Jackknife) -> str:
    low, high = share.interval()
    return f"{share.value:.3f} [{low:.3f}, {high:.3f}]"


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
