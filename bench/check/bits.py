"""The bit rule: alone, in a stack of 7, of 33, and after a resume, a member has the same bits."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.check.fault import Fault
from bench.check.subject import MEMBERS, Subject
from shb.training import Checkpoint, Trajectory

SEVEN = range(13, 20)


class _Interrupted(Exception):
    pass


def check(subject: Subject, engine: str) -> str:
    """What was seen; a Fault otherwise."""
    members = subject.members
    expected = subject.stack(members, engine).run()
    if all(one.status == "diverged" for one in expected):
        cure = "a smaller step size, or look at the check against a plain loop: diverged members cannot be compared"
        raise Fault(f"all of {MEMBERS} members diverge within {subject.plan.steps} steps", cure)
    for i in (0, MEMBERS - 1):
        _compare(subject.stack([members[i]], engine).run()[0], expected[i], f"alone, member {i} of {MEMBERS}")
    seven = [members[i] for i in SEVEN]
    for i, one in zip(SEVEN, subject.stack(seven, engine).run()):
        _compare(one, expected[i], f"in a stack of 7, member {i} of {MEMBERS}")
    resumed, k = _resumed(subject, engine)
    for i, one in zip(SEVEN, resumed):
        _compare(one, expected[i], f"resumed at step {k}, member {i} of {MEMBERS}")
    return f"{MEMBERS} members: alone, in a stack of 7, resumed at step {k}"


def _resumed(subject: Subject, engine: str) -> tuple[list[Trajectory], int]:
    """Seven members whose run ended in its middle and was taken up again, and the step where."""
    seven = [subject.members[i] for i in SEVEN]
    calls = []

    def interrupt(steps: int) -> None:
        calls.append(steps)
        if len(calls) == 2:
            raise _Interrupted

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.safetensors"
        with contextlib.suppress(_Interrupted):
            subject.stack(seven, engine).run(progress=interrupt, checkpoint=Checkpoint(path, "check", interval=0))
        checkpoint = Checkpoint(path, "check", interval=0)
        return subject.stack(seven, engine).run(checkpoint=checkpoint), checkpoint.resumed_at


def _compare(found: Trajectory, expected: Trajectory, how: str) -> None:
    difference = _difference(found, expected)
    if difference:
        cure = "in a rule + - * / sqrt and comparisons only (docs/extend.md), nothing that mixes members"
        raise Fault(f"{how} has other bits: {difference}", cure)


def _difference(a: Trajectory, b: Trajectory) -> str:
    """The first thing in which two trajectories differ, in words; empty if there is none."""
    for name in ("status", "diverged_step"):
        if getattr(a, name) != getattr(b, name):
            return f"{name} {getattr(a, name)} instead of {getattr(b, name)}"
    for kind in ("parameters", "buffers"):
        mine, others = getattr(a, kind), getattr(b, kind)
        name = _first_other(mine, others)
        if name is not None:
            gap = (mine[name].double() - others[name].double()).abs().max() / others[name].double().abs().max()
            return f"{name} by {gap:.1e} of its largest entry"
    for name in ("metrics", "curve"):
        mine, others = getattr(a, name), getattr(b, name)
        other = next((key for key in others if repr(mine.get(key)) != repr(others[key])), None)
        if other is not None:
            return f"{name} {other}"
    return ""


def _first_other(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str | None:
    return next((name for name in b if not torch.equal(_bytes(a[name]), _bytes(b[name]))), None)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
