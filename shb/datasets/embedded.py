"""Small real data sets that scikit-learn ships with: nothing is downloaded.

All three have the fixed split of `shb.datasets.dataset.permuted_split`.
"""

from __future__ import annotations

import numpy as np

from shb.datasets.dataset import Dataset, build_dataset, permuted_split

# scikit-learn is imported inside the functions: it takes longer to import than to read the data


def load_digits() -> Dataset:
    """Handwritten digits, 8 x 8 pixels of 0 to 16; 10 classes; feature shape (1, 8, 8); 1,797 images."""
    from sklearn import datasets

    raw = datasets.load_digits()
    return build_dataset(
        "digits",
        "classification",
        raw.images.astype(np.uint8)[:, None],
        raw.target.astype(np.int64),
        permuted_split(len(raw.target)),
        outputs=10,
        source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test part), UCI, 1998",
        licence="CC BY 4.0",
    )


def load_breast_cancer() -> Dataset:
    """Breast tumours, 30 measurements of cell nuclei; malignant 0 or benign 1; 569 patients."""
    from sklearn import datasets

    raw = datasets.load_breast_cancer()
    return build_dataset(
        "breast_cancer",
        "classification",
        raw.data.astype(np.float64),
        raw.target.astype(np.int64),
        permuted_split(len(raw.target)),
        outputs=2,
        source="W. Wolberg et al., Breast Cancer Wisconsin (Diagnostic), UCI, 1995",
        licence="CC BY 4.0",
    )


def load_diabetes() -> Dataset:
    """Diabetes progression after one year from 10 baseline measurements; regression; 442 patients.

    The measurements are read unscaled, in their own units: scikit-learn's scaled version is standardised
    over all rows, test part included.
    """
    from sklearn import datasets

    raw = datasets.load_diabetes(scaled=False)
    return build_dataset(
        "diabetes",
        "regression",
        raw.data.astype(np.float64),
        raw.target.astype(np.float64)[:, None],
        permuted_split(len(raw.target)),
        outputs=1,
        source="B. Efron et al., Least Angle Regression, Annals of Statistics 32, 2004",
        licence="no terms stated by the authors; distributed with scikit-learn (BSD-3-Clause)",
    )
