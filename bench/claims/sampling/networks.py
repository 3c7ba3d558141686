"""The networks of a claim: overrides from conf/claim, those whose data are on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from bench.claims.claim import Protocol, Results
from shb.datasets import check_files
from shb.errors import ConfigurationError


def networks(protocol: Protocol, group: str = "networks") -> dict[str, tuple[str, ...]]:
    """Name -> overrides (model, dataset) of every network in `protocol[group]` whose data set is present.

    The engine is that of the protocol, eager if it names none.
    """
    chosen = protocol.sizes.get("engine", "eager")
    engine = () if chosen == "eager" else (f"engine={chosen}",)  # the default is no part of an ensemble's identity
    return {name: (*o, *engine) for name, o in protocol[group].items() if not _absent(o)}


def dataset_of(overrides: Sequence[str]) -> str:
    """The data set that the overrides of a network name."""
    return next(one.removeprefix("dataset=") for one in overrides if one.startswith("dataset="))


def _absent(overrides: Sequence[str]) -> bool:
    try:
        check_files(dataset_of(overrides))
    except ConfigurationError:
        return True
    return False


def out_of_scope(protocol: Protocol, results: Results) -> str | None:
    """Why a part on networks does not apply: those that `experiments` left out, or None."""
    measured = {name.split()[0] for name in results}
    lacking = [name for name in protocol["networks"] if name not in measured]
    return f"data set absent, for {', '.join(lacking)}" if lacking else None
