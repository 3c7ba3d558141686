"""Estimates over seeds with intervals at any confidence: proportions, means and rates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betainccinv, betaincinv, gammainccinv, gammaincinv, ndtri, stdtrit

from shb.errors import ConfigurationError

CONFIDENCE = (
    0.95  # of an interval, if nothing else is asked; the error rate of tests is bench.statistics.inference.ALPHA
)


class Estimate(ABC):
    """A number measured on `n` independent units (seeds), with two-sided intervals that are nested in confidence.

    `smallest_alpha` is the smallest 1 - confidence at which the interval still means something.
    """

    if TYPE_CHECKING:  # attributes of some, properties of others

        @property
        def value(self) -> float: ...

        @property
        def n(self) -> int: ...

    smallest_alpha: float = 1e-15

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two-sided interval (low, high), in the unit of the value; `confidence` in (0, 1)."""
        if not 0 < confidence < 1:
            raise ConfigurationError("confidence", confidence, "a number in (0, 1)")
        return self.ends(1 - confidence)

    @abstractmethod
    def ends(self, alpha: float) -> tuple[float, float]:
        """Interval at confidence 1 - `alpha`, `alpha` in [`smallest_alpha`, 1]."""

    def test_ends(self, alpha: float) -> tuple[float, float]:
        """The interval that is inverted into p-values: `ends`, unless a form with exact tails exists."""
        return self.ends(alpha)


@dataclass(frozen=True)
class Proportion(Estimate):
    """Share of `hits` among `n` runs: Clopper-Pearson for 0/n and n/n, Wilson otherwise (theory.md 5.0).

    p-values always invert Clopper-Pearson. In the far tails that Holm asks for, Wilson is liberal for few hits: with an
    expectation of 0.1 hits it rejects at 95 % whenever one hit is seen, which happens in 9.5 % of samples.
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not is_count(self.n) or self.n < 1:
            raise ConfigurationError("n", self.n, "a whole number >= 1")
        if not is_count(self.hits) or self.hits > self.n:
            raise ConfigurationError("hits", self.hits, f"a whole number from 0 to n={self.n}")

    @property
    def value(self) -> float:
        return self.hits / self.n

    def ends(self, alpha: float) -> tuple[float, float]:
        if self.hits in (0, self.n):
            return self.test_ends(alpha)
        z2 = float(ndtri(alpha / 2)) ** 2
        centre, spread = self.value + z2 / (2 * self.n), self.value * (1 - self.value) / self.n
        half = math.sqrt(z2 * (spread + z2 / (4 * self.n**2)))
        return (centre - half) / (1 + z2 / self.n), (centre + half) / (1 + z2 / self.n)

    def test_ends(self, alpha: float) -> tuple[float, float]:
        misses = self.n - self.hits
        low = float(betaincinv(self.hits, misses + 1, alpha / 2)) if self.hits else 0.0
        high = float(betainccinv(self.hits + 1, misses, alpha / 2)) if misses else 1.0
        return low, high


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


@dataclass(frozen=True)
class Poisson(Estimate):
    """Rate of `count` independent events per unit of `exposure`, exact interval of Garwood (1936).

    `n` is the exposure, rounded down. Events that cluster within seeds need a bootstrap over seeds instead.
    """

    count: int
    exposure: float

    def __post_init__(self) -> None:
        if not is_count(self.count):
            raise ConfigurationError("count", self.count, "a whole number >= 0")
        if not 0 < self.exposure < math.inf:
            raise ConfigurationError("exposure", self.exposure, "a finite number > 0")

    @property
    def value(self) -> float:
        return self.count / self.exposure

    @property
    def n(self) -> int:
        return math.floor(self.exposure)

    def ends(self, alpha: float) -> tuple[float, float]:
        low = float(gammaincinv(self.count, alpha / 2)) if self.count else 0.0
        return low / self.exposure, float(gammainccinv(self.count + 1, alpha / 2)) / self.exposure


@dataclass(frozen=True)
class Exact(Estimate):
    """A deterministic number, found by `n` evaluations: the interval is the point."""

    value: float
    n: int = 1
    smallest_alpha = 0.0

    def __post_init__(self) -> None:
        finite("value", self.value)

    def ends(self, alpha: float) -> tuple[float, float]:
        return self.value, self.value


class Mean(Estimate):
    """Mean of seed-level `values` [n >= 2] with Student's t interval. Equal values give a point: count hits instead."""

    value: float
    n: int

    def __init__(self, values: Any) -> None:
        values = sample("values", values)
        self.n, self.value = len(values), float(values.mean())
        self.standard_error = float(values.std(ddof=1)) / math.sqrt(self.n)
        self.degrees_of_freedom = float(self.n - 1)

    def ends(self, alpha: float) -> tuple[float, float]:
        half = -float(stdtrit(self.degrees_of_freedom, alpha / 2)) * self.standard_error
        return self.value - half, self.value + half


class PairedMean(Mean):
    """Mean of `first` - `second` [n >= 2] over the same seeds, with Student's t interval of the differences."""

    def __init__(self, first: Any, second: Any) -> None:
        first, second = sample("first", first), sample("second", second)
        if len(first) != len(second):
            raise ConfigurationError("second", f"{len(second)} values", f"{len(first)} values, one for each of first")
        super().__init__(first - second)


class PairedRatio(Estimate):
    """Geometric mean of `first` / `second` [n >= 2], both > 0, over the same seeds.

    Its interval is Student's t of the mean logarithm, exponentiated.
    """

    def __init__(self, first: Any, second: Any) -> None:
        for name, values in (("first", first), ("second", second)):
            if not (finite(name, values) > 0).all():
                raise ConfigurationError(name, "values <= 0", "positive numbers, whose ratio has a logarithm")
        self.logarithm = PairedMean(np.log(first), np.log(second))

    @property
    def value(self) -> float:
        return math.exp(self.logarithm.value)

    @property
    def n(self) -> int:
        return self.logarithm.n

    def ends(self, alpha: float) -> tuple[float, float]:
        low, high = self.logarithm.ends(alpha)
        return math.exp(low), math.exp(high)


class MeanDifference(Mean):
    """Mean of `first` minus mean of `second`, independent samples, with Welch's t interval; `n` counts both."""

    def __init__(self, first: Any, second: Any) -> None:
        first, second = Mean(first), Mean(second)
        self.n, self.value = first.n + second.n, first.value - second.value
        self.standard_error = math.hypot(first.standard_error, second.standard_error)
        # Welch-Satterthwaite in shares of the variance: squares of tiny errors would underflow
        shares = [(one.standard_error / (self.standard_error or 1.0)) ** 2 for one in (first, second)]
        spread = sum(share**2 / one.degrees_of_freedom for share, one in zip(shares, (first, second)))
        self.degrees_of_freedom = 1 / spread if spread else float(self.n - 2)


def ratio_of_means(first: np.ndarray, second: np.ndarray) -> Mean:
    """mean(first) / mean(second), paired rows [n], second of one sign; interval by the delta method.

    With R the ratio, R + (first_i - R second_i) / mean(second) has mean R and, to leading order, the variance of R.
    """
    ratio = first.mean() / second.mean()
    return Mean(ratio + (first - ratio * second) / second.mean())


def ratio_of_ratios(first: np.ndarray, second: np.ndarray, third: np.ndarray, fourth: np.ndarray) -> Mean:
    """(mean(first) / mean(second)) / (mean(third) / mean(fourth)), paired rows [n], each of one sign, by the delta
    method as in `ratio_of_means`; the means of all but the first must not be 0.
    """
    over, under = first.mean() / second.mean(), third.mean() / fourth.mean()
    one = (first - over * second) / second.mean() / under
    other = (third - under * fourth) / fourth.mean() * over / under**2
    return Mean(over / under + one - other)


class KolmogorovDistance(Estimate):
    """Largest difference between the distribution function of i.i.d. `values` [n] and `cdf` (the KS statistic).

    The interval D +- sqrt(log(2 / alpha) / (2 n)) of the distance of the true law from `cdf` is that of
    Dvoretzky-Kiefer-Wolfowitz with the constant of Massart (1990): valid for every n. A small distance can so be
    supported, which the non-significance of a KS test cannot.
    """

    value: float
    n: int

    def __init__(self, values: Any, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
        values = np.sort(sample("values", values))
        self.n = len(values)
        expected, ranks = cdf(values), np.arange(self.n + 1) / self.n
        self.value = float(max((ranks[1:] - expected).max(), (expected - ranks[:-1]).max()))

    def ends(self, alpha: float) -> tuple[float, float]:
        half = math.sqrt(math.log(2 / alpha) / (2 * self.n))
        return max(0.0, self.value - half), min(1.0, self.value + half)


def upper_bound(n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound 1 - (1 - confidence)^(1/n) of a share of which `n` runs showed 0 hits (theory.md 5.0)."""
    if not is_count(n) or n < 1 or not 0 < confidence < 1:
        raise ConfigurationError("n, confidence", (n, confidence), "a whole number >= 1 and a number in (0, 1)")
    return -math.expm1(math.log1p(-confidence) / n)


def sample(field: str, values: Any, *, any_shape: bool = False) -> np.ndarray:
    """`values` as finite float64 [n] (`any_shape`: [n, ...]), n >= 2, or a ConfigurationError that names `field`."""
    values = finite(field, values) + 0.0  # no negative zeros: rows that compare equal are equal
    if values.ndim < 1 or (values.ndim > 1 and not any_shape) or len(values) < 2:
        shape = "[n, ...]" if any_shape else "[n]"
        raise ConfigurationError(field, f"shape {values.shape}", f"{shape} with n >= 2 seeds")
    return values


def finite(field: str, values: Any) -> np.ndarray:
    """`values` as float64, or a ConfigurationError that says how many are not finite."""
    values = np.asarray(values, dtype=np.float64)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise ConfigurationError(field, f"{bad} of {values.size} not finite", "finite numbers; judge such runs apart")
    return values


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number >= 0."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)
