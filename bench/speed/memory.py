"""Peak memory of one chunk, against what its training needs at least."""

from __future__ import annotations

import tracemalloc

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.speed.work import Work, loss_of
from shb.streams import BLOCK


def needed_bytes(work: Work, width: int) -> int:
    """Parameters, velocity, gradients, and what backpropagation keeps (the batch and what torch's own layers save).

    Of all `width` members of a chunk, as if they had to be there at the same time.
    """
    module, loss = work.plain(), loss_of(work)
    sample = work.problem.sample(0, 0, 1)[0]
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = max(kept.get(x.data_ptr(), 0), x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        loss(module, sample.double() if work.dataset is None else sample)
    own = {p.data_ptr() for p in module.parameters()}
    activations = sum(size for address, size in kept.items() if address not in own)
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    return width * (3 * parameters + activations)


def peak_bytes(work: Work, engine: str, width: int) -> int:
    """Most memory that tensors had at a time while a chunk was made and trained, with the scratch memory of threads.

    What numpy and Python had at the most (samples and schedules, say) is added, as if it had been at the same time.
    """
    stack = work.stack(engine, width)
    stack.advance(stack.start(), 0, 1)  # what is made once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        stack.advance(stack.start(), 0, BLOCK)
        _, drawn = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak + drawn - before + torch.get_num_threads() * stack.scratch_bytes
