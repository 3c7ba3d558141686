"""What a seed draws is a function of the seed: the same again, alone, among others, and in pieces."""

from __future__ import annotations

import numpy as np
import torch

from bench.check.fault import Fault
from bench.check.subject import MEMBERS, Subject
from shb.streams import BLOCK

_STEPS = BLOCK + 9  # more than one block of samples


def check(subject: Subject) -> str:
    """What was seen; a Fault otherwise."""
    problem = subject.problem()
    first = subject.members[0].seed
    seeds = np.arange(first, first + MEMBERS)
    cure = "draw from shb.streams.stream(seed, name) only; a module from torch's generator, in its constructor"
    buffers = getattr(problem, "initial_buffers", lambda seed: {})
    for what, drawn in (("initial parameters", problem.initial_parameters), ("buffers", buffers)):
        if not _same(drawn(first + 3), drawn(first + 3)):
            raise Fault(f"{what} of seed {first + 3} are others when drawn again", cure)
    for count in (7, MEMBERS):
        together = problem.initial_parameters_of(seeds[:count])
        for i in (0, 3, count - 1):
            alone = problem.initial_parameters(int(seeds[i]))
            if not _same(alone, {name: p[i] for name, p in together.items()}):
                raise Fault(f"initial parameters of seed {seeds[i]} are others among {count} seeds", cure)
    whole = problem.samples_of(seeds, 0, _STEPS)
    for i in (0, 3, MEMBERS - 1):
        alone = problem.sample(int(seeds[i]), 0, _STEPS)
        if not torch.equal(alone, whole[:, i]):
            raise Fault(f"samples of seed {seeds[i]} are others among {MEMBERS} seeds, or when drawn again", cure)
    pieces = torch.cat([problem.samples_of(seeds, *piece) for piece in ((0, 5), (5, BLOCK + 2), (BLOCK + 2, _STEPS))])
    if not torch.equal(pieces, whole):
        cure = "address a sample by its step k (streams.blocked), not by how often was drawn"
        raise Fault("samples depend on the steps that are drawn together, so a resumed run has others", cure)
    return f"initial values and {_STEPS} samples of a seed: alone, among 7 and {MEMBERS}, in pieces, again"


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
