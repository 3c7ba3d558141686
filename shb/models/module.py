"""What a model's module is made of: trained parameters, and buffers that belong to a member but are not trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shb.errors import ConfigurationError
from shb.models.convolution import Conv
from shb.streams import stream

# torch's own initialisation of these, and of no others, is the rule torch_default; subclasses may have another
_TORCH_DEFAULT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv)


def check_module(module: object) -> nn.Module:
    """Return `module` if a stack can train it, as far as its parts say.

    Raises:
        ConfigurationError: no module, a parameter that a stack cannot train, none at all, or a tensor that is neither
            parameter nor buffer, of which members could have no values of their own.
    """
    if not isinstance(module, nn.Module):
        raise ConfigurationError("model", type(module).__name__, "a function that returns a torch.nn.Module")
    for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(parameter):
            raise ConfigurationError("model", name, "a module whose shapes are known (no lazy one)")
        if parameter.requires_grad and not parameter.is_floating_point():
            raise ConfigurationError(
                "model", f"{name} of {parameter.dtype}", "a module of real floating-point parameters"
            )
    if not any(p.requires_grad for p in module.parameters()):
        raise ConfigurationError("model", type(module).__name__, "a module with a parameter that is trained")
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            derived = {f"{name}_orig", f"{name}_g"} & part._parameters.keys()  # a hook computes it from these
            if isinstance(value, Tensor) and not derived:
                full = f"{prefix}.{name}".removeprefix(".")
                raise ConfigurationError("model", full, "a parameter or a buffer (register_buffer), not a bare tensor")
    return module


def unknown_to_torch_default(module: nn.Module) -> str | None:
    """The first trained parameter that is not of a linear or convolutional layer; None if all are."""
    known = {
        id(p)
        for part in module.modules()
        if type(part) in _TORCH_DEFAULT
        for p in (part.weight, part.bias)
        if p is not None
    }
    return next((name for name, p in module.named_parameters() if p.requires_grad and id(p) not in known), None)


def built(make: Callable[[], nn.Module], seed: int) -> dict[str, Tensor]:
    """Every parameter and buffer as the module draws them from the seed's stream "init", on the CPU.

    torch's generator goes on afterwards as if nothing had been drawn.

    Args:
        make: returns the module, e.g. `lambda: mlp((10,), 1)`.
        seed: a whole number >= 0.

    Returns:
        Name -> tensor of its shape, detached, as `named_parameters` and `named_buffers` have them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, "init").integers(2**63)))
        module = make()
    return {name: t.detach() for name, t in [*module.named_parameters(), *module.named_buffers()]}


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """`module` in evaluation mode; afterwards every part has the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, mode in modes:
            part.training = mode
