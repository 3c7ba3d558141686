"""A data set as the benchmark uses it: three fixed parts, standardised with the training part only.

For feature (tabular data) or channel (images and signals) j, with mean m_j and population standard
deviation s_j over the training part alone:  x <- (x - m_j) / s_j,  and s_j is replaced by 1 where the
training part is constant. Regression targets are treated in the same way. A set that is read as a publication reads it
may instead divide its inputs by a number (`divisor`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from shb.errors import ConfigurationError, choose

Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set; treat the tensors as read-only, they are shared by all users in the process.

    Attributes:
        x: float32 ``[n, *feature_shape]``, in training standard deviations (divided by a number where a set says so).
        y: int64 ``[n]`` class labels ``0 .. outputs - 1``, or float32 ``[n, outputs]`` targets in
            training standard deviations.
    """

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set with fixed training, validation and test parts.

    Attributes:
        name: key in ``shb.datasets.DATASETS``.
        task: ``classification`` or ``regression``.
        outputs: number of classes, or of regression targets.
        train, validation, test: the parts; disjoint, together the whole set.
        checksum: SHA-256 (hex) of the raw arrays and the split indices, the same on every CPU.
        source: where the data comes from.
        licence: terms under which the data is distributed.
    """

    name: str
    task: Task
    outputs: int
    train: Split
    validation: Split
    test: Split
    checksum: str
    source: str
    licence: str

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one input, e.g. ``(10,)``, ``(1, 40)`` or ``(3, 32, 32)``."""
        return tuple(self.train.x.shape[1:])


@dataclass(frozen=True, eq=False)
class SplitIndices:
    """Rows of the raw arrays in each part, disjoint and together complete.

    Attributes:
        train, validation, test: integers, one vector each.
    """

    train: NDArray[np.integer]
    validation: NDArray[np.integer]
    test: NDArray[np.integer]


def permuted_split(n: int) -> SplitIndices:
    """A fixed random split of ``n`` rows: 20 % test, then 20 % of the rest validation, both rounded up.

    The order is ``RandomState(0).permutation(n)`` (numpy's frozen legacy generator); its first fifth is the
    test part, the next one the validation part.
    """
    order = np.random.RandomState(0).permutation(n)
    test = -(-n // 5)
    validation = -(-(n - test) // 5)
    return SplitIndices(train=order[test + validation :], validation=order[test : test + validation], test=order[:test])


def trailing_split(train_size: int, validation_size: int, test_size: int) -> SplitIndices:
    """The split of data in a published order: ``train_size`` rows, then ``validation_size``, then ``test_size``.

    >>> trailing_split(2, 1, 1)
    SplitIndices(train=array([0, 1]), validation=array([2]), test=array([3]))
    """
    order = np.arange(train_size + validation_size + test_size)
    train, validation, test = np.split(order, [train_size, train_size + validation_size])
    return SplitIndices(train, validation, test)


def build_dataset(
    name: str,
    task: Task,
    x: NDArray,
    y: NDArray,
    indices: SplitIndices,
    *,
    outputs: int,
    source: str,
    licence: str,
    divisor: float | None = None,
) -> Dataset:
    """Standardise raw arrays with their training part and split them.

    Args:
        name: name of the data set.
        task: ``classification`` or ``regression``.
        x: raw inputs ``[n, features]``, ``[n, channels, length]`` or ``[n, channels, height, width]``, any
            real dtype and unit.
        y: raw labels ``[n]`` (integers ``0 .. outputs - 1``) or targets ``[n, outputs]``.
        indices: rows of each part.
        outputs: number of classes, or of regression targets.
        source: where the data comes from.
        licence: terms under which it is distributed.
        divisor: divide the inputs by this number, in float32, instead of standardising them.

    Raises:
        ConfigurationError: unknown task, an empty or overlapping or incomplete split, labels or targets that
            do not fit ``outputs``, or a value that is not finite.

    Example:
        >>> x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
        >>> parts = permuted_split(10)
        >>> data = build_dataset("tiny", "classification", x, y, parts, outputs=2, source="here", licence="MIT")
        >>> len(data.train), len(data.validation), len(data.test), data.feature_shape
        (6, 2, 2, (2,))
        >>> abs(data.train.x.mean(0)).max().item() < 1e-6
        True
    """
    choose("task", task, ("classification", "regression"))
    parts = (indices.train, indices.validation, indices.test)
    if min(map(len, parts)) == 0 or not np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(x))):
        sizes = " + ".join(str(len(part)) for part in parts)
        raise ConfigurationError("indices", sizes, f"three non-empty parts with each of {len(x)} rows once")
    if not np.isfinite(x).all():
        raise ConfigurationError("x", name, "an array without NaN and infinite values")
    if task == "classification":
        if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= outputs:
            found = f"{y.dtype}{list(y.shape)}"
            raise ConfigurationError("y", found, f"integers 0 .. {outputs - 1} of shape [{len(x)}]")
        targets = [y[part].astype(np.int64) for part in parts]
    else:
        if y.shape != (len(x), outputs) or not np.isfinite(y).all():
            found = f"{y.dtype}{list(y.shape)}"
            raise ConfigurationError("y", found, f"finite values of shape [{len(x)}, {outputs}]")
        targets = _standardise(y, parts)
    if divisor is None:
        scaled = _standardise(x, parts)
    else:
        scaled = [x[part].astype(np.float32) / np.float32(divisor) for part in parts]
    train, validation, test = (Split(torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(scaled, targets))
    return Dataset(name, task, outputs, train, validation, test, _checksum(x, y, parts), source, licence)


def _standardise(values: NDArray, parts: tuple[NDArray, ...]) -> list[NDArray[np.float32]]:
    """Each part of ``values`` in training standard deviations, one mean and deviation per entry of axis 1."""
    train = values[parts[0]]
    axes = (0, *range(2, values.ndim))
    mean = train.mean(axes, dtype=np.float64, keepdims=True)
    # in blocks: a float64 copy of a whole image set would be the largest array of a run
    blocks = np.array_split(train, -(-len(train) // 2048))
    squares = sum(np.square(block - mean).sum(axes, keepdims=True) for block in blocks)
    deviation = np.sqrt(squares * (mean.size / train.size))
    # not `deviation == 0`: the mean of a constant such as 0.1 may be off by one rounding
    constant = train.max(axes, keepdims=True) == train.min(axes, keepdims=True)
    deviation = np.where(constant, 1.0, deviation)
    scaled = []
    for part in parts:
        out = np.empty((len(part), *values.shape[1:]), np.float32)
        # computed in float64 and stored as float32 without a float64 copy
        np.subtract(values[part], mean, out=out, dtype=np.float64, casting="same_kind")
        np.divide(out, deviation, out=out, dtype=np.float64, casting="same_kind")
        scaled.append(out)
    return scaled


def _checksum(x: NDArray, y: NDArray, parts: tuple[NDArray, ...]) -> str:
    """SHA-256 over dtype, shape and bytes of each array, little-endian and row-major on every machine."""
    digest = hashlib.sha256()
    # numpy's default integer, which the indices have, is not int64 everywhere
    for array in (x, y, *(part.astype(np.int64) for part in parts)):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
