"""A strip: all seeds of one row of the leaderboard as dots on the scale of its problem, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.report.data import Seeds

WIDTH, HEIGHT, MARGIN = 132, 14, 6
MOST_DOTS = 300


class Scale(NamedTuple):
    """Where a value lies on a strip: linear, or logarithmic where values span more than a factor of 20."""

    low: float
    high: float
    log: bool

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = math.log(value) if self.log else value
        share = (value - low) / (high - low) if high > low else 0.5
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)


def scale_of(rows: Iterable[Mapping[str, Any]], seeds: Iterable[Seeds]) -> Scale | None:
    """The scale of one metric on one problem: of all finite seeds and interval ends of all its optimizers."""
    values = [value for own in seeds for value in own.values if value is not None]
    values += [row[name] for row in rows for name in ("ci_low", "ci_high") if row.get(name) is not None]
    if not values:
        return None
    low, high = min(values), max(values)
    return Scale(low, high, low > 0 and high > 20 * low)


def strip(scale: Scale | None, row: Mapping[str, Any], seeds: Seeds | None) -> dict[str, Any] | None:
    """Geometry of a strip: `dots` (path of zero-length lines), `interval` (x, width) or None, `median` x or None."""
    if scale is None or seeds is None:
        return None
    values = sorted(value for value in seeds.values if value is not None)
    if len(values) > MOST_DOTS:  # order statistics, first and last among them
        values = [values[round(i * (len(values) - 1) / (MOST_DOTS - 1))] for i in range(MOST_DOTS)]
    low, high, median = (row.get(name) for name in ("ci_low", "ci_high", "median"))
    ends = None
    if low is not None:
        start = scale.x(low)
        ends = start, round((WIDTH if high is None else scale.x(high)) - start, 1)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "dots": "".join(f"M{scale.x(value):g} {HEIGHT / 2:g}h0" for value in values),
        "interval": ends,
        "median": None if median is None else scale.x(median),
    }
