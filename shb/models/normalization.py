"""Normalisation between a layer and its ReLU: none, of a sample (LayerNorm) or of a mini-batch (BatchNorm).

    y = (x - mean) / sqrt(var + eps) weight + bias

LayerNorm: mean and var (biased) of one sample, over its features (Ba, Kiros and Hinton, arXiv 1607.06450).
BatchNorm: of one feature or channel, over the samples of a mini-batch (shb/models/batch_norm.py).
Both compute in float32 in 16-bit dtypes, and round once: squares of 300 overflow in float16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from shb.errors import ConfigurationError, choose
from shb.models.precision import widened

NORMS = ("none", "layer", "batch")


class LayerNorm(nn.LayerNorm):
    """torch.nn.LayerNorm in operations that a tape knows, and whose bits are a member's own in a stack.

    Weight and bias may be left out, as in torch: `elementwise_affine=False`, `bias=False`.

    Example:
        >>> import torch
        >>> LayerNorm(3)(torch.tensor([[1.0, 2.0, 3.0]])).detach()
        tensor([[-1.2247,  0.0000,  1.2247]])
    """

    def forward(self, input: Tensor) -> Tensor:
        x = widened(input)
        centred = x - self._mean(x)
        y = centred * (1 / (self._mean(centred * centred) + self.eps).sqrt())
        if self.weight is not None:
            y = y * self.weight
        if self.bias is not None:
            y = y + self.bias
        return y if x is input else y.to(input.dtype)

    def _mean(self, x: Tensor) -> Tensor:
        """Of each sample, in the shape of `x` with ones; the layout of images in memory is not changed by it."""
        count = len(self.normalized_shape)
        mean = x.flatten(-count).mean(-1)
        return mean.view(*mean.shape, *(1,) * count)


def normalization(norm: str, shape: Sequence[int]) -> list[nn.Module]:
    """The layers, one or none, that normalise samples of a `shape`, with weight and bias as in torch.

    Args:
        norm: "none"; "layer" over all of a sample; "batch" over the samples of the mini-batch, for each channel.
        shape: [features], [channels, length] or [channels, height, width].

    Raises:
        ConfigurationError: an unknown `norm`, or "layer" over one feature, whose output is the same for all inputs.
    """
    if choose("model.norm", norm, NORMS) == "none":
        return []
    if norm == "layer":
        if math.prod(shape) < 2:
            allowed = "none or batch for a layer of one feature: over one number it is the same for all inputs"
            raise ConfigurationError("model.norm", norm, allowed)
        return [LayerNorm(list(shape))]
    return [nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])]
