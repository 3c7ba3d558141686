"""A number of members is never used as a number: copies of one member move as far in any stack.

The bits of a member are another check; here a difference is one that no rounding explains.
"""

from __future__ import annotations

import torch

from bench.check.fault import Fault
from bench.check.subject import MEMBERS, Subject

WIDTHS = (7, MEMBERS)
_SHARE = 0.01  # of the way that a member has gone, or _ROUNDINGS of its parameters: more is no rounding
_ROUNDINGS = 64


def check(subject: Subject) -> str:
    """What was seen; a Fault otherwise. Under the eager engine: a tape is made once, with three members."""
    member, problem = subject.members[3], subject.problem()
    start = {**problem.initial_parameters(member.seed)}
    alone, *others = (subject.stack([member] * width).run()[0] for width in (1, *WIDTHS))
    cure = "no len(w), w.shape[0], w.numel(), no sum, mean or norm over the first axis, which is that of the members"
    for width, other in zip(WIDTHS, others):
        if other.status != alone.status:
            raise Fault(f"a member alone is {alone.status}, among {width} copies of itself {other.status}", cure)
        for name, w in alone.parameters.items():
            way, difference = (w - start[name]).double(), (other.parameters[name] - w).double()
            rounding = _ROUNDINGS * torch.finfo(w.dtype).eps * w.double().abs().amax()
            if difference.norm() > _SHARE * way.norm() + rounding * w.numel() ** 0.5:
                ratio = (other.parameters[name] - start[name]).double().norm() / way.norm()
                found = f"{name} moves {ratio:.3g} times as far among {width} copies of its member as alone"
                raise Fault(f"a number of members is used as a number: {found}", cure)
    return f"a member moves alike alone and among {' and '.join(map(str, WIDTHS))} copies of itself"
