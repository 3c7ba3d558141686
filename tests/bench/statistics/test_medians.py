"""Medians and interquartile means, by hand."""

import math

import numpy as np
import pytest

from bench.statistics.medians import (
    finite_or_none,
    interquartile_mean,
    interquartile_weights,
    median_weights,
)


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([9.0, 1.0, 2.0, 4.0]) == 3.0  # the middle two
    assert interquartile_mean([1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx((0.75 * 2 + 3 + 0.75 * 4) / 2.5)
    assert interquartile_mean(range(10)) == pytest.approx((0.5 * 2 + 3 + 4 + 5 + 6 + 0.5 * 7) / 5)
    assert interquartile_mean([3.0]) == 3.0 and math.isnan(interquartile_mean([]))
    assert interquartile_mean([0.1] * 10) == 0.1  # to the bit


@pytest.mark.parametrize("n", range(1, 30))
def test_weights_sum_to_one_and_are_symmetric(n):
    for weights in (median_weights(n), interquartile_weights(n)):
        assert weights.shape == (n,) and weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all() and np.allclose(weights, weights[::-1])
    values = np.sort(np.random.default_rng(n).normal(size=n))
    assert values @ median_weights(n) == pytest.approx(np.median(values))
    fine = np.repeat(values, 1000)  # the quantile function, cut at the quartiles
    assert interquartile_mean(values) == pytest.approx(np.sort(fine)[250 * n : 750 * n].mean())


def test_what_json_cannot_hold_is_none():
    assert [finite_or_none(value) for value in (1.5, math.inf, -math.inf, math.nan, None, 3)] == [1.5, *[None] * 4, 3]
