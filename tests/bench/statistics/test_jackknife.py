"""The jackknife: exact for means, the delta method for ratios, coverage of a variance, tails without an end."""

import numpy as np
import pytest

from bench.statistics.estimates import Mean, ratio_of_means
from bench.statistics.inference import Region, p_inside
from bench.statistics.jackknife import Jackknife
from shb.errors import ConfigurationError


def test_of_a_mean_it_is_the_mean():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    one, other = Jackknife(np.mean, rows), Mean(rows.mean(1))
    assert one.value == pytest.approx(other.value) and one.interval(0.999) == pytest.approx(other.interval(0.999))


def test_of_a_ratio_it_is_the_delta_method():
    rows = 5 + np.random.default_rng(1).normal(size=(500, 2))
    one = Jackknife(lambda r: r[:, 0].mean() / r[:, 1].mean(), rows)
    assert one.interval() == pytest.approx(ratio_of_means(rows[:, 0], rows[:, 1]).interval(), rel=1e-3)


def test_it_removes_the_bias_of_a_variance_and_covers_it():
    generator, covered, values = np.random.default_rng(2), 0, []
    for _ in range(1000):
        one = Jackknife(np.var, generator.uniform(size=(20,)))
        low, high = one.interval()
        covered += low <= 1 / 12 <= high
        values.append(one.value)
    assert np.mean(values) == pytest.approx(1 / 12, rel=0.02)  # np.var itself is 5 % too small
    assert 920 < covered < 980


def test_its_p_values_do_not_end_where_those_of_a_bootstrap_do():
    rows = 1 + 0.01 * np.random.default_rng(3).normal(size=(20,))
    assert p_inside(Jackknife(np.mean, rows), Region(0.5, 1.5)) < 1e-12


def test_one_row_is_refused():
    with pytest.raises(ConfigurationError, match="rows"):
        Jackknife(np.mean, np.ones((1, 2)))
