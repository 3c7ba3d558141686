"""What backpropagation does at kinks: ReLU'(0) rules and equal programs; stationarity; the differential inclusion.

    >>> import numpy as np, torch
    >>> from shb.nonsmooth import goldstein, identity_gadget, relu
    >>> w = torch.zeros(1, requires_grad=True)
    >>> torch.autograd.grad(relu(w, derivative=0.25), w)[0].item()
    0.25

relu(w) - relu(-w) is w, but at 0 backpropagation returns 0 for its derivative: an artificial critical point. The norm
of that gradient says "stationary"; the smallest element of Goldstein's subdifferential does not:

    >>> program = identity_gadget("relu")
    >>> torch.autograd.grad(program(w).sum(), w)[0].item()
    0.0
    >>> def gradient(points):
    ...     points = points.clone().requires_grad_()
    ...     return torch.autograd.grad(program(points).sum(), points)[0]
    >>> goldstein(gradient, torch.zeros(1), radius=1e-3, samples=4, seed=0)
    1.0
"""

from shb.nonsmooth.gadgets import DERIVATIVE_AT_ZERO, SCALAR_RELUS, get_scalar_relu, identity_gadget
from shb.nonsmooth.inclusion import solve_first_order
from shb.nonsmooth.interpolation import clock, interpolate, tracking_error
from shb.nonsmooth.lyapunov import iterate_velocity, lyapunov_first, lyapunov_second
from shb.nonsmooth.max_pool import BetaMaxPool2d, beta_max_pool2d
from shb.nonsmooth.min_norm import MinNorm, min_norm_interval, min_norm_point, min_norm_points
from shb.nonsmooth.piecewise import MaxAffine, Pieces, PiecewiseField
from shb.nonsmooth.relu import RULES, ReLU, relu
from shb.nonsmooth.second_order import solve_second_order
from shb.nonsmooth.stationarity import (
    active_piece_hull,
    goldstein,
    goldstein_batch,
    goldstein_members,
    interval_distance,
)

__all__ = [
    "DERIVATIVE_AT_ZERO",
    "RULES",
    "SCALAR_RELUS",
    "BetaMaxPool2d",
    "MaxAffine",
    "MinNorm",
    "Pieces",
    "PiecewiseField",
    "ReLU",
    "active_piece_hull",
    "beta_max_pool2d",
    "clock",
    "get_scalar_relu",
    "goldstein",
    "goldstein_batch",
    "goldstein_members",
    "identity_gadget",
    "interpolate",
    "interval_distance",
    "iterate_velocity",
    "lyapunov_first",
    "lyapunov_second",
    "min_norm_interval",
    "min_norm_point",
    "min_norm_points",
    "relu",
    "solve_first_order",
    "solve_second_order",
    "tracking_error",
]
