"""Pure update rules on parameter dictionaries, their conversions, and ``SHB`` for ordinary torch loops.

    >>> from shb.optimizers import OPTIMIZERS, descend, get_optimizer
    >>> sorted(OPTIMIZERS)
    ['adam', 'ema_momentum', 'nesterov', 'sgd', 'shb', 'torch_momentum']
    >>> descend(get_optimizer("shb"), lambda w: w, start=1.0, steps=3, lr=0.5, momentum=0.5)
    [1.0, 0.5, 0.0, -0.25]

``OPTIMIZERS`` has every rule by its name; whoever adds one enters it there (docs/extend.md). ``with_weight_decay`` and
``with_clipping`` extend any of them.
"""

from __future__ import annotations

from shb.errors import choose
from shb.optimizers.adam import ADAM
from shb.optimizers.clipping import with_clipping
from shb.optimizers.descent import descend
from shb.optimizers.ema_momentum import EMA_MOMENTUM
from shb.optimizers.nesterov import NESTEROV
from shb.optimizers.optimizer import Hyperparameters, Optimizer, Params, State, expand
from shb.optimizers.sgd import SGD
from shb.optimizers.shb import HEAVY_BALL
from shb.optimizers.torch_momentum import TORCH_MOMENTUM
from shb.optimizers.torch_shb import SHB
from shb.optimizers.weight_decay import with_weight_decay

OPTIMIZERS: dict[str, Optimizer] = {
    rule.name: rule for rule in (SGD, HEAVY_BALL, TORCH_MOMENTUM, EMA_MOMENTUM, NESTEROV, ADAM)
}


def get_optimizer(name: str) -> Optimizer:
    """The update rule called ``name``.

    Raises:
        ConfigurationError: there is none; says which there are, and the nearest match.
    """
    return OPTIMIZERS[choose("optimizer", name, OPTIMIZERS)]


__all__ = [
    "OPTIMIZERS",
    "SHB",
    "Hyperparameters",
    "Optimizer",
    "Params",
    "State",
    "descend",
    "expand",
    "get_optimizer",
    "with_clipping",
    "with_weight_decay",
]
