"""The state of a stack: nested dicts of tensors with a leading member axis, and what is done with their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shb.problems import Params


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of nested dicts or sequences."""
    if isinstance(tree, Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    return [leaf for child in children for leaf in leaves(child)]


def mapped(function: Callable[[Tensor], Tensor], tree: dict) -> dict:
    """`function` of every tensor of nested dicts."""
    return {n: mapped(function, v) if isinstance(v, dict) else function(v) for n, v in tree.items()}


def write(rows: slice, part: dict, whole: dict) -> None:
    """Let `part` be the members `rows` of `whole`, in the memory of `whole`."""
    for name, value in part.items():
        if isinstance(value, dict):
            write(rows, value, whole[name])
        elif value.data_ptr() != whole[name][rows].data_ptr():
            whole[name][rows] = value


def held(state: dict) -> Params:
    """Parameters and buffers of members, by name."""
    return {**state["params"], **state.get("buffers", {})}


def finite(params: Params) -> Tensor:
    """Members all of whose parameters are finite: bool [width]."""
    return torch.stack([as_rows(p).isfinite().all(1) for p in params.values()]).all(0)


def as_rows(tensor: Tensor) -> Tensor:
    """[members, ...] as [members, numbers of a member]; a member may be one number."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)


def freeze(state: dict, newly: Tensor, params: Params, k: int) -> None:
    """Mark the members `newly` [width] as diverged at step k and keep their `params`.

    Their rows go on as non-finite numbers, which no other row sees; `frozen` is what is returned for them, and has
    memory only where a member diverged, or where asking for it would stop a GPU.
    """
    if newly.device.type == "cpu" and not newly.any():
        return
    state["frozen"] = select(newly, params, state.get("frozen", params))
    state["diverged_step"] = torch.where(newly, k, state["diverged_step"])
    state["alive"] = state["alive"] & ~newly


def select(mask: Tensor, chosen: Params, other: Params) -> Params:
    """`chosen` for the members of `mask` [width], `other` for the rest."""
    return {n: torch.where(mask.view(-1, *(1,) * (c.ndim - 1)), c, other[n]) for n, c in chosen.items()}
