import numpy as np
import pytest
import torch

from shb.datasets.dataset import SplitIndices, build_dataset, permuted_split, trailing_split
from shb.errors import ConfigurationError


def build(x, y, indices, task="classification", outputs=2):
    return build_dataset("tiny", task, x, y, indices, outputs=outputs, source="test", licence="none")


@pytest.fixture
def table():
    random = np.random.RandomState(1)
    x = random.randn(50, 3) * [1, 100, 0.01] + [5, -3, 2]
    return x, random.randint(2, size=50), permuted_split(50)


def test_every_feature_is_standardised_with_the_training_rows_alone(table):
    x, y, indices = table
    data = build(x, y, indices)
    train = x[indices.train]
    for part, rows in (("train", indices.train), ("validation", indices.validation), ("test", indices.test)):
        expected = (x[rows] - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(getattr(data, part).x.numpy(), expected, rtol=1e-6, atol=1e-6)
        assert getattr(data, part).y.tolist() == y[rows].tolist()


def test_test_rows_do_not_change_the_training_part(table):
    x, y, indices = table
    changed = x.copy()
    changed[indices.test] += 1000
    assert torch.equal(build(x, y, indices).train.x, build(changed, y, indices).train.x)


def test_images_have_one_mean_and_deviation_per_channel():
    x = np.random.RandomState(2).randint(256, size=(30, 3, 4, 5)).astype(np.uint8)
    x[:, 1] //= 4
    data = build(x, np.arange(30) % 2, permuted_split(30))
    torch.testing.assert_close(data.train.x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert data.train.x.mean(0).abs().max() > 0.1  # not per pixel
    assert data.feature_shape == (3, 4, 5)


def test_more_rows_than_one_block_give_the_same_deviation():
    x = np.random.RandomState(3).randn(5000, 2) * 7
    data = build(x, np.arange(5000) % 2, permuted_split(5000))
    torch.testing.assert_close(data.train.x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_feature_that_is_constant_in_training_is_only_centred(table, constant):
    x, y, indices = table
    x[:, 1] = constant
    x[indices.test[0], 1] = constant + 3
    data = build(x, y, indices)
    torch.testing.assert_close(data.train.x[:, 1], torch.zeros(len(data.train)), atol=1e-6, rtol=0)
    assert data.test.x[0, 1] == pytest.approx(3)


def test_regression_targets_are_standardised_with_the_training_rows(table):
    x, _, indices = table
    y = x[:, :2] * 3 + 1
    data = build(x, y, indices, "regression", 2)
    train = y[indices.train]
    expected = (y[indices.test] - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(data.test.y.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert data.test.y.dtype == torch.float32


def test_checksum_sees_values_labels_types_and_splits_but_not_memory_layout(table):
    x, y, indices = table
    other_x, other_y = x.copy(), y.copy()
    other_x[7, 2] = np.nextafter(other_x[7, 2], 9)
    other_y[3] = 1 - other_y[3]
    swapped = SplitIndices(indices.train[::-1], indices.validation, indices.test)
    checksums = [
        build(*arguments).checksum
        for arguments in (
            (x, y, indices),
            (other_x, y, indices),
            (x, other_y, indices),
            (x, y.astype(np.int32), indices),
            (x, y, swapped),
        )
    ]
    assert len(set(checksums)) == 5
    assert build(np.asfortranarray(x).astype(">f8"), y, indices).checksum == checksums[0]


@pytest.mark.parametrize(("n", "sizes"), [(1797, (1149, 288, 360)), (442, (282, 71, 89)), (5, (3, 1, 1))])
def test_permuted_split_is_disjoint_complete_and_rounds_up(n, sizes):
    parts = permuted_split(n)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == sizes
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(n))


def test_trailing_split_keeps_the_order():
    parts = trailing_split(3, 2, 4)
    assert [part.tolist() for part in (parts.train, parts.validation, parts.test)] == [
        [0, 1, 2],
        [3, 4],
        [5, 6, 7, 8],
    ]


def test_overlapping_incomplete_or_empty_parts_are_refused(table):
    x, y, _ = table
    rows = np.arange(50)
    for parts in (
        (rows[:30], rows[29:40], rows[40:]),
        (rows[:30], rows[30:40], rows[40:49]),
        (rows[:30], rows[30:], rows[:0]),
    ):
        with pytest.raises(ConfigurationError, match="three non-empty parts with each of 50 rows once"):
            build(x, y, SplitIndices(*parts))


def test_wrong_labels_targets_values_and_tasks_are_refused(table):
    x, y, indices = table
    broken = x.copy()
    broken[indices.test[0], 0] = np.nan
    for arguments, message in (
        ((broken, y, indices), "x=tiny: allowed is an array without NaN"),
        ((x, y + 1, indices), r"integers 0 \.\. 1 of shape \[50\]"),
        ((x, y - 1, indices), r"integers 0 \.\. 1 of shape \[50\]"),
        ((x, y * 1.0, indices), r"y=float64\[50\]"),
        ((x, y, indices, "regression", 1), r"finite values of shape \[50, 1\]"),
        ((x, broken[:, :1], indices, "regression", 1), r"finite values of shape \[50, 1\]"),
        ((x, y, indices, "regresion"), "did you mean regression"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            build(*arguments)


def test_a_divisor_replaces_the_standardisation_of_inputs(table):
    x, y, indices = table
    data = build_dataset("tiny", "classification", x, y, indices, outputs=2, source="", licence="", divisor=4)
    for part, rows in (("train", indices.train), ("validation", indices.validation), ("test", indices.test)):
        expected = torch.from_numpy(x[rows].astype(np.float32) / np.float32(4))
        assert torch.equal(getattr(data, part).x, expected)
    assert data.checksum == build(x, y, indices).checksum  # raw arrays and parts are the same
