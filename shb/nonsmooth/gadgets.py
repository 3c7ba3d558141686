"""Programs that all compute max(x, 0), elementwise, and backpropagate differently at 0.

| name                | program                          | derivative at 0        |
|---------------------|----------------------------------|------------------------|
| relu                | relu(x), t and rule as parameters| t (torch: 0)           |
| clamp               | clamp(x, min=0)                  | 0 (torch < 2.14: 1)    |
| abs                 | (x + abs(x)) / 2                 | 1/2                    |
| maximum             | maximum(x, 0)                    | 1/2                    |
| max_pool_zero_first | max-pooling of [0, x]            | 0                      |
| max_pool_zero_last  | max-pooling of [x, 0]            | 1                      |
| amax                | amax of [0, x]                   | 1/2                    |
| relu6               | min(max(x, 0), 6)                | 0                      |
| relu_2              | relu(-x) + x                     | 1                      |
| relu_3              | (relu(x) + relu_2(x)) / 2        | 1/2                    |
| sort                | last of stably sorted [0, x]     | 1                      |
| median              | median of (0, x, inf)            | 1                      |

All are selections of the Clarke subdifferential [0, 1] of the scalar ReLU, hence of a conservative gradient
(theory.md section 3; relu_2 and relu_3 are from Bolte-Pauwels, NeurIPS 2020). They serve as w in

    I_op(w) = op(w) - op(-w) = w,    backpropagated derivative 2 op'(0) at 0   (identity gadget)

which is right at 0 only for op'(0) = 1/2, and makes 0 an artificial critical point only for op'(0) = 0.

Limits: relu6 is max(x, 0) for x <= 6 only; abs and relu_3 overflow beyond half the largest finite number. Which of
two equal numbers `median` selects is not documented by torch and was checked on the CPU only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from shb.errors import ConfigurationError, choose
from shb.nonsmooth.relu import check_derivative, check_rule, relu


def _pair(x: Tensor, zero_first: bool) -> Tensor:
    """[..., 2] of 0 and x, or of x and 0."""
    zero = torch.zeros_like(x)
    return torch.stack([zero, x] if zero_first else [x, zero], dim=-1)


def _max_pool(x: Tensor, zero_first: bool) -> Tensor:
    return F.max_pool1d(_pair(x, zero_first).reshape(x.numel(), 1, 2), 2).reshape(x.shape)


def _relu_2(x: Tensor) -> Tensor:
    return torch.relu(-x) + x


def _median(x: Tensor) -> Tensor:
    infinity = torch.full_like(x, math.inf).unsqueeze(-1)
    return torch.cat([_pair(x, zero_first=True), infinity], dim=-1).median(dim=-1).values


SCALAR_RELUS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "clamp": lambda x: torch.clamp(x, min=0),
    "abs": lambda x: (x + torch.abs(x)) / 2,
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max_pool_zero_first": functools.partial(_max_pool, zero_first=True),
    "max_pool_zero_last": functools.partial(_max_pool, zero_first=False),
    "amax": lambda x: torch.amax(_pair(x, zero_first=True), dim=-1),
    "relu6": F.relu6,
    "relu_2": _relu_2,
    "relu_3": lambda x: (torch.relu(x) + _relu_2(x)) / 2,
    "sort": lambda x: torch.sort(_pair(x, zero_first=True), dim=-1, stable=True).values[..., -1],
    "median": _median,
}

# What torch backpropagates at 0; the tests measure it. torch 2.14 changed clamp with a number as bound from
# "1 at the bound" to the element of least norm (pytorch pull request 191142, issue 195931).
DERIVATIVE_AT_ZERO: Mapping[str, float] = {
    "relu": 0.0,
    "clamp": 0.0 if torch.__version__ >= "2.14" else 1.0,  # a TorchVersion: compared number by number
    "abs": 0.5,
    "maximum": 0.5,
    "max_pool_zero_first": 0.0,
    "max_pool_zero_last": 1.0,
    "amax": 0.5,
    "relu6": 0.0,
    "relu_2": 1.0,
    "relu_3": 0.5,
    "sort": 1.0,
    "median": 1.0,
}


def get_scalar_relu(
    name: str, derivative: float = 0.0, rule: str = "chain", *, field: str = "problem.form"
) -> Callable[[Tensor], Tensor]:
    """The program `name` of `SCALAR_RELUS`: tensor of any shape -> tensor of the same shape.

    Args:
        derivative, rule: as in `shb.nonsmooth.relu`. Only the program relu has them; the derivative at 0 of the others
            is in `DERIVATIVE_AT_ZERO`.
        field: what the configuration calls `name`, for the lines of errors.

    Raises:
        ConfigurationError: an unknown name, a derivative outside [0, 1], an unknown rule, and anything but the defaults
            with another program than relu.
    """
    choose(field, name, SCALAR_RELUS)
    check_derivative(derivative)
    check_rule(rule)
    if name == "relu":
        return functools.partial(relu, derivative=derivative, rule=rule)
    if derivative != 0.0:
        raise ConfigurationError("relu_derivative", derivative, f"0 with {field}={name}, which has its own")
    if rule != "chain":
        raise ConfigurationError("relu_rule", rule, f"chain with {field}={name}")
    return SCALAR_RELUS[name]


def identity_gadget(
    name: str, derivative: float = 0.0, rule: str = "chain", *, field: str = "problem.form"
) -> Callable[[Tensor], Tensor]:
    """I_op(w) = op(w) - op(-w) = w of the program `name`: tensor of any shape -> tensor of the same shape.

    Its backpropagated derivative at 0 is 2 op'(0) under the chain rule and 0 under the injected rule, for any t:
    the two injected t arrive with opposite signs.

    Args:
        derivative, rule, field: as in `get_scalar_relu`.

    Raises:
        ConfigurationError: as `get_scalar_relu`.
    """
    op = get_scalar_relu(name, derivative, rule, field=field)
    return lambda w: op(w) - op(-w)
