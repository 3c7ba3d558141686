"""Dropout of a stack: the draws of a traced program as functions of a key that every member has for every step.

torch's generator would draw one mask for a whole stack, so that a member's would depend on its neighbours. Here entry
i of all masks of a step is kept where SplitMix64, started at the member's key, has its i-th word below the probability
(Steele, Lea and Flood, OOPSLA 2014). Integers are exact, so neither stack, engine nor device changes a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx

from shb.errors import ConfigurationError

_aten = torch.ops.aten
_KEPT = {_aten.bernoulli.p, _aten.bernoulli_.float}


def _signed(word: int) -> int:
    """The bits of a word as int64."""
    return word - (1 << 64) if word >> 63 else word


_STEP, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits of an unsigned word."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def kept(key: Tensor, shape: torch.Size, probability: float, first: int = 0) -> Tensor:
    """Independent booleans, True with `probability`: entry i of a member is a function of (key, first + i).

    Args:
        key: int64 [members, 1].
        shape: of the result, [members, ...].
    """
    row = torch.arange(first + 1, first + 1 + shape[1:].numel(), device=key.device).view(1, *shape[1:])
    z = key.view(-1, *(1,) * (len(shape) - 1)) + row * _STEP
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return _shifted(z ^ _shifted(z, 31), 11) < int(probability * 2**53)


class _Drawn(fx.Interpreter):
    """Runs a program with the draws of `key` in place of torch's."""

    def __init__(self, module: fx.GraphModule, key: Tensor) -> None:
        super().__init__(module)
        self.key, self.used = key, 0

    def _draw(self, like: Tensor, probability: float) -> Tensor:
        mask = kept(self.key, like.shape, probability, self.used)
        self.used += like[0].numel()
        return mask

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if target in _KEPT:
            like, probability = args[:2] if len(args) > 1 else (args[0], kwargs.get("p", 0.5))
            mask = self._draw(like, probability).to(like.dtype)
            return like.copy_(mask) if target is _aten.bernoulli_.float else mask
        if target is _aten.native_dropout.default and args[2] is not False:
            mask = self._draw(args[0], 1 - args[1])
            return args[0] * mask * (0.0 if args[1] == 1 else 1 / (1 - args[1])), mask
        if isinstance(target, OpOverload) and _draws(target, args, kwargs):
            raise ConfigurationError("model", str(target), "dropout as the only random operation of a forward pass")
        return super().call_function(target, args, kwargs)


def _draws(target: OpOverload, args: tuple, kwargs: dict) -> bool:
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    for place, argument in enumerate(target._schema.arguments):
        if argument.name == "dropout_p":
            given = args[place] if place < len(args) else kwargs.get("dropout_p", argument.default_value)
            return given != 0
    return True


def drawn(function: Callable[..., Sequence[Tensor]], *examples: Tensor) -> Callable[..., Sequence[Tensor]]:
    """`function` with the key, its last argument [members, 1], in place of torch's generator.

    Raises:
        ConfigurationError: of a draw that is no dropout.
    """
    module = make_fx(function)(*examples)
    return lambda *tensors: _Drawn(module, tensors[-1]).run(*tensors)
