"""The settings of a cell: every combination of the numbers that may differ between its members, checked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from bench.cell.config import Config, numbers, settings
from bench.cell.memory import check_members
from shb.errors import ConfigurationError
from shb.optimizers import Optimizer
from shb.schedules import SCHEDULES, get_schedule, schedule_table


def settings_grid(
    config: Config, optimizer: Optimizer, trials: Sequence[Mapping[str, float]] | None
) -> list[dict[str, float]]:
    """Every combination of the optimizer's numbers (or the `trials`) with the schedules' parameters.

    A list in the configuration is an axis. Names: lr, momentum, ..., "schedule.q", "momentum_schedule.r".
    """
    axes = settings("optimizer", config.optimizer, list(optimizer.hyperparameters))
    for name in optimizer.hyperparameters.keys() - axes.keys():
        raise ConfigurationError(f"optimizer.{name}", "(missing)", "a number or a list of them")
    allow_unstable = config.optimizer.get("allow_unstable", False)
    if not isinstance(allow_unstable, bool):
        raise ConfigurationError("optimizer.allow_unstable", allow_unstable, "true or false")
    schedules = _schedule_axes(config, optimizer)
    count = math.prod(map(len, axes.values())) if trials is None else len(trials)
    check_members(config.seeds, count * math.prod(map(len, schedules.values())))
    if trials is not None:
        own = [{**{n: v[0] for n, v in axes.items()}, **trial} for trial in trials]
    else:
        own = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    combined = [
        {**setting, **dict(zip(schedules, values))}
        for setting in own
        for values in itertools.product(*schedules.values())
    ]
    for setting in combined:
        _check_setting(setting, config.momentum_schedule["name"], allow_unstable=allow_unstable)
    return combined


def _schedule_axes(config: Config, optimizer: Optimizer) -> dict[str, list[float]]:
    axes: dict[str, list[float]] = {}
    for group in ("schedule", "momentum_schedule"):
        values = getattr(config, group)
        if values["name"] == "second_order":
            if group == "schedule" or "momentum" not in optimizer.hyperparameters:
                raise ConfigurationError(group, values["name"], "constant for an optimizer without momentum")
            axes["momentum_schedule.r"] = numbers("momentum_schedule.r", values["r"])
            smallest = min(axes["momentum_schedule.r"])
            if smallest < 0 or (smallest == 0 and not config.optimizer.get("allow_unstable", False)):
                allowed = "a number > 0, or 0 with optimizer.allow_unstable=true (undamped, does not converge)"
                raise ConfigurationError("momentum_schedule.r", values["r"], allowed)
            continue
        schedule = get_schedule(values["name"])
        if group == "momentum_schedule" and schedule.name != "constant" and "momentum" not in optimizer.hyperparameters:
            raise ConfigurationError(
                group, schedule.name, f"constant for optimizer={optimizer.name}, which has no momentum"
            )
        for name, items in settings(group, values, list(schedule.parameters)).items():
            low, high = SCHEDULES[schedule.name].ranges[name]
            for item in items:
                if not low <= item <= high:
                    raise ConfigurationError(f"{group}.{name}", item, f"{low:g} .. {high:g}")
            axes[f"{group}.{name}"] = items
    return axes


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


_RANGES = {  # hyperparameter -> (test, what is allowed)
    "lr": (lambda v: v > 0, "a number > 0"),
    "dampening": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "beta1": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "beta2": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "eps": (lambda v: v >= 0, "a number >= 0"),
}


def _check_setting(setting: Mapping[str, float], momentum_schedule: str, *, allow_unstable: bool) -> None:
    for name, value in setting.items():
        test, allowed = _RANGES.get(name, (lambda v: True, ""))
        if not test(value):
            raise ConfigurationError(f"optimizer.{name}", value, allowed)
    if not is_unstable(setting, momentum_schedule) or allow_unstable:
        return
    flag = "optimizer.allow_unstable=true"
    if momentum_schedule == "second_order":
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
    if momentum_schedule == "second_order":
        return 1 - setting["momentum_schedule.r"] * math.sqrt(setting["lr"])
    schedule, prefix = get_schedule(momentum_schedule), "momentum_schedule."
    parameters = {name: setting[prefix + name] for name in schedule.parameters}
    return setting.get("momentum", 0.0) * schedule.factor(0, 1, **parameters)


def is_unstable(setting: Mapping[str, float], momentum_schedule: str) -> bool:
    """True if the momentum leaves (-1, 1), where the theory does not hold (theory.md, A4)."""
    return not -1 < extreme_momentum(setting, momentum_schedule) < 1
