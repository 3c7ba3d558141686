"""How far a member computed again elsewhere may be from the stored one, and why (docs/results.md, "Reproducing").

Where CPU type, thread count and torch version agree, every bit is the same, and no tolerance is needed. Elsewhere
sums have another order, so last bits differ from the first step on. Most trajectories keep that difference small.
Some do not: where an iterate passes near a kink, or the step size is at the edge of stability, a last bit decides the
way, and the final loss may differ by half. So a member's own sensitivity is measured, with copies that get small
errors (`bench.reproduction.rerun.perturbed`):

1. Every evaluated row within `Rounding.allowed` of the stored one: the member is reproduced.
2. Otherwise the first row that is not must not come before the first row at which some copy leaves the trajectory
   without errors. Up to there small errors do not matter, so a difference is a mismatch.
3. From there on, no metric may be further away than FACTOR times the largest distance of a copy.

Measured with 232 members of digits/mlp, engine=eager, computed on two kinds of CPU: 182 pass by rule 1 and 50 by the
others. False alarms: of 3,712 perturbed copies (relative error eps), 6 were rejected. Detection: a member with another
seed was rejected in 230 of 231 cases, one with the nearest other setting of the tuner in 167 of 191.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.cell.problem import DTYPES
from bench.reproduction.rerun import Run
from bench.statistics.metric import Metric
from bench.store.schema import CURVE_METRICS, METRICS

RELATIVE, ABSOLUTE = 1e4, 10.0  # of a loss or a distance, in units of eps (float32: 1.2e-3 and 1.2e-6)
SAMPLES, SHARE = 2.5, 1e-3  # of an accuracy: two samples of its part, or a share of them, if that is more
LARGEST = 0.1  # relative: 16-bit numbers, whose eps is 0.001 or 0.008
COPIES = 16
FACTOR = 3.0


@dataclass(frozen=True)
class Rounding:
    """Distances between two values of a metric, and what rounding alone may do to them.

    Args:
        dtype: float type of the member.
        samples: part ("train", "val", "test") -> number of its samples; empty for closed forms.
    """

    dtype: str
    samples: Mapping[str, int]

    def allowed(self, metric: str) -> float:
        """The largest `distance` that is rounding: relative for losses, samples for accuracies, none for yes or no."""
        if metric in ("touched", "trapped"):
            return 0.0
        if Metric(metric).higher_is_better:
            return max(SAMPLES / self.samples[metric.split("_")[0]], SHARE)
        return min(RELATIVE * self._eps, LARGEST)

    def distance(self, metric: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Between values [rows]: of losses and distances |log ((a + c) / (b + c))|, which is relative and symmetric,
        with c = ABSOLUTE eps; of all others |a - b|. Infinite where one is missing and the other is not."""
        missing = np.isnan(a) != np.isnan(b)
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric in ("touched", "trapped") or Metric(metric).higher_is_better:
                far = np.abs(a - b)
            else:
                c = ABSOLUTE * self._eps
                relative = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), c)  # where one is negative
                far = np.where((a > -c) & (b > -c), np.abs(np.log((a + c) / (b + c))), relative)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.where(same, 0.0, np.where(missing | np.isnan(far), np.inf, far))

    def beyond(self, metric: str, a: np.ndarray, b: np.ndarray, limit: float = 0.0) -> np.ndarray:
        """Where two values [rows] are further away than `limit` and than rounding: bool [rows]."""
        far = self.distance(metric, a, b) > max(limit, self.allowed(metric))
        with np.errstate(invalid="ignore"):
            return far & ~(np.abs(a - b) <= ABSOLUTE * self._eps)

    @property
    def _eps(self) -> float:
        return torch.finfo(DTYPES[self.dtype]).eps


@dataclass(frozen=True)
class Agreement:
    """How a stored member and the same one computed again compare.

    Attributes:
        result: "bits", "rounding", "chaotic" (within what small errors do to it), or "different".
        step: the last evaluated step up to which both agree within rounding; None if they never do.
        metric, distance: the final metric that is furthest away, its `Rounding.distance`; "" and 0 if all are equal.
        reason: one line for people.
    """

    result: str
    step: int | None
    metric: str = ""
    distance: float = 0.0
    reason: str = ""


def agreement(stored: Run, again: Run, rounding: Rounding, copies: Callable[[], Sequence[Run]]) -> Agreement:
    """Compare by the rules above.

    Args:
        copies: computes COPIES copies of `again` with small errors, or none if they cost too much; called only if
        needed.
    """
    first = _first_difference(stored, again, rounding)
    far = _furthest(stored, again, rounding)
    steps = list(again.curve["step"])
    if first is None:
        return Agreement("rounding", steps[-1], *far)
    until = steps[first - 1] if first else None
    where = f"differs at step {steps[first]}" if first < len(steps) else f"ends otherwise after step {steps[-1]}"
    runs = copies()
    if not runs:
        return Agreement("different", until, *far, f"{where}; copies that would tell why are too costly")
    onsets = [n for n in (_first_difference(run, again, rounding) for run in runs) if n is not None]
    onset = min(onsets, default=None)
    if onset is None or first < onset:
        safe = steps[-1] if onset is None else steps[onset - 1]
        reason = f"{where}; small errors do not matter up to step {safe}"
        return Agreement("different", until, *far, reason)
    reason = _beyond(stored, again, rounding, runs, onset)
    if reason:
        return Agreement("different", until, *far, reason)
    note = f"{where}; {len(onsets)} of {len(runs)} copies with small errors leave it too"
    return Agreement("chaotic", until, *far, note)


def _column(run: Run, name: str) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in run.curve[name]], dtype=np.float64)


def _measured(one: Run, other: Run) -> list[str]:
    """Columns in which one of the two has a value."""
    return [n for n in CURVE_METRICS if not (np.isnan(_column(one, n)).all() and np.isnan(_column(other, n)).all())]


def _both(one: Run, other: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The values in the rows that both have: [rows] each."""
    rows = min(len(one.curve["step"]), len(other.curve["step"]))
    return _column(one, name)[:rows], _column(other, name)[:rows]


def _first_difference(one: Run, other: Run, rounding: Rounding) -> int | None:
    """The first row that differs by more than rounding; one after the shorter curve, if only the end differs."""
    rows = min(len(one.curve["step"]), len(other.curve["step"]))
    found = [] if (one.status, one.diverged_step) == (other.status, other.diverged_step) else [rows]
    for name in _measured(one, other):
        found += np.nonzero(rounding.beyond(name, *_both(one, other, name)))[0][:1].tolist()
    return min(found, default=None)


def _beyond(stored: Run, again: Run, rounding: Rounding, copies: Sequence[Run], onset: int) -> str:
    """Why the stored run, from row `onset` on, is further from `again` than the copies are; "" if it is not."""
    if stored.status not in {run.status for run in (again, *copies)}:
        return f"{stored.status}, but {again.status} here, and in all {len(copies)} copies with small errors"
    for name in _measured(stored, again):
        pairs = (_both(run, again, name) for run in copies)
        spread = max(rounding.distance(name, *(side[onset:] for side in pair)).max(initial=0.0) for pair in pairs)
        a, b = (side[onset:] for side in _both(stored, again, name))
        if rounding.beyond(name, a, b, FACTOR * spread).any():
            far = rounding.distance(name, a, b).max()
            return f"{name} is {far:.3g} away, the {len(copies)} copies with small errors at most {spread:.3g}"
    return ""


def _furthest(stored: Run, again: Run, rounding: Rounding) -> tuple[str, float]:
    worst = ("", 0.0)
    for name in METRICS:
        a, b = (np.array([math.nan if run.metrics[name] is None else run.metrics[name]]) for run in (stored, again))
        if np.isnan(a).all() and np.isnan(b).all():
            continue
        distance = float(rounding.distance(name, a, b)[0])
        if distance > worst[1]:
            worst = name, distance
    return worst
