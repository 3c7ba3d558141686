"""The least-squares slope against numpy's polynomial fit, and power laws whose exponent is known."""

import numpy as np
import pytest

from bench.statistics.slope import exponents, slopes


def test_slopes_are_those_of_polyfit_whatever_the_shape():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=7), rng.normal(size=(3, 2, 7))
    expected = np.polyfit(x, y.reshape(6, 7).T, 1)[0]
    assert slopes(y, x).ravel() == pytest.approx(expected, rel=1e-10)
    assert slopes(3 - 2 * x, x) == pytest.approx(-2) and slopes([[1.0, 1.0]], [0, 5]) == pytest.approx([0.0])


def test_the_exponent_of_a_power_law_does_not_depend_on_its_constant():
    k = np.array([4, 16, 64])
    assert exponents(np.array([[1.0], [7.0]]) * k**-0.75, k) == pytest.approx([-0.75, -0.75], abs=1e-12)
