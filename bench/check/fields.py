"""No unused field: every field of the chosen entries of conf/ changes a trajectory when its value is another.

Some fields matter only elsewhere: under another value of a text field of the same entry, at an exact zero, or where
two values tie, which is frequent in bfloat16. A field is called unused when it changes nothing in any of these either.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from bench.cell.config import Config, fields
from bench.cell.groups import ClipConfig, InitConfig, OptimizerConfig
from bench.check.fault import Fault
from bench.check.subject import Subject
from shb.errors import ConfigurationError
from shb.optimizers import get_optimizer
from shb.training import Trajectory

_NONE = "none_of_them"  # as the value of a text field: the error lists what is allowed
_MEMBERS = 7
_FEW = 2  # other values that are tried where the first surroundings showed no change

Change = Callable[[Config], None]


def check(subject: Subject) -> str:
    """What was seen; a Fault otherwise."""
    seen, unused = [], []
    for group in ("optimizer", "problem") if subject.closed else ("optimizer", "problem", "model"):
        for field, value in _fields(subject.config, group).items():
            used = _used(subject, group, field, value)
            (seen if used else unused).append(f"{group}.{field}")
    if "allow_unstable" in fields("optimizer", subject.optimizer.name):
        used = "momentum" in subject.optimizer.hyperparameters
        (seen if used else unused).append("optimizer.allow_unstable")
    if unused:
        names = ", ".join(unused)
        found = f"{names} {'changes' if len(unused) == 1 else 'change'} nothing in {subject.plan.steps} steps"
        cure = "use it or take it out of conf/ (Optimizer(...) names hyperparameters; options are arguments of a model)"
        raise Fault(found, cure)
    return f"all are used: {', '.join(seen) or 'there are none'}"


def _used(subject: Subject, group: str, field: str, value: Any) -> bool:
    refused = 0
    others = list(_others(subject, group, field, value))
    for number, surroundings in enumerate(_surroundings(subject, group, field)):
        try:
            base = _Outcome(subject, surroundings, group != "optimizer")
        except ConfigurationError:
            continue
        for other in others[: _FEW if number else None]:
            try:
                if base.differs(lambda config, other=other: _set(config, group, field, other)):
                    return True
            except ConfigurationError:
                refused += not number
    return bool(others) and refused == len(others)  # somebody looks at it, though no other value is known


def _fields(config: Config, group: str) -> dict[str, Any]:
    """What a member may have of the chosen entry: hyperparameters of an optimizer, options of anything else."""
    if group != "optimizer":
        return getattr(config, group).options
    own = get_optimizer(config.optimizer.name).hyperparameters  # weight decay, of any rule, is tested
    return {name: value for name, value in config.optimizer.hyperparameters.items() if name in own}


def _set(config: Config, group: str, field: str, value: Any) -> None:
    """Raises a ConfigurationError for a value that the entry itself refuses."""
    own, name = getattr(config, group), "hyperparameters" if group == "optimizer" else "options"
    changed = replace(own, **{name: {**getattr(own, name), field: value}})
    changed.check()
    setattr(config, group, changed)


def _others(subject: Subject, group: str, field: str, value: Any) -> Iterator[Any]:
    """Other values of a field."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value + 2, value - 1, 2 * value)
    elif isinstance(value, float):
        yield from dict.fromkeys(v for v in (0.9 * value, 0.5, 0.01 * value, 0.0, 1.0, 2.0, 100 * value) if v != value)
    elif isinstance(value, list):
        first = value[0] if value else 1
        yield from ([other, *value[1:]] for other in _others(subject, group, field, first))
    else:
        yield from _choices(subject, group, field, value) or (_NONE,)


def _choices(subject: Subject, group: str, field: str, value: Any) -> list[str]:
    """Other values that the error of a wrong one lists; none if it is no error."""
    config = copy.deepcopy(subject.config)
    try:
        _set(config, group, field, _NONE)
        subject.changed(config)
    except ConfigurationError as error:
        listed = re.sub(r"^one of ", "", error.allowed)
        return [one for one in re.split(r", | or ", listed) if re.fullmatch(r"\w+", one) and one != value]
    return []


def _surroundings(subject: Subject, group: str, field: str) -> Iterator[Change]:
    """Changes under which a field may matter that else does not: none, then others."""
    yield lambda config: None
    for name, value in _fields(subject.config, group).items():
        if isinstance(value, str) and name != field:
            for other in _choices(subject, group, name, value):
                yield lambda config, name=name, other=other: _set(config, group, name, other)
    if subject.closed:
        yield lambda config: setattr(config, "init", InitConfig("zeros"))
    yield lambda config: setattr(config, "dtype", "bfloat16")


class _Outcome:
    """Trajectories of seven members in some surroundings, in float64 if they do not say otherwise.

    Args:
        plain: by SGD, so that whether a field of a problem or a model is used does not depend on a rule.
    """

    def __init__(self, subject: Subject, surroundings: Change, plain: bool) -> None:
        self._config = copy.deepcopy(subject.config)
        self._config.dtype = "float64"
        self._config.clip = ClipConfig("none")  # of gradients that are all of one norm a rule may see the sign only
        if plain:
            self._config.optimizer = OptimizerConfig("sgd", {"lr": [0.05]})
        surroundings(self._config)
        self._subject = subject.changed(self._config)
        self._trajectories: list[Trajectory] | None = None

    def differs(self, change: Change) -> bool:
        """Whether a change of the configuration changes the outcome.

        Raises:
            ConfigurationError: the changed configuration is refused.
        """
        config = copy.deepcopy(self._config)
        change(config)
        other = self._subject.changed(config)
        if other.cell.ids == self._subject.cell.ids:
            return False  # nobody reads it
        if not _equal(_start(other), _start(self._subject)):
            return True
        if self._trajectories is None:
            self._trajectories = _run(self._subject)
        return not all(map(_alike, _run(other), self._trajectories))


def _start(subject: Subject) -> dict[str, torch.Tensor]:
    return subject.problem().initial_parameters(subject.members[0].seed)


def _run(subject: Subject) -> list[Trajectory]:
    """Several, because one may stand still at its start."""
    return subject.stack(subject.members[:_MEMBERS]).run()


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a)


def _alike(a: Trajectory, b: Trajectory) -> bool:
    if not _equal(a.parameters, b.parameters) or not _equal(a.buffers, b.buffers):
        return False
    return repr((a.status, a.metrics, a.curve)) == repr((b.status, b.metrics, b.curve))
