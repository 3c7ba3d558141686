"""conf/expectations.yaml: which verdicts of a part are acceptable, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cell.config import CONF
from bench.claims.verdict import Verdict
from bench.store.yaml_file import read_yaml
from shb.errors import ConfigurationError, choose


@dataclass(frozen=True)
class Expectation:
    """What conf/expectations.yaml says of a part: acceptable verdicts (none if it does not know the part), and why.

    Attributes:
        elsewhere: verdicts that are acceptable too, because the part depends on how a processor rounds.
    """

    verdicts: tuple[str, ...] = ()
    why: str = ""
    elsewhere: tuple[str, ...] = ()
    elsewhere_why: str = ""


def expectations() -> dict[str, Expectation]:
    """conf/expectations.yaml: part -> what it says.

    Raises:
        ConfigurationError: an unknown field, a field left out or empty, a verdict that is unknown, VOID or named twice.
    """
    loaded = read_yaml(CONF / "expectations.yaml")
    return {part: _expectation(part, entry) for part, entry in loaded.items()}


def _expectation(part: str, entry: Mapping[str, Any]) -> Expectation:
    verdicts, why = _acceptable(part, {name: entry[name] for name in entry if name != "other_processors"})
    if "other_processors" not in entry:
        return Expectation(verdicts, why)
    elsewhere, elsewhere_why = _acceptable(f"{part}.other_processors", entry["other_processors"])
    if twice := sorted({*verdicts} & {*elsewhere}):
        raise ConfigurationError(f"expectations.{part}.other_processors.verdicts", ", ".join(twice), "others only")
    return Expectation(verdicts, why, elsewhere, elsewhere_why)


def _acceptable(name: str, entry: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The fields `verdicts` and `why`, checked."""
    if set(entry) != {"verdicts", "why"} or not entry["verdicts"] or not str(entry["why"] or "").strip():
        raise ConfigurationError(f"expectations.{name}", ", ".join(entry), "verdicts and why, neither of them empty")
    for verdict in entry["verdicts"]:  # VOID says that the experiment could not have failed
        choose(f"expectations.{name}.verdicts", verdict, [str(v) for v in Verdict if v is not Verdict.VOID])
    return tuple(entry["verdicts"]), entry["why"]
