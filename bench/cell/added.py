"""Entries of configuration groups that plug-ins add beside those of `conf/`, and whose content they are.

They are kept in Hydra's own store of entries, so that Hydra composes them as it composes files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from shb.errors import ConfigurationError

_FIELDS: dict[str, dict[str, list[str]]] = {}  # group -> entry -> its fields
_SOURCES: dict[tuple[str, str], str] = {}  # (group, entry) -> SHA-256 of the plug-in's source


def add_entry(group: str, entry: str, values: Mapping[str, Any] | None, sha256: str) -> None:
    """Let `group=entry` be an entry with the fields `values` (with a `name`), from a plug-in of this content.

    Without `values` it is no entry of a group, but a value of the field `group`.
    """
    if values is not None:
        ConfigStore.instance().store(name=entry, group=group, node=dict(values))
    _FIELDS.setdefault(group, {})[entry] = list(values or {})
    _SOURCES[group, entry] = sha256


def added(group: str) -> dict[str, list[str]]:
    """Entry -> names of its fields, of the entries that plug-ins added to `group`."""
    return _FIELDS.get(group, {})


def source_of(group: str, entry: str) -> str | None:
    """SHA-256 (hex) of the plug-in that an entry comes from; None for one of this project, or an unknown one."""
    return _SOURCES.get((group, entry))


def contents() -> tuple[str, ...]:
    """SHA-256 of every plug-in that added something: a key for what is kept of composed configurations."""
    return tuple(sorted(set(_SOURCES.values())))


def plugin_list(text: str) -> list[str]:
    """The plug-ins of `plugins=text`: one, or a list in brackets.

    Raises:
        ConfigurationError: several lists, as a matrix would have them.
    """
    if not text.startswith("["):
        return [text] if text else []
    try:
        value: Any = OverridesParser.create().parse_override(f"plugins={text}").value()
    except HydraException:
        value = [part.strip() for part in text.removeprefix("[").removesuffix("]").split(",")]
    if not isinstance(value, list):
        raise ConfigurationError("plugins", text, "one list, [a.py,b.py]: every job of a matrix has all plug-ins")
    return [str(item) for item in value]
