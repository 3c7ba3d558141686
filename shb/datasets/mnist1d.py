"""MNIST-1D, generated: 5,000 noisy one-dimensional digits of 40 points, ten classes, no download.

Templates and recipe: S. Greydanus, "Scaling down deep learning", arXiv 2011.14439,
https://github.com/greydanus/mnist1d, Copyright Sam Greydanus, Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). The templates below are that work's, unchanged; the generator
is rewritten for one private random stream, so that it neither downloads nor touches numpy's global state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shb.datasets.dataset import Dataset, build_dataset, trailing_split

CLASSES = 10
SAMPLES_PER_CLASS = 500
LENGTH = 40  # points of a finished signal
CANVAS = 72  # points while it is being transformed
SEED = 42  # the published set's

TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def load_mnist1d() -> Dataset:
    """MNIST-1D, classification, feature shape (1, 40): 3,200 train, 800 validation, 1,000 test.

    The published 4,000 training samples give the training part and, with their last 800, the validation part.
    """
    x, y = generate_mnist1d()
    return build_dataset(
        "mnist1d",
        "classification",
        x[:, None],
        y,
        trailing_split(3200, 800, 1000),
        outputs=CLASSES,
        source="S. Greydanus, arXiv 2011.14439 (generated, seed 42)",
        licence="Apache-2.0",
    )


def generate_mnist1d() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The published set in its published order: the first 4,000 samples train, the last 1,000 test.

    Returns:
        Signals float64 ``[5000, 40]`` with mean 0 and standard deviation 1 over all entries, rounded to six
        decimals (which removes the last-digit differences between CPUs), and labels int64 ``[5000]``.
    """
    random = np.random.RandomState(SEED)
    templates = np.array(TEMPLATES)
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6
    x = np.stack([_distort(template, random) for template in templates for _ in range(SAMPLES_PER_CLASS)])
    y = np.repeat(np.arange(CLASSES, dtype=np.int64), SAMPLES_PER_CLASS)
    order = random.permutation(len(x))
    x = (x[order] - x.mean()) / x.std()
    return x.round(6), y[order]


def _distort(template: NDArray[np.float64], random: np.random.RandomState) -> NDArray[np.float64]:
    """One sample of a template, ``[12] -> [40]``; the order of the draws is part of the recipe."""
    from scipy.ndimage import gaussian_filter1d  # slow to import, and no other data set needs it

    # + 1e-8: exact zeros are the padding, and only they get correlated noise
    signal = np.append(template + 1e-8, np.zeros(36 + int(random.rand() * 25)))
    signal = _resample(signal, CANVAS) * (1 + 0.4 * (random.rand() - 0.5))
    signal = np.roll(signal, random.choice(48))
    noise = gaussian_filter1d(0.25 * random.randn(CANVAS), sigma=2, mode="reflect", truncate=4)
    # exact zeros, up to the rounding of a fused multiply-add; the smallest other value of the set is 2e-10
    signal = np.where(np.abs(signal) < 1e-12, noise, signal)
    signal = signal + 0.02 * random.randn(CANVAS)
    signal = signal - 0.75 * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, CANVAS)
    return _resample(signal, LENGTH)


def _resample(signal: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Linear interpolation to ``points`` values on an even grid with the same ends."""
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(signal)), signal)
