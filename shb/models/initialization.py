"""Initial parameters of a model, drawn in float64 from a seed's "init" stream, then cast.

With fan_in and fan_out of a weight (a bias has the fans of its weight):

    torch_default  weight and bias ~ U(-b, b),  b = 1 / sqrt(fan_in)      (torch.nn.Linear, ConvNd)
    torch_zero_bias   weight as torch_default, bias = 0
    kaiming        weight ~ N(0, 2 / fan_in), bias = 0                    (He et al., arXiv 1502.01852)
    xavier         weight ~ U(-b, b),  b = sqrt(6 / (fan_in + fan_out)), bias = 0   (Glorot-Bengio 2010)
    identity       weight 1 on its diagonal and 0 elsewhere (of a convolution at its centre), bias = 0: nothing is drawn
                   (torch.nn.init.eye_, dirac_)
    normal         every entry ~ N(0, std^2)
    truncated_normal  weight ~ N(0, std^2) given |weight| <= 2 std, bias = `value`    (TensorFlow)
    zeros          every entry 0
    point          every entry `value`

Besides, "module" keeps what the module's own constructor draws (shb.models.module), and "auto" is torch_default where
torch's own layers have that rule (Linear, ConvNd), and module for any other.

Only torch_default and normal are absolutely continuous in every coordinate, which the avoidance
result needs (theory.md D4); kaiming, xavier, torch_zero_bias and truncated_normal start the biases at one value, and
identity starts everything at one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from shb.errors import ConfigurationError, choose

INITIALIZATIONS = (
    *("torch_default", "torch_zero_bias", "kaiming", "xavier", "identity"),
    *("normal", "truncated_normal", "zeros", "point"),
)
MODULE = ("auto", "module")  # what draw_parameters does not know
FAN_FREE = ("normal", "zeros", "point", "truncated_normal")  # defined for any vector, without the fans of a layer


def _fans(name: str, shapes: Mapping[str, tuple[int, ...]], init: str) -> tuple[int, int]:
    shape = shapes.get(name.removesuffix("bias") + "weight", ()) if name.endswith("bias") else shapes[name]
    if len(shape) < 2:
        raise _without_fan(init, name, shapes[name])
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def _without_fan(init: str, name: str, shape: tuple[int, ...]) -> ConfigurationError:
    allowed = f"{', '.join(FAN_FREE)} or module: the parameter {name} of shape {list(shape)} has no fan"
    return ConfigurationError("init", init, allowed)


def _identity(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """[out, in, ...]: output i is input i, for as many as there are of both; a kernel is 1 at its centre."""
    if len(shape) < 2:
        raise _without_fan("identity", name, shape)
    drawn = np.zeros(shape)
    centre = tuple(size // 2 for size in shape[2:])
    for i in range(min(shape[:2])):
        drawn[(i, i, *centre)] = 1.0
    return drawn


def check_initialization(init: str, std: float) -> None:
    """Refuse an unknown `init`, or an `std` that it cannot use.

    Args:
        init: one of `INITIALIZATIONS`, "auto" or "module".
        std: looked at for "normal" and "truncated_normal" only.

    Raises:
        ConfigurationError: an unknown rule, or a std that is not in ]0, inf[.
    """
    choose("init", init, (*INITIALIZATIONS, *MODULE))
    if init in ("normal", "truncated_normal") and not 0 < std < math.inf:
        raise ConfigurationError("init.std", std, "a number > 0 (init=zeros for 0)")


def draw_parameters(
    shapes: Mapping[str, tuple[int, ...]],
    init: str,
    generator: np.random.Generator,
    *,
    std: float = 1.0,
    value: float = 0.0,
    dtype: torch.dtype = torch.float32,
    fixed: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """Draw every parameter of `shapes` in order, but those that are `fixed`.

    Args:
        shapes: name -> shape; a bias has the fans of the weight with its name.
        init: one of `INITIALIZATIONS`.
        generator: what it draws from, in float64; a seed's is `shb.streams.stream(seed, "init")`.
        std, value: in units of a parameter, where the rule uses them.
        dtype: of the result.
        fixed: names that are not drawn, of frozen parameters or second ones of tied ones; a bias may still have its
            fans from one.

    Returns:
        Name -> tensor on the CPU.

    Raises:
        ConfigurationError: an unknown rule, a std <= 0, or a rule that needs fans where a parameter has none.

    Example:
        >>> from shb.streams import stream
        >>> shapes = {"0.weight": (3, 4), "0.bias": (3,)}
        >>> drawn = draw_parameters(shapes, "torch_default", stream(0, "init"))
        >>> drawn["0.weight"].shape, bool((drawn["0.weight"].abs() <= 0.5).all())  # 1 / sqrt(fan_in)
        (torch.Size([3, 4]), True)
    """
    check_initialization(init, std)
    parameters = {}
    for name, shape in shapes.items():
        if name in fixed:
            continue
        bias = name.endswith("bias")
        if init in ("zeros", "point"):
            drawn = np.full(shape, value if init == "point" else 0.0)
        elif init == "normal":
            drawn = std * generator.standard_normal(shape)
        elif init == "truncated_normal":
            low, high = ndtr(-2.0), ndtr(2.0)
            drawn = np.full(shape, value) if bias else std * ndtri(generator.uniform(low, high, shape))
        elif init == "identity":
            drawn = np.zeros(shape) if bias else _identity(name, shape)
        else:
            fan_in, fan_out = _fans(name, shapes, init)
            if init == "torch_default" or (init == "torch_zero_bias" and not bias):
                drawn = generator.uniform(-1.0, 1.0, shape) / math.sqrt(fan_in)
            elif bias:
                drawn = np.zeros(shape)
            elif init == "kaiming":
                drawn = generator.standard_normal(shape) * math.sqrt(2.0 / fan_in)
            else:
                drawn = generator.uniform(-1.0, 1.0, shape) * math.sqrt(6.0 / (fan_in + fan_out))
        parameters[name] = torch.from_numpy(np.asarray(drawn)).to(dtype)
    return parameters
