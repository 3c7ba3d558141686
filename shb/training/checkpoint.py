"""Checkpoint of a running stack: tensors in one safetensors file, written under a temporary name and renamed."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shb.files import replacing

_Names = tuple[str, ...]


def _flatten(tree: dict, parents: _Names = ()) -> dict[_Names, Tensor]:
    flat: dict[_Names, Tensor] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, (*parents, name))
        else:
            flat[*parents, name] = value.contiguous()
    return flat


def _unflatten(flat: dict[_Names, Tensor]) -> dict:
    tree: dict = {}
    for (*parents, name), value in flat.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


class CheckpointError(OSError):
    """A checkpoint could not be written or removed (disk full, folder gone)."""


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
                if metadata.get("identity") != self.identity or "paths" not in metadata:
                    return None
                paths = json.loads(metadata["paths"])
                state = _unflatten({tuple(path): file.get_tensor(str(i)) for i, path in enumerate(paths)})
        except (OSError, SafetensorError):  # absent, not readable, torn: the stack starts at step 0
            return None
        state["curve"] = {name: column.cpu() for name, column in state["curve"].items()}
        state.setdefault("optimizer", {})
        self.resumed_at = int(state["k"])
        return state

    def save_if_due(self, state: dict) -> None:
        """Write `state` (nested dicts of tensors) if `interval` seconds have passed.

        Raises:
            CheckpointError: it cannot be written.
        """
        if time.monotonic() - self._written >= self.interval:
            flat = _flatten(state)
            # by number: a program takes parameters by position, and their names may hold any text
            tensors = {str(i): tensor for i, tensor in enumerate(flat.values())}
            metadata = {"identity": self.identity, "paths": json.dumps(list(flat))}
            try:
                with replacing(self.path) as temporary:
                    save_file(tensors, temporary, metadata=metadata)
            except (OSError, SafetensorError) as error:
                raise _as_checkpoint_error(error, self.path) from error
            self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, if any.

        Raises:
            CheckpointError: it cannot be deleted.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _as_checkpoint_error(error, self.path) from error


def _as_checkpoint_error(error: Exception, path: Path) -> CheckpointError:
    """safetensors says the number of a system's error only in its text."""
    number = getattr(error, "errno", None)
    if number is None and (match := re.search(r"os error (\d+)", str(error))):
        number = int(match[1])
    text = os.strerror(number) if number else str(error)
    return CheckpointError(number, text, str(path))
