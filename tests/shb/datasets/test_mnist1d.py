"""The published facts about MNIST-1D; they hold only if every draw of the generator is in its place."""

import numpy as np
import pytest

from shb.datasets import load_dataset
from shb.datasets.mnist1d import generate_mnist1d


@pytest.fixture(scope="module")
def published():
    return generate_mnist1d()


def test_shapes_and_overall_standardisation(published):
    x, y = published
    assert x.shape == (5000, 40) and x.dtype == np.float64
    assert y.shape == (5000,) and y.dtype == np.int64
    assert abs(x.mean()) < 1e-6 and abs(x.std() - 1) < 1e-6


def test_first_twenty_training_labels(published):
    assert published[1][:20].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1, 6, 9, 4, 3, 4, 5, 1, 9, 0, 3]


def test_training_counts_per_class(published):
    counts = np.bincount(published[1][:4000]).tolist()
    assert counts == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]
    assert np.bincount(published[1]).tolist() == [500] * 10


def test_published_values_at_both_ends(published):
    x, _ = published
    assert x[0, :4].tolist() == [-0.332006, -0.471910, -0.778697, -1.009741]
    assert x[-1, -3:].tolist() == [0.659876, 0.877734, 1.193152]


def test_generation_neither_reads_nor_changes_the_global_random_state(published):
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    x, _ = generate_mnist1d()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert np.array_equal(x, published[0])


def test_values_have_six_decimals(published):
    x, _ = published
    assert np.array_equal(x, x.round(6))


def test_validation_is_the_end_of_the_published_training_part(published):
    x, y = published
    data = load_dataset("mnist1d")
    assert data.train.y.tolist() == y[:3200].tolist()
    assert data.validation.y.tolist() == y[3200:4000].tolist()
    assert data.test.y.tolist() == y[4000:].tolist()
    expected = (x[4000:] - x[:3200].mean()) / x[:3200].std()
    np.testing.assert_allclose(data.test.x[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)
