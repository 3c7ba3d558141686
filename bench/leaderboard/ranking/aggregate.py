"""One score per optimizer over all problems, on a scale from the untrained network to the best optimizer.

    score(o, p, s) = max(0, (x(o, p, s) - zero(p)) / (one(p) - zero(p)))
    score(o) = mean over problems p of the mean over seeds s of score(o, p, s)

x is the first metric of the problem's table (test accuracy or test loss), zero(p) its value for the untrained network
(of the validation part: median over all evaluation seeds and optimizers), one(p) the best optimizer's median. So 0 is
as good as not training, 1 as good as the best, and a diverged seed, which is worse than untrained, counts as 0. Every
problem counts the same. Intervals as in Agarwal et al. 2021 (arXiv 2108.13264): seeds are resampled within each
problem, problems and scales are not. Their interquartile mean is not used: it would hide an optimizer that diverges on
one seed in ten, and with ten seeds its bias on skewed scores, which is the same on every problem, does not average out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.statistics.bootstrap import stratified_mean_interval
from bench.statistics.medians import median

NORMALISED = (
    "per problem 0 = untrained network (median validation metric at step 0), 1 = best optimizer's median of the test "
    "metric; below 0 counts as 0; mean over seeds, then over problems"
)


class Scale(NamedTuple):
    """What one problem's scores are made of.

    Attributes:
        costs: [optimizers, seeds] of the first metric, lower is better (bench.leaderboard.ranking.pairs.costs).
        untrained: cost of the untrained network.
    """

    costs: np.ndarray
    untrained: float

    def scores(self) -> np.ndarray | None:
        """Normalised scores [optimizers, seeds]; None where no optimizer is better than the untrained network."""
        best = min(map(median, self.costs))
        if not best < self.untrained < np.inf:
            return None
        return np.maximum(0.0, (self.untrained - self.costs) / (self.untrained - best))


def aggregate(optimizers: Sequence[str], scales: Mapping[str, Scale]) -> list[dict[str, Any]]:
    """One entry per optimizer: `optimizer`, `score`, `low`, `high` (95 %), `by_problem` and `normalised` (in words).

    Args:
        scales: problem -> its costs and the cost of the untrained network.

    Nothing is returned if no problem has a scale; a problem without one is not in `by_problem`.
    """
    known = {problem: scores for problem, scale in scales.items() if (scores := scale.scores()) is not None}
    result = []
    for index, optimizer in enumerate(optimizers if known else ()):
        score = stratified_mean_interval([scores[index] for scores in known.values()])
        result.append(
            {
                "optimizer": optimizer,
                "score": score.value,
                "low": score.low,
                "high": score.high,
                "by_problem": {problem: float(scores[index].mean()) for problem, scores in known.items()},
                "normalised": NORMALISED,
            }
        )
    return result
