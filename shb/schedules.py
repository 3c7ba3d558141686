"""Step size and momentum as functions of the step k = 0, 1, 2, ... of a run of ``steps`` steps.

    value_k = base * factor(k)

    constant      1
    power         1 / (k + 1 + k0)^q                                 q = 0.75, k0 = 10
    inverse_log   1 / log(k + 2)
    linear        final + (1 - final) (1 - k / steps)                final = 0
    cosine        final + (1 - final) (1 + cos(pi k / steps)) / 2    final = 0
    step          gamma^floor(k / (step_size * steps))               gamma = 0.1, step_size = 0.5

For theory.md (A3): power with q in (1/2, 1] has sum alpha = inf and sum alpha^2 < inf, q in (0, 1] is
o(1/log k); q > 1 is summable and inverse_log decays too slowly (both are controls).

Three members with step sizes of their own, in the steps 0 .. 3 of a run of four:

    >>> schedule_table("step", [1.0, 2.0, 4.0], {"gamma": 0.5}, 0, 4, steps=4).tolist()
    [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [0.5, 1.0, 2.0], [0.5, 1.0, 2.0]]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shb.errors import ConfigurationError, choose


@dataclass(frozen=True)
class Schedule:
    """One family of factors.

    Args:
        name: the name in ``SCHEDULES``.
        parameters: name -> default.
        factor: ``factor(k, steps, **parameters) -> float``, the multiplier of the base value (no unit), finite
            and >= 0; computed with Python's ``math``, once per distinct parameters.
        ranges: parameter -> (smallest, largest) allowed value.

    Example:
        >>> square = Schedule("square", {}, lambda k, steps: (1 - k / steps) ** 2, {})
        >>> schedule_table(square, [16.0], {}, 0, 4, steps=4)[:, 0].tolist()
        [16.0, 9.0, 4.0, 1.0]
    """

    name: str
    parameters: Mapping[str, float]
    factor: Callable[..., float]
    ranges: Mapping[str, tuple[float, float]]


def _constant(k: int, steps: int) -> float:
    return 1.0


def _power(k: int, steps: int, q: float, k0: float) -> float:
    return 1.0 / math.pow(k + 1 + k0, q)


def _inverse_log(k: int, steps: int) -> float:
    return 1.0 / math.log(k + 2)


def _linear(k: int, steps: int, final: float) -> float:
    return final + (1 - final) * (1 - min(k, steps) / steps)


def _cosine(k: int, steps: int, final: float) -> float:
    # after the end of the run the factor stays at `final` instead of rising again
    return final + (1 - final) * (1 + math.cos(math.pi * min(k, steps) / steps)) / 2


def _step(k: int, steps: int, gamma: float, step_size: float) -> float:
    # 0.1 * 24 is 2.4000000000000004: without the margin the drop at k = 12 would come one step late
    return math.pow(gamma, math.floor(k / (step_size * steps) + 1e-9))


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant", {}, _constant, {}),
        Schedule("power", {"q": 0.75, "k0": 10.0}, _power, {"q": (0.0, 100.0), "k0": (0.0, 1e12)}),
        Schedule("inverse_log", {}, _inverse_log, {}),
        Schedule("linear", {"final": 0.0}, _linear, {"final": (0.0, 1.0)}),
        Schedule("cosine", {"final": 0.0}, _cosine, {"final": (0.0, 1.0)}),
        Schedule("step", {"gamma": 0.1, "step_size": 0.5}, _step, {"gamma": (0.0, 1.0), "step_size": (1e-6, 1.0)}),
    )
}


def get_schedule(name: str) -> Schedule:
    """The schedule called ``name``.

    Raises:
        ConfigurationError: there is none; says which there are, and the nearest match.
    """
    return SCHEDULES[choose("schedule", name, SCHEDULES)]


def schedule_table(
    schedule: str | Schedule, base: ArrayLike, parameters: Mapping[str, ArrayLike], start: int, stop: int, steps: int
) -> np.ndarray:
    """Values for the steps start, ..., stop - 1 of M members.

    A factor is computed once per distinct tuple of parameters with Python's ``math`` and multiplied by the
    base, so a member's column has the same bits in every table (a vectorised ``pow`` does not promise that).

    Args:
        schedule: one of ``SCHEDULES``, or its name.
        base: [M], in the unit of the scheduled quantity.
        parameters: name -> [M] or scalar; defaults for the names left out.
        start, stop: 0 <= start <= stop.
        steps: length of the run, >= 1; ``linear``, ``cosine`` and ``step`` are relative to it.

    Returns:
        float64 [stop - start, M].

    Raises:
        ConfigurationError: unknown schedule or parameter, wrong shape, value not finite or out of range; a factor that
            is no finite number >= 0.
    """
    schedule = get_schedule(schedule) if isinstance(schedule, str) else schedule
    base = np.asarray(base, np.float64)
    if base.ndim != 1:
        raise ConfigurationError("schedule base", f"shape {base.shape}", "one value per member, shape [M]")
    if not np.all(np.isfinite(base)):
        raise ConfigurationError("schedule base", base[~np.isfinite(base)][0], "finite numbers")
    if not 0 <= start <= stop or steps < 1:
        raise ConfigurationError("start, stop, steps", (start, stop, steps), "0 <= start <= stop and steps >= 1")
    distinct, column_of = np.unique(_rows(schedule, parameters, len(base)), axis=0, return_inverse=True)
    columns = np.empty((stop - start, len(distinct)))
    for i, values in enumerate(distinct.tolist()):
        chosen = dict(zip(schedule.parameters, values))
        columns[:, i] = [_checked(schedule, schedule.factor(k, steps, **chosen), k) for k in range(start, stop)]
    return (columns if len(distinct) == 1 else columns[:, column_of.ravel()]) * base


def _checked(schedule: Schedule, factor: object, k: int) -> float:
    if not isinstance(factor, int | float) or not 0 <= factor < math.inf:
        raise ConfigurationError(f"schedule {schedule.name}: factor of step {k}", factor, "a finite number >= 0")
    return factor


def second_order_momentum(alpha_previous: ArrayLike, alpha: ArrayLike, r: ArrayLike) -> np.ndarray:
    """The momentum of the second-order regime R2 (theory.md section 1), w'' + r w' + D_F(w) ∋ 0 in the limit.

    beta_k = (gamma_k / gamma_{k-1}) (1 - r gamma_k),   gamma_k = sqrt(alpha_k)

    Args:
        alpha_previous: alpha_{k-1}, [..., M], > 0; for k = 0 pass alpha_0 (gamma_{-1} = gamma_0).
        alpha: alpha_k, [..., M], > 0.
        r: friction, scalar or [M], >= 0 (0 is the undamped control).

    Returns:
        beta_k, float64 [..., M]. Negative where r gamma_k > 1, and below -1 where alpha is far too large for
        r.

    Raises:
        ConfigurationError: a step size <= 0, or a friction < 0.

    Example:
        >>> second_order_momentum(0.25, 0.25, r=1.0).item(), second_order_momentum(0.25, 0.0625, r=1.0).item()
        (0.5, 0.375)
    """
    previous, alpha, r = (np.asarray(value, np.float64) for value in (alpha_previous, alpha, r))
    if not (np.all(previous > 0) and np.all(alpha > 0)):
        raise ConfigurationError("alpha", min(previous.min(), alpha.min()), "step sizes > 0")
    if not np.all(r >= 0):
        raise ConfigurationError("r", r.min(), "a friction >= 0")
    gamma = np.sqrt(alpha)
    return gamma / np.sqrt(previous) * (1 - r * gamma)


def _rows(schedule: Schedule, parameters: Mapping[str, ArrayLike], members: int) -> np.ndarray:
    """Per member, its parameter values in the order of ``schedule.parameters``: [members, parameters]; a single row
    if all members have the same values.
    """
    for given in parameters:
        if given not in schedule.parameters:
            if not schedule.parameters:
                raise ConfigurationError(f"parameter of schedule {schedule.name}", given, "none: it has no parameters")
            choose(f"parameter of schedule {schedule.name}", given, schedule.parameters)
    columns = []
    for name, default in schedule.parameters.items():
        value = np.asarray(parameters.get(name, default), np.float64)
        field = f"{schedule.name}.{name}"
        if value.shape not in ((), (members,)):
            raise ConfigurationError(field, f"shape {value.shape}", f"a scalar or one value per member, [{members}]")
        lower, upper = schedule.ranges[name]
        wrong = ~((value >= lower) & (value <= upper))  # nan is wrong too
        if np.any(wrong):
            raise ConfigurationError(field, value[wrong][0], f"numbers from {lower:g} to {upper:g}")
        columns.append(value if value.ndim and np.any(value != value[:1]) else value.ravel()[:1])
    rows = max((len(column) for column in columns), default=1)
    return np.stack([np.broadcast_to(column, (rows,)) for column in columns], 1) if columns else np.empty((1, 0))
