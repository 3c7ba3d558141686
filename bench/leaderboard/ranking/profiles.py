"""Performance profiles: how often an optimizer reaches the target within a factor tau of the fastest on the same seed.

Dolan and More 2002 (Math. Program. 91, 201-213), with the normalised area of AlgoPerf (Dahl et al. 2023, arXiv
2306.07179):

    r(o, p, s) = steps(o, p, s) / min over o' of steps(o', p, s)           infinity if o misses the target
    share(o, tau) = mean over problems p of the share of seeds s with r(o, p, s) <= tau
    area(o) = 1 / (T - 1) * integral of share(o, tau) over tau in [1, T]   T = LARGEST_FACTOR

The factor is taken per problem and seed, not of medians: a seed gives every optimizer the same start and the same
mini-batches, so the ratio compares like with like, and what is resampled for the intervals are single values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.statistics.bootstrap import stratified_mean_interval
from bench.statistics.estimates import Proportion

LARGEST_FACTOR = 4.0  # of AlgoPerf
TAUS = tuple(round(float(tau), 4) for tau in np.geomspace(1, LARGEST_FACTOR, 41))


def factors(steps: np.ndarray) -> np.ndarray:
    """r of the module's docstring, [optimizers, seeds], from the `steps` to the target of one problem, same shape.

    Infinite steps (target missed) give infinity, also where all miss it; the fastest has 1, also if it took no step.
    """
    best = steps.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isinf(steps), np.inf, np.where(steps == best, 1.0, steps / best))


def areas(factors: np.ndarray) -> np.ndarray:
    """Area under the profile of single runs, in [0, 1]: 1 for a factor of 1, 0 from LARGEST_FACTOR on."""
    return np.clip((LARGEST_FACTOR - factors) / (LARGEST_FACTOR - 1), 0.0, 1.0)


def profiles(optimizers: Sequence[str], steps: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One profile per optimizer, with 95 % intervals over the seeds of these problems.

    Args:
        steps: problem -> steps to its target [optimizers, seeds], infinity where it is missed; the same number of seeds
            everywhere, in the same order for all optimizers.

    Returns dictionaries of `optimizer`, `problems`, the lists `tau`, `share`, `share_low`, `share_high`, and `area`,
    `area_low`, `area_high`; nothing if there are no problems. The area has a stratified bootstrap; a share has the
    interval of a proportion of all runs (Wilson, Clopper-Pearson at 0 and 1), which is conservative where problems
    differ (Hoeffding 1956) and does not take "all of 50 seeds" for certainty.
    """
    ratios = [factors(of_problem) for of_problem in steps.values()]
    result = []
    for index, optimizer in enumerate(optimizers if ratios else ()):
        runs = np.concatenate([ratio[index] for ratio in ratios])
        shares = [Proportion(int((runs <= tau).sum()), runs.size) for tau in TAUS]
        low, high = zip(*(share.interval() for share in shares))
        area = stratified_mean_interval([areas(ratio[index]) for ratio in ratios])
        result.append(
            {
                "optimizer": optimizer,
                "problems": list(steps),
                "tau": list(TAUS),
                "share": [share.value for share in shares],
                "share_low": list(low),
                "share_high": list(high),
                "area": area.value,
                "area_low": area.low,
                "area_high": area.high,
            }
        )
    return result
