"""The jobs of a matrix (`-m`): one for each combination of what the command line lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from bench.cell.config import CONF
from shb.errors import ConfigurationError

MOST_JOBS = 10_000  # each is a configuration, checked before any compute


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every job; globs run over the files of a group.

    Raises:
        ConfigurationError: what is no override, or more than MOST_JOBS jobs.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            count = math.prod(map(_length, parsed))
            if count > MOST_JOBS:
                raise ConfigurationError("-m", " ".join(overrides), f"at most {MOST_JOBS} jobs, these are {count:,}")
            (batch,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except (HydraException, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            "override", " ".join(overrides), f"name=value ({str(error).splitlines()[0]})"
        ) from None
    return [list(job) for job in batch]


def _length(override: Override) -> int:
    """Values that an override runs over; 1 for those that cannot be counted, or are refused later."""
    value = override.value() if override.is_sweep_override() else None
    if isinstance(value, RangeSweep) and value.step and value.start is not None and value.stop is not None:
        return max(0, math.ceil((value.stop - value.start) / value.step))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1
