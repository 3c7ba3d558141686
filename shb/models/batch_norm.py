"""Batch normalisation of one trajectory, whose last bits do not depend on the other members of a stack.

y = (x - mean) / sqrt(var + eps) weight + bias, with mean and var (biased) of each channel over the batch and the
pixels; in evaluation the running ones, which training moves by `momentum` towards mean and the unbiased var (Ioffe and
Szegedy, arXiv 1502.03167). Under vmap, torch's own kernel takes the members for channels, and sums in an order that
depends on how many there are. In 16-bit dtypes all is computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shb.models.precision import HALVES, widened


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch.nn.functional.batch_norm: x [rows, channels, ...], the others [channels]; moves the running ones.

    Raises:
        ValueError: training with one number per channel, which has no variance.
    """
    dtype, x = x.dtype, widened(x)
    per_channel = (-1, *(1,) * (x.ndim - 2))
    if training or running_mean is None or running_var is None:
        count = x.numel() // x.shape[1]
        if count <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        mean = _mean(x)
        centred = x - mean.view(per_channel)
        var = _mean(centred * centred)
        if running_mean is not None and running_var is not None:
            running_mean.copy_((1 - momentum) * widened(running_mean) + momentum * mean.detach())
            unbiased = momentum * (count / (count - 1)) * var.detach()
            running_var.copy_((1 - momentum) * widened(running_var) + unbiased)
    else:
        mean, var = widened(running_mean), widened(running_var)
        centred = x - mean.view(per_channel)
    scale = 1 / (var + eps).sqrt()
    y = centred * (scale if weight is None else scale * weight).view(per_channel)
    y = y if bias is None else y + bias.view(per_channel)
    return y.to(dtype) if dtype in HALVES else y


def _mean(x: Tensor) -> Tensor:
    """Of each channel: over the pixels, then over the rows."""
    return (x.flatten(2).mean(2) if x.ndim > 2 else x).mean(0)


class MemberwiseBatchNorm(TorchFunctionMode):
    """A context within which torch's batch normalisation is the one above; every other function is torch's own.

    `with MemberwiseBatchNorm(): y = module(x)`
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return batch_norm(*args, **kwargs)
        if func is torch.batch_norm:  # another order of arguments, and whether cuDNN may be used
            x, weight, bias, mean, var, training, momentum, eps, _ = args
            return batch_norm(x, mean, var, weight, bias, training, momentum, eps)
        return func(*args, **kwargs)
