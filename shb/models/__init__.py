"""Networks as ordinary torch modules, written for one trajectory; a stack vmaps them.

A model is a function `(feature_shape, outputs, **options) -> torch.nn.Module`. Any module works that torch.func.vmap
can take and that has no data-dependent control flow, with buffers, frozen parameters and dropout; build convolutions
from `Conv` and `MaxPool`, which are fast in a stack. To add one: write the function and enter it in `MODELS`
(docs/extend.md).

    >>> import torch
    >>> from shb.models import MODELS
    >>> sorted(MODELS)
    ['adapter', 'cnn', 'lenet', 'mlp', 'transformer', 'vgg']
    >>> network = MODELS["cnn"](feature_shape=(1, 8, 8), outputs=10, channels=[4, 8])
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from shb.models.adapter import adapter
from shb.models.batch_norm import MemberwiseBatchNorm
from shb.models.cnn import cnn
from shb.models.convolution import Conv, MaxPool
from shb.models.initialization import FAN_FREE, INITIALIZATIONS, check_initialization, draw_parameters
from shb.models.lenet import lenet
from shb.models.mlp import mlp
from shb.models.module import built, check_module, evaluating, unknown_to_torch_default
from shb.models.normalization import NORMS, LayerNorm, normalization
from shb.models.transformer import stream_writers, transformer
from shb.models.vgg import vgg

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "lenet": lenet,
    "vgg": vgg,
    "transformer": transformer,
    "adapter": adapter,
}

__all__ = [
    "FAN_FREE",
    "INITIALIZATIONS",
    "MODELS",
    "NORMS",
    "Conv",
    "LayerNorm",
    "MaxPool",
    "MemberwiseBatchNorm",
    "adapter",
    "built",
    "check_initialization",
    "check_module",
    "cnn",
    "draw_parameters",
    "evaluating",
    "lenet",
    "mlp",
    "normalization",
    "stream_writers",
    "transformer",
    "unknown_to_torch_default",
    "vgg",
]
