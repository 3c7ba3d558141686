"""Learning curves of the evaluation seeds: quantile bands over seeds, and fewer points without hiding extremes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from bench.statistics.metric import Metric
from bench.statistics.quantiles import quantile_bands
from bench.store.schema import CURVE_METRICS

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Curves:
    """One metric of one optimizer on one problem along training.

    Attributes:
        steps: k of w_k, [points], increasing.
        lines: quantiles QUANTILES over seeds, [7, points]; infinite where a diverged seed is that quantile.
        measured: number of seeds that have a value, [points]: those that diverged before do not count here.
        seeds: seed -> (steps, values) of its own curve, which ends where it diverged.
    """

    problem: str
    optimizer: str
    metric: str
    steps: np.ndarray
    lines: np.ndarray
    measured: np.ndarray
    seeds: dict[int, tuple[np.ndarray, np.ndarray]] = field(repr=False)

    @property
    def numbers(self) -> int:
        """How many numbers it consists of."""
        return self.lines.size + 2 * self.steps.size + sum(2 * len(own) for own, _ in self.seeds.values())


def make_curves(problem: str, optimizer: str, members: pl.DataFrame, curves: pl.DataFrame) -> list[Curves]:
    """The curves of one problem and optimizer, one per metric that was measured at two steps or more.

    Args:
        problem: its name in the suite, which may be another than that of its members.
        optimizer: its name.
        members: rows of the evaluation seeds, done or diverged.
        curves: their curve rows (Store.curves).
    """
    if members.is_empty() or curves.is_empty():
        return []
    result = []
    for metric in CURVE_METRICS:
        own = curves.filter(pl.col(metric).is_not_null())
        steps = np.unique(own["step"].to_numpy())
        if len(steps) < 2:
            continue
        values = np.full((len(members), len(steps)), np.nan)
        ended = np.zeros(values.shape, bool)
        seeds = {}
        rows = {member_id: part for (member_id,), part in own.group_by("member_id", maintain_order=True)}
        for row, (member_id, seed, status) in enumerate(members.select("member_id", "seed", "status").iter_rows()):
            part = rows.get(member_id, own.clear()).sort("step")
            at, measured = part["step"].to_numpy(), part[metric].to_numpy()
            measured = np.where(np.isfinite(measured), measured, Metric(metric).worst)
            values[row, np.searchsorted(steps, at)] = measured
            if status == "diverged":
                ended[row] = steps > (at[-1] if len(at) else -1)
            if len(at):
                seeds[seed] = at, measured
        measured = (~np.isnan(values)).sum(axis=0)
        values[ended] = Metric(metric).worst
        result.append(Curves(problem, optimizer, metric, steps, quantile_bands(values, QUANTILES), measured, seeds))
    return result


def extremes(values: np.ndarray, buckets: int) -> np.ndarray:
    """Indices of the first and last point and of the smallest and largest value in each of `buckets` pieces.

    Pieces have ceil(n / buckets) points, the last one fewer. NaN is passed over. At most 2 * buckets + 2 indices,
    increasing; all of them if there are not more points.
    """
    n = len(values)
    if n <= 2 * buckets + 2:
        return np.arange(n)
    width = -(-n // buckets)
    pieces = np.full(buckets * width, np.nan)
    pieces[:n] = values
    pieces = pieces.reshape(buckets, width)
    empty = np.isnan(pieces)
    start = (np.arange(buckets) * width)[~empty.all(axis=1)]
    smallest = np.where(empty, np.inf, pieces).argmin(axis=1)[~empty.all(axis=1)]
    largest = np.where(empty, -np.inf, pieces).argmax(axis=1)[~empty.all(axis=1)]
    return np.unique(np.concatenate([[0, n - 1], start + smallest, start + largest]))


def decimated(curves: Curves, buckets: int) -> Curves:
    """The same curves with the extremes of every quantile and of every seed in each bucket, but no other points."""
    kept = np.unique(np.concatenate([extremes(line, buckets) for line in curves.lines]))
    seeds = {}
    for seed, (steps, values) in curves.seeds.items():
        own = extremes(values, buckets)
        seeds[seed] = steps[own], values[own]
    return replace(
        curves,
        steps=curves.steps[kept],
        lines=curves.lines[:, kept],
        measured=curves.measured[kept],
        seeds=seeds,
    )


def within_budget(curves: list[Curves], numbers: int) -> tuple[list[Curves], bool]:
    """`curves` with at most `numbers` numbers in all, if that can be; and whether anything was left out.

    Points go first, in ever fewer buckets; then the seeds' own curves, of which the quantiles 0 and 1 still show the
    extremes; then more points.
    """
    alone = [replace(c, seeds={}) for c in curves]
    for source, buckets in ((curves, (512, 256, 128, 64, 32, 16)), (alone, (512, 256, 128, 64, 32, 16, 8, 4, 2, 1))):
        for candidate in (source, *([decimated(c, b) for c in source] for b in buckets)):
            if sum(c.numbers for c in candidate) <= numbers:
                return candidate, candidate is not curves
    return candidate, True
