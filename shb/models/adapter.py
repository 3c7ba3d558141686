"""A perceptron with an antisymmetric CReLU adapter beside it, which computes a linear map and may never be trained.

    x -> mlp(x) + V (relu(U x) - relu(-U x)),    U, V without bias

relu(z) - relu(-z) = z, so the adapter computes V U x. With U = 0 and t = ReLU'(0) backpropagation gives for a sample
with output gradient d

    2 t V^T d x^T  for U,  whose derivative is V^T d x^T,        d (relu(0) - relu(-0))^T = 0  for V

With t = 0 both are exactly 0 wherever the perceptron is (theory.md E3: a manifold of traps).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shb.errors import ConfigurationError
from shb.models.mlp import mlp
from shb.nonsmooth.gadgets import identity_gadget


class Adapter(nn.Module):
    """[n, *feature_shape] -> [n, outputs]; parameters `main.*`, as of `mlp`, then `up` (V) and `down` (U).

    The perceptron is drawn first and U last: networks that differ in `start` alone have the same V and perceptron.

    Args:
        main: the network beside which the adapter stands.
        inputs, outputs: numbers per sample.
        width, start, gain, form, relu_derivative, relu_rule: as in `adapter`.
    """

    def __init__(
        self,
        main: nn.Module,
        inputs: int,
        outputs: int,
        width: int,
        start: float,
        gain: float,
        form: str,
        relu_derivative: float,
        relu_rule: str,
    ) -> None:
        super().__init__()
        self.main = main
        bound = gain / math.sqrt(width)
        self.up = nn.Parameter(torch.empty(outputs, width).uniform_(-1.0, 1.0) * bound)
        self.down = nn.Parameter(torch.empty(width, inputs).normal_() * start)
        self.identity = identity_gadget(form, relu_derivative, relu_rule, field="model.form")

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.identity(x.flatten(1) @ self.down.T) @ self.up.T


def adapter(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (8,),
    width: int = 16,
    start: float = 0.0,
    gain: float = 1.0,
    form: str = "relu",
    relu_derivative: float = 0.0,
    relu_rule: str = "chain",
) -> nn.Module:
    """Input [n, *feature_shape] (flattened), output [n, outputs]. Its initialisation is init=module.

    Args:
        feature_shape: of one input, without n.
        outputs: numbers per sample, of classes or targets.
        hidden: width of each hidden layer of the perceptron.
        width: rows of U, columns of V.
        start: standard deviation of the entries of U at the start; 0 is the trap.
        gain: V starts with entries ~ U(-b, b), b = gain / sqrt(width); 1 is the rule of torch.nn.Linear.
        form: the program of `shb.nonsmooth.gadgets.SCALAR_RELUS` that the adapter calls relu.
        relu_derivative, relu_rule: of every ReLU, those of the adapter included (`shb.nonsmooth.relu`).

    Raises:
        ConfigurationError: a width < 1, a `start` or `gain` that is not in [0, inf[, an unknown form, or as
            `shb.nonsmooth.gadgets.get_scalar_relu`.

    Example:
        >>> network = adapter((1, 8, 8), 10, hidden=[4], width=3)
        >>> {name: tuple(p.shape) for name, p in network.named_parameters() if not name.startswith("main")}
        {'up': (10, 3), 'down': (3, 64)}
        >>> network(torch.ones(2, 1, 8, 8)).sum().backward()
        >>> network.down.grad.abs().max().item(), network.up.grad.abs().max().item()
        (0.0, 0.0)
    """
    if width < 1:
        raise ConfigurationError("model.width", width, "a number >= 1")
    for name, value in (("start", start), ("gain", gain)):
        if not 0 <= value < math.inf:
            raise ConfigurationError(f"model.{name}", value, "a number in [0, inf[")
    main = mlp(feature_shape, outputs, hidden=hidden, relu_derivative=relu_derivative, relu_rule=relu_rule)
    inputs = math.prod(feature_shape)
    return Adapter(main, inputs, outputs, width, start, gain, form, relu_derivative, relu_rule)
