"""A share of which the data decide only part: some runs neither arrived nor stopped making progress."""

from __future__ import annotations

from dataclasses import dataclass

from bench.statistics.estimates import Estimate, Proportion
from shb.errors import ConfigurationError


@dataclass(frozen=True)
class PartlyIdentified(Estimate):
    """Share of runs that will arrive, of n: `arrived` have, `stalled` will not, the rest may (Manski 1990).

    The share lies between arrived/n and 1 - stalled/n whatever the undecided do; the interval reaches from the lower
    Clopper-Pearson end of the one to the upper end of the other. It does not shrink to a point with n: too short runs
    stay undecided however many there are. `value` is the middle of the two shares.
    """

    arrived: int
    stalled: int
    n: int

    def __post_init__(self) -> None:
        if self.arrived + self.stalled > self.n:
            raise ConfigurationError("stalled", self.stalled, f"at most n - arrived = {self.n - self.arrived}")

    @property
    def value(self) -> float:
        return (self.arrived + self.n - self.stalled) / (2 * self.n)

    def ends(self, alpha: float) -> tuple[float, float]:
        low, _ = Proportion(self.arrived, self.n).test_ends(alpha)
        _, high = Proportion(self.n - self.stalled, self.n).test_ends(alpha)
        return low, high
