"""A file of `conf/` as plain data, without composing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def read_yaml(path: Path) -> dict[str, Any]:
    """The fields of a YAML file that is a mapping, as every file of this project is.

    Raises:
        TypeError: it is none.
    """
    content = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(content, dict):
        raise TypeError(f"{path} is no mapping")
    return {str(name): value for name, value in content.items()}
