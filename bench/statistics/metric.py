"""A metric: what its values mean, which of two is better, and how they are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

_HEADERS = {"train_loss": "training objective", "steps_to_target": "steps to target"}


@dataclass(frozen=True)
class Metric:
    """A column of results (bench.store.schema.METRICS), or the steps to a target.

    Accuracies are shares of samples in [0, 1]: higher is better, and they are shown in percent. Of all others (losses,
    distances, steps) lower is better.
    """

    name: str

    @property
    def higher_is_better(self) -> bool:
        """Whether it is an accuracy."""
        return self.name.endswith("accuracy")

    @property
    def sign(self) -> float:
        """-1 or 1: of two values, the one with the lower sign * value is better."""
        return -1.0 if self.higher_is_better else 1.0

    @property
    def worst(self) -> float:
        """What a diverged seed counts as."""
        return 0.0 if self.higher_is_better else math.inf

    @property
    def relation(self) -> str:
        """How a value must stand to a target that it reaches."""
        return ">=" if self.higher_is_better else "<="

    @property
    def scale(self) -> int:
        """Shown values are so many times as large."""
        return 100 if self.higher_is_better else 1

    @property
    def unit(self) -> str:
        """Behind the name of shown values: " %", or nothing."""
        return " %" if self.higher_is_better else ""

    @property
    def unit_of_differences(self) -> str:
        """Behind shown differences: " points", or nothing."""
        return " points" if self.higher_is_better else ""

    @property
    def header(self) -> str:
        """Name of its column in tables and figures."""
        return _HEADERS.get(self.name, self.name.replace("_", " ")) + self.unit

    def interval_text(self, median: float, low: float, high: float) -> str:
        """Median with the ends of its interval: two digits after the point for accuracies, three digits for others."""
        form = ".2f" if self.higher_is_better else ".3g"
        middle, *ends = (f"{self.scale * x:{form}}" for x in (median, low, high))
        return f"{middle} [{', '.join(ends)}]"
