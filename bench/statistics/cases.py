"""Several cases of one prediction, which holds only if it holds in every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bench.statistics.estimates import Estimate
from bench.statistics.inference import Region, p_inside, p_outside
from shb.errors import ConfigurationError


class Cases:
    """Estimates by name, judged together: no case is selected before it is tested.

    "Every case lies inside" is supported at a level as soon as the least favourable case is (intersection-union test;
    Berger 1982). "Some case lies outside" is supported at alpha if one is at alpha / m, m the number of cases
    (Bonferroni). Both keep their rates whatever the dependence of the cases.

    Raises:
        ConfigurationError: there is no case.
    """

    def __init__(self, estimates: Mapping[str, Estimate]) -> None:
        if not estimates:
            raise ConfigurationError("cases", "{}", "at least one case")
        self.estimates = dict(estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def map(self, function: Callable[[Estimate], Estimate]) -> Cases:
        """The same cases, each estimate replaced."""
        return Cases({name: function(one) for name, one in self.estimates.items()})

    def p_inside(self, region: Region, *, one_sided: bool = False) -> float:
        """p-value of "every case lies inside `region`"."""
        return max(p_inside(one, region, one_sided=one_sided) for one in self.estimates.values())

    def p_outside(self, region: Region) -> float:
        """p-value of "at least one case lies outside `region`"."""
        return min(1.0, len(self) * min(p_outside(one, region) for one in self.estimates.values()))

    def least_favourable(self, region: Region) -> str:
        """Name of the case that lies least surely inside `region`; at equal p-values, the one that reaches farthest."""

        def doubt(name: str) -> tuple[float, float]:
            low, high = self.estimates[name].interval()
            return p_inside(self.estimates[name], region), max(region.low - low, high - region.high)

        return max(self.estimates, key=doubt)
