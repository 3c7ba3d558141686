"""Every data set as `load_dataset` returns it; the image sets where their files are at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shb.datasets import DATASETS, check_files, load_dataset
from shb.datasets.embedded import load_breast_cancer, load_diabetes, load_digits
from shb.datasets.mnist1d import load_mnist1d
from shb.errors import ConfigurationError

CHECKSUMS = {
    "digits": "0bf7b32a70a9e95616ff5946c44e56cf1afee1b2314303c98d412c4790168cbf",
    "breast_cancer": "ec788b4faeb4151a33e3fd5cf360c49595625599a18f0d61712aec2bfbb9d190",
    "diabetes": "4549c5db824288af6d51e2cccb80666f49c5831e4d3f86c948e0d05800e3a4f7",
    "mnist1d": "e5b49b8ab6f6dacb9c5f551977912c1d034a112af13dc5818987ca4c484735bc",
    "fashion_mnist": "012ffc5e5645207a4e37c16f636974f45eb1879ccd5d5c20adffdcbc8a2b32f6",
    "fashion_mnist_deepobs": "dbb8e0deff1525805dbdb2e2bc1a03fae3213c791a45df71b06c422289437f0c",
    "mnist": "4ae0ed82dddf3968e8af8f870b8e4ffca9bd6362fc5a255817cfa3d0d9b79083",
}
NO_FILES = ("digits", "breast_cancer", "diabetes", "mnist1d")
DATA = Path(os.environ.get("SHB_DATA") or Path(__file__).parents[4] / "shared" / "data")


def from_files(name, folder):
    missing = not (DATA / folder).is_dir()
    skip = pytest.mark.skipif(missing, reason=f"no {folder} in SHB_DATA or ../shared/data")
    return pytest.param(name, marks=[pytest.mark.data, skip])


STANDARDISED = (*NO_FILES, from_files("fashion_mnist", "FashionMNIST"), from_files("mnist", "MNIST"))
DIVIDED = from_files("fashion_mnist_deepobs", "FashionMNIST")
on_all = pytest.mark.parametrize("name", (*STANDARDISED, DIVIDED))


@on_all
def test_facts_and_checksum_of_the_loaded_set(name):
    data, facts = load_dataset(name, DATA), DATASETS[name]
    assert (data.name, data.task, data.outputs) == (name, facts.task, facts.outputs)
    assert data.feature_shape == facts.feature_shape
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert sizes == [facts.train_size, facts.validation_size, facts.test_size]
    assert facts.needs_files == (name not in NO_FILES)
    assert data.checksum == CHECKSUMS[name]
    assert data.source and data.licence


@on_all
def test_types_labels_and_finite_values(name):
    data = load_dataset(name, DATA)
    for part in (data.train, data.validation, data.test):
        assert part.x.dtype == torch.float32 and part.x.isfinite().all()
        assert len(part.x) == len(part.y)
        if data.task == "classification":
            assert part.y.dtype == torch.int64 and part.y.shape == (len(part),)
            assert part.y.unique().tolist() == list(range(data.outputs))  # every class in every part
        else:
            assert part.y.dtype == torch.float32 and part.y.shape == (len(part), data.outputs)
            assert part.y.isfinite().all()


def moments(x):
    """Float64 mean and population standard deviation per feature or channel."""
    axes = (0, *range(2, x.ndim))
    return x.numpy().mean(axes, dtype=np.float64), x.numpy().std(axes, dtype=np.float64)


@pytest.mark.parametrize("name", STANDARDISED)
def test_training_part_is_standardised_and_test_part_only_nearly(name):
    data = load_dataset(name, DATA)
    arrays = [(data.train.x, data.test.x)]
    arrays += [(data.train.y, data.test.y)] if data.task == "regression" else []
    for train, test in arrays:
        mean, deviation = moments(train)
        np.testing.assert_allclose(mean, 0, atol=1e-5)
        np.testing.assert_allclose(deviation, 1, atol=1e-5)
        test_mean, test_deviation = moments(test)
        assert (np.abs(test_mean) > 1e-5).all() and (np.abs(test_deviation - 1) > 1e-5).all()
        assert (np.abs(test_mean) < 0.5).all() and (np.abs(np.log(test_deviation)) < 0.5).all()


@pytest.mark.parametrize("name", [DIVIDED])
def test_the_reading_of_deepobs_has_the_pixels_of_the_same_images(name):
    """Pixels / 255 and the official order: whole mini-batches of 128 train, the next 96 images validate."""
    data, ours = load_dataset(name, DATA), load_dataset("fashion_mnist", DATA)
    assert len(data.train) == 468 * 128 and len(data.train) + len(data.validation) == 60000
    y = torch.cat([data.train.y, data.validation.y])
    assert torch.equal(y, torch.cat([ours.train.y, ours.validation.y])) and torch.equal(data.test.y, ours.test.y)
    pixels = data.test.x * 255
    assert torch.equal(pixels, pixels.round()) and (data.test.x.min(), data.test.x.max()) == (0, 1)
    slope = data.test.x.std() / ours.test.x.std()  # the other reading is an affine function of this one
    torch.testing.assert_close(data.test.x, slope * (ours.test.x - ours.test.x.min()), atol=1e-5, rtol=0)


@on_all
def test_no_input_is_in_two_parts(name):
    data = load_dataset(name, DATA)
    rows = [{row.tobytes() for row in part.x.numpy()} for part in (data.train, data.validation, data.test)]
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])


@pytest.mark.parametrize("loader", [load_digits, load_breast_cancer, load_diabetes, load_mnist1d])
def test_loading_again_gives_the_same_bits(loader):
    first, second = loader(), loader()
    assert first is not second and first.checksum == second.checksum
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(first, part).x, getattr(second, part).x)
        assert torch.equal(getattr(first, part).y, getattr(second, part).y)


def test_a_set_is_loaded_once_whatever_the_root():
    assert load_dataset("digits") is load_dataset("digits", "elsewhere")


def test_sets_without_files_need_no_folder(tmp_path):
    for name in NO_FILES:
        check_files(name, tmp_path / "absent")


@pytest.mark.parametrize("function", [load_dataset, check_files])
def test_unknown_name_is_refused_with_the_nearest(function):
    with pytest.raises(ConfigurationError, match=r"dataset=fashion-mnist: .*did you mean fashion_mnist\?"):
        function("fashion-mnist")


def test_import_leaves_out_the_slow_packages():
    code = (
        "import sys, shb.datasets; print([m for m in ('torchvision', 'sklearn', 'scipy.ndimage') if m in sys.modules])"
    )
    repository = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert result.stdout.strip() == "[]"
