"""Quantiles over seeds: those of numpy, NaN left out."""

import numpy as np

from bench.statistics.quantiles import quantile_bands, quantile_rank

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def test_the_rank_is_that_of_numpy_for_every_share():
    for count in (1, 2, 7, 10, 1000):
        for share in np.linspace(0, 1, 101):
            expected = np.quantile(np.arange(count), share, method="inverted_cdf")
            whole = abs(share * count - round(share * count)) < 1e-12  # where numpy rounds as it falls out
            assert quantile_rank(share, count) == (max(round(share * count) - 1, 0) if whole else expected)


def test_quantiles_are_those_of_numpy():
    generator = np.random.default_rng(0)
    for seeds in (1, 2, 5, 10, 11):
        values = generator.standard_normal((seeds, 7))
        lines = quantile_bands(values, SHARES)
        for share, line in zip(SHARES, lines):
            expected = np.median(values, 0) if share == 0.5 else np.quantile(values, share, 0, method="inverted_cdf")
            assert np.allclose(line, expected)


def test_quantiles_leave_out_what_was_not_measured_and_keep_infinity():
    lines = quantile_bands(np.array([[1.0, np.nan, np.inf], [2.0, 5.0, np.inf], [3.0, np.nan, 1.0]]), SHARES)
    assert lines[:, 0].tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert lines[:, 1].tolist() == [5.0] * 7
    assert lines[[0, 3, 6], 2].tolist() == [1.0, np.inf, np.inf]
    assert np.isnan(quantile_bands(np.full((2, 1), np.nan), SHARES)).all()
