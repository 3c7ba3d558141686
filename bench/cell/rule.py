"""The update rule of a cell: the one that is named, with weight decay and clipping where these are on.

What is off is no part of a rule nor of an identity: a member without weight decay is the same whether its neighbours
have some or not, and has the bits of the rule alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cell.config import Config
from bench.cell.groups import DECAY
from shb.optimizers import Optimizer, get_optimizer, with_clipping, with_weight_decay


def rule_of(config: Config, trials: Sequence[Mapping[str, float]] | None = None) -> Optimizer:
    """The rule for all settings of a configuration, or for the `trials` in their place."""
    rule = get_optimizer(config.optimizer.name)
    if DECAY not in rule.hyperparameters and any(_decays(config, trials)):
        rule = with_weight_decay(rule, config.optimizer.decoupled)
    return rule if config.clip.name == "none" else with_clipping(rule, config.clip.name)


def _decays(config: Config, trials: Sequence[Mapping[str, float]] | None) -> list[float]:
    given = config.optimizer.hyperparameters.get(DECAY, [0.0])
    return given if trials is None else [trial.get(DECAY, given[0]) for trial in trials]


def rule_spec(rule: Optimizer, hyperparameters: Mapping[str, float]) -> dict[str, Any]:
    """What the spec of a member says of its rule: `optimizer`, `hyperparameters`, and `decoupled` and `clip` if on."""
    numbers = dict(hyperparameters)
    spec: dict[str, Any] = {"optimizer": rule.name, "hyperparameters": numbers}
    if rule.decay != "none" and numbers[DECAY] == 0:
        del numbers[DECAY]
    elif rule.decay == "decoupled":
        spec["decoupled"] = True
    if rule.clip != "none":
        spec["clip"] = rule.clip
    return spec
