"""Checkpoint of a running stack: tensors in one safetensors file, written under a temporary name and renamed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_SEPARATOR = "/"


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}{_SEPARATOR}")
        else:
            flat[prefix + name] = value.contiguous()
    return flat


def _unflatten(flat: dict) -> dict:
    tree: dict = {}
    for path, value in flat.items():
        *parents, name = path.split(_SEPARATOR)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


class Checkpoint:
    """The checkpoint file of one stack.

    Args:
        path: the file; its folder is made when needed.
        identity: text that names the stack's members, their order and everything that determines their bits;
            a file with another identity, or a torn one, is ignored.
        interval: least number of seconds between two writes.
        device: where `load` puts the tensors.

    Attributes:
        resumed_at: step k of the state that `load` returned, 0 if there was none.
    """

    def __init__(self, path: Path, identity: str, interval: float = 60.0, device: str = "cpu") -> None:
        self.path, self.identity, self.interval, self.device = path, identity, interval, device
        self.resumed_at = 0
        self._written = time.monotonic()

    def load(self) -> dict | None:
        """The saved state, or None if there is none for this identity."""
        try:
            with safe_open(self.path, framework="pt", device=self.device) as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != self.identity:
                    return None
                state = _unflatten({name: file.get_tensor(name) for name in metadata["names"].split("\n")})
        except (FileNotFoundError, SafetensorError):
            return None
        state["curve"] = {name: column.cpu() for name, column in state["curve"].items()}
        state.setdefault("optimizer", {})
        self.resumed_at = int(state["k"])
        return state

    def save_if_due(self, state: dict) -> None:
        """Write `state` (nested dicts of tensors) if `interval` seconds have passed."""
        if time.monotonic() - self._written >= self.interval:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
            flat = _flatten(state)
            # the order is kept too: a program takes parameters by position, the file sorts them by name
            try:
                save_file(flat, temporary, metadata={"identity": self.identity, "names": "\n".join(flat)})
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
            self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, if any."""
        self.path.unlink(missing_ok=True)
