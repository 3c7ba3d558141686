"""Simulated data of known truth: distributions with their median and interquartile mean, and boards of optimizers."""

import numpy as np
from scipy import stats
from scipy.integrate import quad

DISTRIBUTIONS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "lognormal": stats.lognorm(1.0),
    "t with 3 degrees of freedom": stats.t(3),
}


def truth(distribution):
    """Median and interquartile mean of a distribution, from its quantile function."""
    return distribution.median(), 2 * quad(distribution.ppf, 0.25, 0.75)[0]


def sample(distribution, generator, *shape):
    """Values of a distribution by inversion, so that one generator serves them all."""
    return distribution.ppf(generator.uniform(size=shape))


def equal_boards(kind, count, generator, optimizers=4, seeds=10):
    """`count` boards [optimizers, seeds] in which the optimizers do not differ; lower is better."""
    shape = (count, optimizers, seeds)
    if kind == "independent":
        return generator.normal(size=shape)
    if kind == "paired":  # most of the spread is that of the seed, shared by all optimizers
        return 3 * generator.normal(size=(count, 1, seeds)) + generator.normal(size=shape)
    if kind == "accuracies":  # shares of 360 test samples near 1: many ties
        return -generator.binomial(360, generator.beta(100, 4, size=shape)) / 360
    if kind == "diverged":  # heavy tails, and every fifth seed of an optimizer is infinite
        values = generator.lognormal(size=shape)
        values[generator.uniform(size=shape) < 0.2] = np.inf
        return values
    raise ValueError(kind)


KINDS = ("independent", "paired", "accuracies", "diverged")
