"""The grid of a cell: its settings, every combination of the hyperparameters that may differ between its members."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from bench.cell.bounds import check_numbers
from bench.cell.config import Config
from bench.cell.groups import DECAY, SECOND_ORDER
from bench.cell.memory import check_members
from shb.errors import ConfigurationError
from shb.optimizers import Optimizer
from shb.optimizers.clipping import AT
from shb.schedules import get_schedule, schedule_table


def build_grid(
    config: Config, optimizer: Optimizer, trials: Sequence[Mapping[str, float]] | None
) -> list[dict[str, float]]:
    """Every combination of the optimizer's hyperparameters (or the `trials`) with parameters of schedules and clipping.

    A list in the configuration is an axis. Names: lr, momentum, ..., "clip.at", "schedule.q", "momentum_schedule.r".

    Raises:
        ConfigurationError: hyperparameters and schedules that do not go together, or a trial that cannot be used.
    """
    given = {DECAY: [0.0], **config.optimizer.hyperparameters}
    axes = {name: given[name] for name in optimizer.hyperparameters if name != AT}
    groups = _group_axes(config, optimizer)
    count = math.prod(map(len, axes.values())) if trials is None else len(trials)
    check_members(config.seeds, count * math.prod(map(len, groups.values())))
    if trials is not None:
        for trial in trials:
            check_numbers("optimizer", trial)
        own = [{n: v for n, v in {**_first(axes), **trial}.items() if n in axes or n != DECAY} for trial in trials]
    else:
        own = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    grid = [
        {**setting, **dict(zip(groups, values))} for setting in own for values in itertools.product(*groups.values())
    ]
    if not config.optimizer.allow_unstable:
        for setting in grid:
            _check_stable(setting, config.momentum_schedule.name)
    return grid


def _first(axes: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: values[0] for name, values in axes.items()}


def _group_axes(config: Config, optimizer: Optimizer) -> dict[str, list[float]]:
    """Of the groups beside the optimizer: "group.parameter" -> numbers."""
    momentum = config.momentum_schedule
    if momentum.name != "constant" and "momentum" not in optimizer.hyperparameters:
        allowed = f"constant for optimizer={optimizer.name}, which has no momentum"
        raise ConfigurationError("momentum_schedule", momentum.name, allowed)
    if momentum.name == SECOND_ORDER and not config.optimizer.allow_unstable and 0 in momentum.parameters["r"]:
        allowed = "a number > 0, or 0 with optimizer.allow_unstable=true (undamped, does not converge)"
        raise ConfigurationError("momentum_schedule.r", 0, allowed)
    return {
        f"{chosen.group}.{name}": values
        for chosen in (config.clip, config.schedule, momentum)
        for name, values in chosen.parameters.items()
    }


def check_schedule(schedule: str, grid: Sequence[Mapping[str, float]], steps: int) -> None:
    """Compute the factors of a schedule for every setting: all of the first 10,000 steps, and the last.

    Raises:
        ConfigurationError: one is no finite number >= 0.
    """
    names = [f"schedule.{name}" for name in get_schedule(schedule).parameters]
    for values in {tuple(setting[name] for name in names) for setting in grid}:
        parameters = {name.removeprefix("schedule."): value for name, value in zip(names, values)}
        for start, stop in ((0, min(steps, 10_000)), (steps - 1, steps)):
            schedule_table(schedule, [1.0], parameters, start, stop, steps)


def _check_stable(setting: Mapping[str, float], momentum_schedule: str) -> None:
    if not is_unstable(setting, momentum_schedule):
        return
    flag = "optimizer.allow_unstable=true"
    if momentum_schedule == SECOND_ORDER:
        r = setting["momentum_schedule.r"]
        allowed = f"a number < {2 / math.sqrt(setting['lr']):.4g} = 2 / sqrt(lr), or any with {flag}"
        raise ConfigurationError("momentum_schedule.r", r, allowed)
    allowed = f"a number in (-1, 1), or any with {flag}"
    if momentum_schedule != "constant":
        first = extreme_momentum(setting, momentum_schedule)
        allowed += f" (by momentum_schedule={momentum_schedule} the first is {first:.4g})"
    raise ConfigurationError("optimizer.momentum", setting["momentum"], allowed)


def extreme_momentum(setting: Mapping[str, float], momentum_schedule: str) -> float:
    """The momentum of largest modulus that a setting can use: its first, since no schedule grows.

    second_order: beta_k = (gamma_k / gamma_{k-1}) (1 - r gamma_k) is at most |1 - r gamma_k| in modulus, whose
    extremes are near 1 (gamma_k -> 0, always below it) and at gamma_0 = sqrt(lr).
    """
    if momentum_schedule == SECOND_ORDER:
        return 1 - setting["momentum_schedule.r"] * math.sqrt(setting["lr"])
    schedule, prefix = get_schedule(momentum_schedule), "momentum_schedule."
    parameters = {name: setting[prefix + name] for name in schedule.parameters}
    return setting.get("momentum", 0.0) * schedule.factor(0, 1, **parameters)


def is_unstable(setting: Mapping[str, float], momentum_schedule: str) -> bool:
    """True if the momentum leaves (-1, 1), where the theory does not hold (theory.md, A4)."""
    return not -1 < extreme_momentum(setting, momentum_schedule) < 1
