"""One trajectory of a stack, before (Member) and after (Trajectory) it ran; the Plan that a stack shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shb.errors import ConfigurationError


@dataclass(frozen=True)
class Member:
    """A seed and the numbers that may differ within a stack.

    Args:
        seed: of its streams, a whole number >= 0.
        hyperparameters: name -> number: all of the optimizer's (lr, momentum, ...), and the schedules' as "schedule.q"
            or "momentum_schedule.r".
    """

    seed: int
    hyperparameters: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """What all members of a stack share.

    Args:
        steps: number of updates, >= 1.
        schedule: name of the step-size schedule (shb.schedules); its base is the hyperparameter lr.
        momentum_schedule: likewise for momentum, or "second_order" (theory.md R2) with "momentum_schedule.r".
        evaluate_at: steps k at which w_k is evaluated, increasing, from 0 to `steps`.
        velocity_std: standard deviation of a Gaussian initial velocity w_0 - w_{-1}, in units of w; 0 means
            w_{-1} = w_0. Only of a rule that takes a velocity.

    Raises:
        ConfigurationError: no steps, or an evaluation outside of them.
    """

    steps: int
    schedule: str = "constant"
    momentum_schedule: str = "constant"
    evaluate_at: tuple[int, ...] = ()
    velocity_std: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError("steps", self.steps, "a whole number >= 1")
        if any(not 0 <= k <= self.steps for k in self.evaluate_at):
            raise ConfigurationError("evaluate_at", self.evaluate_at, f"steps from 0 to {self.steps}")

    @classmethod
    def with_evaluations(cls, steps: int, evaluations: int, **options: Any) -> Plan:
        """A plan that evaluates w_0, w_steps and evenly spaced iterates between.

        Args:
            steps: number of updates, >= 1.
            evaluations: how many after w_0, w_steps among them; one below 1 counts as 1, one above `steps` as `steps`.
            options: other fields of a plan.

        Raises:
            ConfigurationError: no steps.
        """
        count = max(1, min(evaluations, steps))
        return cls(steps, evaluate_at=tuple(sorted({round(steps * i / count) for i in range(count + 1)})), **options)


@dataclass
class Trajectory:
    """What one member left.

    Attributes:
        member: whose it is.
        status: "done" or "diverged".
        diverged_step: k of a diverged member: update k would have made a parameter non-finite (the member stays at
            w_k), or the training loss of w_k was found non-finite. Else None.
        metrics: name -> value of the last full evaluation; None for a diverged member.
        curve: column ("step", "batch_loss", "val_loss", ...) -> its values, None where not evaluated; batch_loss is
            the mean mini-batch loss since the previous row.
        parameters: name -> tensor on the CPU, without member axis: w_steps, or the last finite ones.
        buffers: likewise, what the member has but does not train: frozen parameters, running statistics.
    """

    member: Member
    status: str
    diverged_step: int | None
    metrics: dict[str, float | None]
    curve: dict[str, list[float | None]]
    parameters: dict[str, Tensor] = field(repr=False)
    buffers: dict[str, Tensor] = field(repr=False, default_factory=dict)
