"""``SHB``: the heavy ball in Polyak's form as a ``torch.optim.Optimizer``, for anyone's training loop.

velocity <- momentum velocity - lr g            g = gradient + weight_decay w
w        <- w + velocity                        (P), theory.md section 1

With decoupled weight decay g is the gradient, and the decay is no part of the velocity: w <- (1 - lr weight_decay) w +
velocity (shb/optimizers/weight_decay.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from shb.errors import ConfigurationError
from shb.optimizers.torch_group import NUMBERS, check_group, check_stored, host_number


class SHB(torch.optim.Optimizer):
    """Stochastic heavy ball: w_{k+1} = w_k - lr g_k + momentum (w_k - w_{k-1}).

    With a constant lr and velocity_std = 0 this is ``torch.optim.SGD(lr, momentum)``. With a varying lr it
    is not: torch's own momentum multiplies its buffer by the current lr, so a step drop rescales the
    velocity too, whereas Polyak's form, the one that the theory is about, keeps the velocity.
    ``shb.optimizers.conversions`` translates.

    Args:
        params: parameters, named parameters or parameter groups; a group may override every number below.
        lr: step size, > 0. A scheduler may set it to 0 later. None where every group has its own. lr,
            momentum and weight_decay may be tensors of one element; schedulers then write into the tensor.
        momentum: in (-1, 1).
        weight_decay: >= 0, added to the gradient as weight_decay * w, before the velocity.
        decoupled: True: w <- (1 - lr * weight_decay) * w + velocity instead, as in AdamW and SGDW. Its decay is not
            multiplied by 1 / (1 - momentum), as that of the gradient is: ``conversions.coupled_to_decoupled``.
        velocity_std: >= 0, standard deviation of the Gaussian initial velocity w_0 - w_{-1}, in the unit of
            w. 0 starts at rest, like torch. A positive value is the phase-space randomisation of theory.md
            D4(A).
        generator: source of the initial velocity, which is drawn on the generator's device (without one: on
            the CPU, from torch's global generator) at a parameter's first step with lr > 0. It is not part of
            state_dict. A sharded parameter (DTensor) takes its part of what is drawn for the whole.
        foreach: True for one multi-tensor call per operation, False for a loop, None for True iff all
            parameters with a gradient are on CUDA. On the CPU both give the same bits in float32 and float64;
            in bfloat16 and float16 foreach also rounds lr and momentum to that type (as torch.optim.SGD does), but
            not the factor of a decoupled decay.
        allow_unstable: also accept |momentum| >= 1, for experiments.

    State: ``state[param]["velocity"]``, shaped like the parameter; with velocity_std > 0 also "drawn", False
    until the velocity is drawn. A parameter without a gradient is not moved. Until the velocity is drawn, a step
    with lr 0 is no step: it makes the state and neither moves the parameter nor draws, so that what makes a
    state to load into (torch.distributed.checkpoint) changes nothing. Afterwards lr 0 is a step of Polyak's
    form: the parameter goes on with momentum * velocity.

    The numbers are checked in every step, except tensors on an accelerator, which are read only when the group
    is made: a step with such an lr does not make the host wait. ``torch.compile(optimizer.step)`` compiles once,
    whatever a scheduler does.

    Raises:
        ConfigurationError: for a value out of range or of a wrong type, a sparse gradient (in ``step``, before
            anything moves) or the state of another optimizer (in ``load_state_dict``, before anything changes).

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

    _generator: torch.Generator | None = None  # class default: what was pickled by older versions has none

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor | None = None,
        momentum: float | Tensor = 0.9,
        *,
        weight_decay: float | Tensor = 0.0,
        decoupled: bool = False,
        velocity_std: float = 0.0,
        generator: torch.Generator | None = None,
        foreach: bool | None = None,
        allow_unstable: bool = False,
    ) -> None:
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ConfigurationError("SHB.generator", repr(generator), "a torch.Generator, or None")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "velocity_std": velocity_std,
            "foreach": foreach,
            "allow_unstable": allow_unstable,
        }
        if lr is not None:
            check_group(defaults, started=False)
        super().__init__(params, defaults)
        self._generator = generator

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group: ``{"params": ..., "lr": ...}``, with the defaults for numbers that are left out.

        Raises:
            ConfigurationError: a number out of range or of a wrong type; nothing is added.
        """
        if isinstance(param_group, dict):  # torch says what is wrong otherwise
            check_group({**self.defaults, **param_group}, started=False)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in (*NUMBERS, "velocity_std"):
            if not isinstance(group[name], Tensor):
                group[name] = float(group[name])  # numpy's numbers cannot be loaded with weights_only

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's value, if there is one.

        Raises:
            ConfigurationError: a number of a group that cannot be used, a gradient that is not dense; nothing moves.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for batch in self._batches(torch.compiler.is_compiling()):
            (_move_together if batch.foreach else _move_each)(batch)
        return loss

    @torch._disable_dynamo  # the lazy form of torch.compiler.disable: the compiled step never sees a changing float
    def _batches(self, compiling: bool) -> list[_Batch]:
        """What this step moves. Everything is checked before the first state is made or drawn."""
        for group in self.param_groups:
            check_group(group, started=True)
            for w in group["params"]:
                if w.grad is not None and w.grad.layout != torch.strided:
                    raise ConfigurationError(
                        "gradient layout", w.grad.layout, "torch.strided: SHB needs dense gradients"
                    )
        batches = []
        for group in self.param_groups:
            lr, momentum, weight_decay = (host_number(group[name]) for name in NUMBERS)
            params = [w for w in group["params"] if w.grad is not None]
            params = [w for w in params if self._moves(w, group["velocity_std"], lr)]
            if compiling:  # inputs of the compiled step; a weight decay of 0 is left out of it
                lr, momentum = _tensor(lr), _tensor(momentum)
                if _is_on(weight_decay):
                    weight_decay = _tensor(weight_decay)
            foreach = group["foreach"]
            if foreach is None:
                foreach = all(w.is_cuda for w in params)
            for same in _of_one_kind(params) if foreach else [params]:
                velocities = [_real(self.state[w]["velocity"]) for w in same]
                grads = [_real(w.grad) for w in same if w.grad is not None]
                numbers = lr, momentum, weight_decay, group["decoupled"]
                batches.append(_Batch([_real(w) for w in same], grads, velocities, *numbers, foreach))
        return batches

    def _moves(self, w: Tensor, std: float, lr: float | Tensor) -> bool:
        """Make the state of ``w`` if it has none, draw its velocity if that is due; False if it stays undrawn."""
        state = self.state[w]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(w, memory_format=torch.preserve_format)
            if std > 0:
                state["drawn"] = False
        if state.get("drawn", True):
            return True
        if lr == 0:  # a tensor on an accelerator is read here, once, before the drawing
            return False
        device = self._generator.device if self._generator is not None else "cpu"
        noise = std * torch.randn(w.shape, generator=self._generator, device=device, dtype=w.dtype).to(w.device)
        state["velocity"] += _sharded_like(w, noise)
        state["drawn"] = True
        return True

    @torch._disable_dynamo
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state_dict of SHB; tensors are copied.

        Raises:
            ConfigurationError: the state of another optimizer, a velocity of another shape, a number out of range;
                nothing is changed.
        """
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for w in group["params"]:
                if self.state.get(w):  # torch keeps the tensors themselves where dtype and device agree
                    self.state[w]["velocity"] = self.state[w]["velocity"].clone()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_generator": self._generator}

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_stored(state["param_groups"], state["state"])
        super().__setstate__(state)


class _Batch(NamedTuple):
    """Tensors that are moved by the same numbers; lists of equal length."""

    params: list[Tensor]
    grads: list[Tensor] | tuple[Tensor, ...]  # a tuple is what a multi-tensor call returns
    velocities: list[Tensor]
    lr: float | Tensor
    momentum: float | Tensor
    weight_decay: float | Tensor
    decoupled: bool
    foreach: bool


def _move_each(batch: _Batch) -> None:
    lr, weight_decay = batch.lr, batch.weight_decay
    for w, g, velocity in zip(batch.params, batch.grads, batch.velocities):
        if batch.decoupled and _is_on(weight_decay):
            _shrink(w, 1 - lr * weight_decay)
        elif isinstance(weight_decay, Tensor):
            g = g + weight_decay * w
        elif weight_decay:
            g = g.add(w, alpha=weight_decay)
        velocity.mul_(batch.momentum)
        if isinstance(lr, Tensor):
            velocity.sub_(lr * g)
        else:
            velocity.add_(g, alpha=-lr)
        w.add_(velocity)


def _move_together(batch: _Batch) -> None:
    params, grads, velocities, lr, momentum, weight_decay, decoupled, _ = batch
    if decoupled and _is_on(weight_decay):
        if params[0].dtype.itemsize == 2:  # a multi-tensor call would round the factor to 16 bits
            for w in params:
                _shrink(w, 1 - lr * weight_decay)
        else:
            torch._foreach_mul_(params, 1 - lr * weight_decay)
    elif isinstance(weight_decay, Tensor):
        grads = torch._foreach_add(grads, torch._foreach_mul(params, weight_decay))
    elif weight_decay:
        grads = torch._foreach_add(grads, params, alpha=weight_decay)
    torch._foreach_mul_(velocities, momentum)
    if isinstance(lr, Tensor):
        torch._foreach_sub_(velocities, torch._foreach_mul(grads, lr))
    else:
        torch._foreach_add_(velocities, grads, alpha=-lr)
    torch._foreach_add_(params, velocities)


def _shrink(w: Tensor, kept: float | Tensor) -> None:
    """Multiply `w`, of 16 bits in float32: a factor on an accelerator would be rounded to them."""
    if w.dtype.itemsize == 2:
        w.copy_(w.float() * kept)
    else:
        w.mul_(kept)


def _is_on(weight_decay: float | Tensor) -> bool:
    """Whether it is not known to be 0; a tensor is not read."""
    return isinstance(weight_decay, Tensor) or weight_decay != 0


def _of_one_kind(params: list[Tensor]) -> list[list[Tensor]]:
    """Parts that a multi-tensor call may take together: one class, mesh (of a DTensor), device and dtype."""
    kinds: dict[tuple, list[Tensor]] = {}
    for w in params:
        plain = type(w) in (Tensor, torch.nn.Parameter)
        kind = (None if plain else type(w), getattr(w, "device_mesh", None), w.device, w.dtype)
        kinds.setdefault(kind, []).append(w)
    return list(kinds.values())


def _sharded_like(w: Tensor, whole: Tensor) -> Tensor:
    """``whole`` in the shards of ``w``, if ``w`` has some: those of what rank 0 of each mesh dimension drew."""
    mesh, placements = getattr(w, "device_mesh", None), getattr(w, "placements", None)
    if placements is None:
        return whole
    from torch.distributed.tensor import distribute_tensor  # not on every build of torch

    return distribute_tensor(whole, mesh, placements)


def _real(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers, which the rule moves each by itself."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _tensor(number: float | Tensor) -> Tensor:
    return number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64)
