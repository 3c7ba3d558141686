"""Leaves of what a step carries: a rule gives back those that it was given, each in its dtype and shape.

A step is made once, for the leaves of the first one: a program or a tape would take another leaf for what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shb.errors import ConfigurationError
from shb.optimizers import Hyperparameters, Optimizer, Params, State

_CAST = "cast hyperparameters, which are float64, with expand(lr, w)"
_SPREAD = "spread hyperparameters over a parameter with expand(lr, w)"
_ALL = "update returns every leaf that it was given, and no other"


def initial_state(optimizer: Optimizer, params: Params, numbers: Hyperparameters, **velocity: Params) -> State:
    """What `init` makes for a stack.

    Raises:
        ConfigurationError: it is no dictionary (of dictionaries) of tensors with a leading member axis.
    """
    state = optimizer.init(params, numbers, **velocity)
    if not isinstance(state, dict):
        allowed = "a dictionary of tensors, {} without state"
        raise ConfigurationError(f"optimizer {optimizer.name}: init", type(state).__name__, allowed)
    members = len(next(iter(params.values())))
    for path, leaf in pytree.tree_flatten_with_path(state)[0]:
        field = f"optimizer {optimizer.name}: state {_dotted(path)}"
        if not isinstance(leaf, Tensor):
            allowed = "a tensor: torch.zeros_like(w), or of a hyperparameter"
            raise ConfigurationError(field, type(leaf).__name__, allowed)
        if not all(isinstance(key, pytree.MappingKey) for key in path):
            allowed = "a leaf of dictionaries only, else a stack cannot be resumed"
            raise ConfigurationError(field, "leaf of a list or tuple", allowed)
        if leaf.shape[:1] != (members,):
            allowed = f"a leading member axis, here [{members}, ...]: torch.zeros_like of a parameter or hyperparameter"
            raise ConfigurationError(f"{field}: shape", list(leaf.shape), allowed)
    return state


def updated(
    optimizer: Optimizer, params: Params, grads: Params, state: State, numbers: Hyperparameters, k: Tensor
) -> tuple[Params, State]:
    """What `update` returns; its dictionaries are its own, so that it may write into them.

    Raises:
        ConfigurationError: it is no pair of dictionaries.
    """
    params, grads, state, numbers = pytree.tree_map(lambda leaf: leaf, (params, grads, state, numbers))
    result = optimizer.update(params, grads, state, numbers, k)
    if not isinstance(result, tuple | list) or [isinstance(one, dict) for one in result] != [True, True]:
        allowed = "a pair of dictionaries: (params, state)"
        raise ConfigurationError(f"optimizer {optimizer.name}: what update returns", type(result).__name__, allowed)
    new_params, new_state = result
    return new_params, new_state


def matched(optimizer: Optimizer, problem: str, old: dict[str, Any], new: dict[str, Any]) -> list[Tensor]:
    """The leaves of `new`, in the order of those of `old`.

    Args:
        problem: its name.
        old, new: what a step is given and gives: "params", "optimizer" (its state), and "flags" and "buffers" if any.

    Raises:
        ConfigurationError: a leaf is missing, too many, no tensor, or of another dtype or shape.
    """
    before, after = (dict(pytree.tree_flatten_with_path(tree)[0]) for tree in (old, new))
    for path, leaf in before.items():
        if path not in after:
            raise _wrong(optimizer, problem, path, "", "missing", f"{_text(leaf)} ({_ALL})")
    for path, leaf in after.items():
        if path not in before:
            raise _wrong(optimizer, problem, path, "", _text(leaf), f"none: there was no such leaf ({_ALL})")
        was = before[path]
        if not isinstance(leaf, Tensor):
            raise _wrong(optimizer, problem, path, "", type(leaf).__name__, f"a tensor, as {was.dtype} was given")
        if leaf.dtype != was.dtype:
            allowed = f"{was.dtype}, as it was given ({_CAST})"
            raise _wrong(optimizer, problem, path, "dtype of ", leaf.dtype, allowed)
        if leaf.shape != was.shape:
            allowed = f"{list(was.shape)}, as it was given ({_SPREAD})"
            raise _wrong(optimizer, problem, path, "shape of ", list(leaf.shape), allowed)
    return [after[path] for path in before]


def _wrong(
    optimizer: Optimizer, problem: str, path: Sequence[Any], what: str, value: Any, allowed: str
) -> ConfigurationError:
    source = f"optimizer {optimizer.name}" if path[0].key in ("params", "optimizer") else f"problem {problem}"
    return ConfigurationError(f"{source}: {what}{leaf_name(path)}", value, allowed)


def leaf_name(path: Sequence[Any]) -> str:
    """A leaf of what a step carries, as its author would name it: "params w", "state v.w"."""
    kind = "state" if path[0].key == "optimizer" else path[0].key
    return f"{kind} {_dotted(path[1:])}".strip()


def _text(leaf: object) -> str:
    return f"{leaf.dtype} {list(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def example_numbers(names: Sequence[str], width: int, device: torch.device) -> Hyperparameters:
    """Hyperparameters of a stack of `width` members, for their dtype and shape."""
    return {name: torch.full((width,), 0.5, dtype=torch.float64, device=device) for name in names}
