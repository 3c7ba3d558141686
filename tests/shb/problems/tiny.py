"""Small random data sets and learning problems, shared by the tests of problems and of training."""

from functools import partial

import numpy as np
import torch

from shb.datasets.dataset import build_dataset, permuted_split
from shb.models import cnn, mlp
from shb.problems import LearningProblem


def tiny_dataset(shape=(5,), task="classification", rows=151, outputs=3):
    """Gaussian inputs [rows, *shape] with random labels or targets; odd part sizes (96, 24, 31)."""
    random = np.random.RandomState(0)
    x = random.randn(rows, *shape)
    y = random.randint(outputs, size=rows) if task == "classification" else random.randn(rows, outputs)
    indices = permuted_split(rows)
    return build_dataset("tiny", task, x, y, indices, outputs=outputs, source="test", licence="none")


def mlp_problem(hidden=(33, 17), shape=(5,), **options):
    task = options.pop("task", "classification")
    return LearningProblem(partial(mlp, hidden=hidden), tiny_dataset(shape, task), **{"batch_size": 7, **options})


def cnn_2d_problem(**options):
    return LearningProblem(partial(cnn, channels=(17, 5)), tiny_dataset((3, 9, 7)), **{"batch_size": 7, **options})


def cnn_1d_problem(**options):
    model = partial(cnn, channels=(17, 5), downsample="stride")
    return LearningProblem(model, tiny_dataset((2, 19)), **{"batch_size": 7, **options})


def same_bits(a, b):
    """True if two trajectories have the same status, metrics and curve, and parameters equal in every bit."""
    return (
        (a.status, a.diverged_step, a.metrics, a.curve) == (b.status, b.diverged_step, b.metrics, b.curve)
        and a.parameters.keys() == b.parameters.keys()
        and all(torch.equal(a.parameters[name], b.parameters[name]) for name in a.parameters)
    )
