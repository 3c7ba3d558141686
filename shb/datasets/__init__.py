"""Data sets with fixed splits and checksums, by name.

>>> from shb.datasets import load_dataset
>>> digits = load_dataset("digits")
>>> digits.feature_shape, digits.outputs, len(digits.train)
((1, 8, 8), 10, 1149)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shb.datasets import embedded, images, mnist1d
from shb.datasets.dataset import Dataset, Split, Task
from shb.errors import ConfigurationError, choose

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetFacts",
    "Split",
    "check_files",
    "load_dataset",
    "loaded_anew",
    "register_dataset",
]


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is loaded.

    Attributes:
        task: ``classification`` or ``regression``.
        feature_shape: shape of one input.
        outputs: number of classes, or of regression targets.
        train_size, validation_size, test_size: rows of each part.
        needs_files: whether files from a data root are read (the other sets come with the packages).
    """

    task: Task
    feature_shape: tuple[int, ...]
    outputs: int
    train_size: int
    validation_size: int
    test_size: int
    needs_files: bool = False


DATASETS: dict[str, DatasetFacts] = {
    "digits": DatasetFacts("classification", (1, 8, 8), 10, 1149, 288, 360),
    "breast_cancer": DatasetFacts("classification", (30,), 2, 364, 91, 114),
    "diabetes": DatasetFacts("regression", (10,), 1, 282, 71, 89),
    "mnist1d": DatasetFacts("classification", (1, 40), 10, 3200, 800, 1000),
    "mnist": DatasetFacts("classification", (1, 28, 28), 10, 55000, 5000, 10000, needs_files=True),
    "fashion_mnist": DatasetFacts("classification", (1, 28, 28), 10, 55000, 5000, 10000, needs_files=True),
    "fashion_mnist_deepobs": DatasetFacts("classification", (1, 28, 28), 10, 59904, 96, 10000, needs_files=True),
    "cifar10": DatasetFacts("classification", (3, 32, 32), 10, 45000, 5000, 10000, needs_files=True),
}

_LOADERS = {
    "digits": embedded.load_digits,
    "breast_cancer": embedded.load_breast_cancer,
    "diabetes": embedded.load_diabetes,
    "mnist1d": mnist1d.load_mnist1d,
}


def load_dataset(name: str, data_root: str | Path | None = None, download: bool = False) -> Dataset:
    """The data set ``name``; loaded once per process and data root, and shared from then on.

    Args:
        name: key of `DATASETS`.
        data_root: folder of the image files in torchvision's layout; if not given the environment variable
            ``SHB_DATA``, or else the folder ``data``. Not used by sets that need no files.
        download: let torchvision download files that are missing from the data root.

    Raises:
        ConfigurationError: unknown name; a file that is missing, is not the published one or cannot be
            downloaded.
    """
    choose("dataset", name, DATASETS)
    if not DATASETS[name].needs_files:
        return _load(name, None)
    root = _resolve(data_root)
    if download:
        images.download_missing(name, root)
    return _load(name, root)


def register_dataset(dataset: Dataset) -> None:
    """Let `load_dataset` and `DATASETS` know a data set of somebody else, under its name.

    Raises:
        ConfigurationError: the name is taken.
    """
    if dataset.name in DATASETS:
        raise ConfigurationError("dataset", dataset.name, f"a name other than {', '.join(sorted(DATASETS))}")
    train, validation, test = map(len, (dataset.train, dataset.validation, dataset.test))
    DATASETS[dataset.name] = DatasetFacts(dataset.task, dataset.feature_shape, dataset.outputs, train, validation, test)
    _LOADERS[dataset.name] = lambda: dataset


def loaded_anew(name: str) -> Dataset:
    """A data set that needs no files, made a second time: to see whether it is the same again.

    Args:
        name: key of `DATASETS`, of a set that needs no files.
    """
    return _load.__wrapped__(name, None)


def check_files(name: str, data_root: str | Path | None = None, download: bool = False) -> None:
    """Verify presence and MD5 of the files of ``name`` in seconds, to find a bad file before any compute.

    Nothing is downloaded or unpickled.

    Args:
        name, data_root: as in `load_dataset`.
        download: a missing file is no error, since `load_dataset` will download it.

    Raises:
        ConfigurationError: unknown name; a file that is not the published one or, without ``download``, is missing.
    """
    choose("dataset", name, DATASETS)
    if DATASETS[name].needs_files:
        images.verify_files(name, _resolve(data_root), missing_ok=download)


def _resolve(data_root: str | Path | None) -> Path:
    return Path(data_root or os.environ.get("SHB_DATA") or "data").expanduser().resolve()


@cache
def _load(name: str, root: Path | None) -> Dataset:
    return _LOADERS[name]() if root is None else images.load_images(name, root)
