"""MNIST, Fashion-MNIST and CIFAR-10, from files in the layout of `torchvision.datasets`.

torchvision downloads; reading is done here, from bytes whose MD5 has been checked. (torchvision's own
readers check CIFAR-10 only, and prefer an unchecked `MNIST/processed/*.pt` to the raw files.)
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from shb.datasets.dataset import Dataset, build_dataset, trailing_split
from shb.errors import ConfigurationError
from shb.locks import alone

CLASSES = 10
PATIENCE = 3600  # seconds that a process waits for another one's download
VALIDATION_SIZE = 5000  # the last images of the official training part
# Other readings of the files of a set: name -> set, images of the official training part that validate, divisor of the
# pixels (they are not standardised). "fashion_mnist_deepobs" is Fashion-MNIST as DeepOBS reads it (docs/published.md):
# 60,000 - 96 = 468 mini-batches of 128, an epoch there.
READINGS = {"fashion_mnist_deepobs": ("fashion_mnist", 96, 255)}

# Path below the data root -> MD5. The training files come first, the files of the test part last.
FILES: dict[str, dict[str, str]] = {
    "mnist": {
        "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {  # torchvision.datasets.CIFAR10.train_list and test_list
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    },
}
TORCHVISION_CLASS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
SOURCE = {
    "mnist": "Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998",
    "fashion_mnist": "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv 1708.07747, (c) 2017 Zalando SE",
    "cifar10": "A. Krizhevsky, Learning multiple layers of features from tiny images, 2009",
}
LICENCE = {"mnist": "CC BY-SA 3.0", "fashion_mnist": "MIT", "cifar10": "no terms stated by the author"}


def load_images(name: str, root: Path) -> Dataset:
    """An image set, classification with 10 classes, feature shape (1, 28, 28) or (3, 32, 32).

    The test part is the official one; the last 5,000 images of the official training part validate, or as many as
    `READINGS` says.

    Args:
        name: ``mnist``, ``fashion_mnist``, ``cifar10`` or a name in `READINGS`.
        root: folder that holds ``MNIST/raw``, ``FashionMNIST/raw`` or ``cifar-10-batches-py``.

    Raises:
        ConfigurationError: a file is missing or its MD5 is not the published one.
    """
    of, validation_size, divisor = READINGS.get(name, (name, VALIDATION_SIZE, None))
    files = FILES[of].items()
    if of == "cifar10":
        # safe only because these very bytes have been compared with the published MD5
        batches = [pickle.loads(_verified(root / file, md5), encoding="latin1") for file, md5 in files]
        x = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [np.array(batch["labels"], np.uint8) for batch in batches]
        y, test_size = np.concatenate(labels), len(labels[-1])
    else:
        train_x, train_y, test_x, test_y = (_parse_idx(_verified(root / file, md5)) for file, md5 in files)
        x, y, test_size = (
            np.concatenate([train_x, test_x])[:, None],
            np.concatenate([train_y, test_y]),
            len(test_y),
        )
    return build_dataset(
        name,
        "classification",
        x,
        y,
        trailing_split(len(y) - test_size - validation_size, validation_size, test_size),
        outputs=CLASSES,
        source=SOURCE[of],
        licence=LICENCE[of],
        divisor=divisor,
    )


def set_of(name: str) -> str:
    """The set whose files ``name`` reads."""
    return READINGS[name][0] if name in READINGS else name


def verify_files(name: str, root: Path, *, missing_ok: bool = False) -> None:
    """Compare the files of an image set with their published MD5; reads them once, at most 180 MB.

    Raises:
        ConfigurationError: a file has another MD5, or is missing and ``missing_ok`` is false.
    """
    for file, md5 in FILES[set_of(name)].items():
        if not (missing_ok and not (root / file).exists()):
            _verified(root / file, md5)


def download_missing(name: str, root: Path) -> None:
    """Let torchvision download the files of an image set that are missing; existing files stay as they are.

    A file appears under its name when it is complete. One process downloads, others that start at the same time wait.

    Raises:
        ConfigurationError: the folder cannot be written or the download fails.
    """
    name = set_of(name)
    if not _missing(name, root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone(root / f".download-{name}.lock", PATIENCE) as locked:
            for left in root.glob(f"download-{name}-*") if locked else ():
                shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
            if missing := _missing(name, root):
                with tempfile.TemporaryDirectory(dir=root, prefix=f"download-{name}-") as scratch:
                    for file in _downloaded(name, missing, Path(scratch)):
                        (root / file).parent.mkdir(parents=True, exist_ok=True)
                        os.replace(Path(scratch, file), root / file)
    except (OSError, RuntimeError) as error:
        allowed = f"a writable folder and a working download, or a folder with the files ({error})"
        raise ConfigurationError("data_root", root, allowed) from error


def _missing(name: str, root: Path) -> list[str]:
    return [file for file in FILES[name] if not (root / file).exists()]


def _downloaded(name: str, missing: Sequence[str], scratch: Path) -> Iterator[str]:
    """Download files of a set into `scratch`, each when it is asked for; CIFAR-10 is one archive of all its files."""
    import torchvision  # seconds to import, and needed for nothing else here

    of, fetch = getattr(torchvision.datasets, TORCHVISION_CLASS[name]), torchvision.datasets.utils
    if name == "cifar10":
        fetch.download_and_extract_archive(of.url, str(scratch), filename=of.filename, md5=of.tgz_md5)
    for file in missing:
        if name != "cifar10":
            archive = f"{Path(file).name}.gz"
            _from_a_mirror(fetch, of.mirrors, str((scratch / file).parent), archive, dict(of.resources)[archive])
        yield file


def _from_a_mirror(fetch: ModuleType, mirrors: Sequence[str], folder: str, archive: str, md5: str) -> None:
    """The first that answers with the right file."""
    for place, mirror in enumerate(mirrors, 1):
        try:
            return fetch.download_and_extract_archive(f"{mirror}{archive}", folder, filename=archive, md5=md5)
        except (OSError, RuntimeError):
            if place == len(mirrors):
                raise


def _verified(path: Path, md5: str) -> bytes:
    """The content of a file, after its MD5 has been compared."""
    try:
        content = path.read_bytes()
    except OSError as error:
        allowed = f"a readable file ({error.strerror}); set download=true, or SHB_DATA to the folder that has it"
        raise ConfigurationError("data_root", path, allowed) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        allowed = f"a file with MD5 {md5}, found {found}; delete it and set download=true to get it again"
        raise ConfigurationError("data_root", path, allowed)
    return content


def _parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Array of an IDX file of bytes: two zeros, type, number of axes, big-endian int32 sizes, entries."""
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
