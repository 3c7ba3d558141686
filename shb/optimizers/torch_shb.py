"""``SHB``: the heavy ball in Polyak's form as a ``torch.optim.Optimizer``, for anyone's training loop.

velocity <- momentum velocity - lr g            g = gradient + weight_decay w
w        <- w + velocity                        (P), theory.md section 1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from shb.errors import ConfigurationError


class SHB(torch.optim.Optimizer):
    """Stochastic heavy ball: w_{k+1} = w_k - lr g_k + momentum (w_k - w_{k-1}).

    With a constant lr and velocity_std = 0 this is ``torch.optim.SGD(lr, momentum)``. With a varying lr it
    is not: torch's own momentum multiplies its buffer by the current lr, so a step drop rescales the
    velocity too, whereas Polyak's form, the one that the theory is about, keeps the velocity.
    ``shb.optimizers.conversions`` translates.

    Args:
        params: parameters or parameter groups; a group may override every number below.
        lr: step size, > 0. A scheduler may set it to 0 later.
        momentum: in (-1, 1).
        weight_decay: >= 0, added to the gradient as weight_decay * w, before the velocity.
        velocity_std: >= 0, standard deviation of the Gaussian initial velocity w_0 - w_{-1}, in the unit of
            w. 0 starts at rest, like torch. A positive value is the phase-space randomisation of theory.md
            D4(A).
        generator: source of the initial velocity, which is drawn on the generator's device (without one: on
            the CPU, from torch's global generator) when a parameter is stepped first. It is not part of
            state_dict.
        foreach: True for one multi-tensor call per operation, False for a loop, None for True iff all
            parameters with a gradient are on CUDA. On the CPU both give the same bits in float32 and float64;
            in bfloat16 foreach also rounds the momentum to bfloat16 (as in torch.optim.SGD).
        allow_unstable: also accept |momentum| >= 1, for experiments.

    State: ``state[param]["velocity"]``, shaped like the parameter. A parameter without a gradient is not
    moved.

    Raises:
        ConfigurationError: for a number out of range (before any step) or a sparse gradient (in ``step``).

    Example:
        >>> import torch
        >>> from shb.optimizers import SHB
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = SHB([w], lr=0.1, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     w.abs().sum().backward()
        ...     optimizer.step()
        >>> w  # 1 - 0.1 = 0.9, then 0.9 - 0.1 + 0.5 * (0.9 - 1) = 0.75
        tensor([0.7500], requires_grad=True)
    """

    _generator: torch.Generator | None = None  # class default: an unpickled optimizer has no generator

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
        velocity_std: float = 0.0,
        generator: torch.Generator | None = None,
        foreach: bool | None = None,
        allow_unstable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "velocity_std": velocity_std,
            "foreach": foreach,
            "allow_unstable": allow_unstable,
        }
        super().__init__(params, defaults)
        self._generator = generator

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group after checking its numbers (ConfigurationError, and nothing is added)."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's value, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [w for w in group["params"] if w.grad is not None]
            for w in params:
                if w.grad.layout != torch.strided:
                    raise ConfigurationError(
                        "gradient layout", w.grad.layout, "torch.strided: SHB needs dense gradients"
                    )
            if params:
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, momentum, weight_decay = (
            float(group["lr"]),
            float(group["momentum"]),
            float(group["weight_decay"]),
        )
        grads = [w.grad for w in params]
        velocities = [self._velocity(w, group["velocity_std"]) for w in params]
        foreach = group["foreach"]
        if foreach is None:
            foreach = all(w.is_cuda for w in params)
        if foreach:
            if weight_decay:
                grads = torch._foreach_add(grads, params, alpha=weight_decay)
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, grads, alpha=-lr)
            torch._foreach_add_(params, velocities)
            return
        for w, g, velocity in zip(params, grads, velocities):
            if weight_decay:
                g = g.add(w, alpha=weight_decay)
            velocity.mul_(momentum).add_(g, alpha=-lr)
            w.add_(velocity)

    def _velocity(self, w: Tensor, std: float) -> Tensor:
        state = self.state[w]
        if "velocity" not in state:
            velocity = torch.zeros_like(w, memory_format=torch.preserve_format)
            if std > 0:
                device = self._generator.device if self._generator is not None else "cpu"
                velocity += std * torch.randn(w.shape, generator=self._generator, device=device, dtype=w.dtype).to(
                    w.device
                )
            state["velocity"] = velocity
        return state["velocity"]


def _check(group: dict[str, Any]) -> None:
    lr, momentum = float(group["lr"]), float(group["momentum"])
    if not 0 < lr < float("inf"):
        raise ConfigurationError("SHB.lr", lr, "a finite number > 0")
    # `not <`, because nan must be refused too
    if not (abs(momentum) < 1 or (group["allow_unstable"] and abs(momentum) < float("inf"))):
        raise ConfigurationError("SHB.momentum", momentum, "a number in (-1, 1), or any with allow_unstable=True")
    for name in ("weight_decay", "velocity_std"):
        if not 0 <= float(group[name]) < float("inf"):
            raise ConfigurationError(f"SHB.{name}", group[name], "a finite number >= 0")
