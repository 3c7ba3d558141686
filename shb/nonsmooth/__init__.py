"""What backpropagation does at kinks: ReLU'(0) rules (later: stationarity measures, inclusions)."""

from shb.nonsmooth.relu import ReLU, relu

__all__ = ["ReLU", "relu"]
