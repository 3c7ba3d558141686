"""What a member will cost, found before any of it is paid for: a spec may ask for 10^12 steps, or for a huge network.

The network runs once on torch's meta device, which has shapes but no numbers: operations and bytes are counted, nothing
is allocated.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.cell.problem import DTYPES, build_model
from shb.datasets import DATASETS

if TYPE_CHECKING:
    from bench.cell.cell import Cell

RATE = 1e10  # floating-point operations per second of one core; networks here reach 0.3e10 .. 3e10
CALL = 3e-4  # seconds of a step or of an evaluation batch, however little it computes (eager)
STATES = 6  # parameters, two of an optimizer, gradients, new parameters, and their like
BACKWARD = 3  # a training step holds this many times what its forward pass makes


@dataclass(frozen=True)
class Footprint:
    """Predicted `seconds` on one core, and `gibibytes` of memory beside the data; a factor 3 off at times."""

    seconds: float
    gibibytes: float


def footprint(cell: Cell, width: int) -> Footprint:
    """Of a stack that holds `width` members of `cell`."""
    steps, evaluations = cell.plan.steps, len(cell.plan.evaluate_at)
    if "model" not in cell.problem_spec:  # closed forms: a few numbers a step
        return Footprint((steps + evaluations) * CALL + steps * width * 1e-7, 0.0)
    facts, batch = DATASETS[cell.problem_spec["dataset"]], cell.problem_spec["batch_size"]
    one = _forward(json.dumps(cell.problem_spec, sort_keys=True))
    whole = facts.train_size + facts.validation_size + facts.test_size
    evaluated = evaluations * facts.validation_size + whole
    operations = width * one.operations * (3 * steps * batch + evaluated)
    calls = steps + evaluated / _rows(batch) + evaluations
    return Footprint(operations / RATE + calls * CALL, width * held_bytes(cell.problem_spec) / 2**30)


def held_bytes(problem_spec: Mapping[str, Any]) -> int:
    """Memory of one member of a stack while it trains; 0 for a closed form, which has a few numbers."""
    if "model" not in problem_spec:
        return 0
    one, batch = _forward(json.dumps(problem_spec, sort_keys=True)), problem_spec["batch_size"]
    size = torch.finfo(DTYPES[problem_spec["dtype"]]).bits // 8
    return STATES * one.parameters * size + one.bytes * max(BACKWARD * batch, _rows(batch))


def _rows(batch: int) -> int:
    """Of an evaluation batch (shb/problems/learning.py)."""
    return max(64, 2 * batch)


@dataclass(frozen=True)
class _Pass:
    operations: int
    bytes: int
    parameters: int


class _Bytes(TorchDispatchMode):
    """Counts the bytes of all that operations make; views are no memory."""

    total = 0

    def __torch_dispatch__(
        self, function: Callable, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in function._schema.returns):
            made = (t for t in tree_leaves(result) if isinstance(t, torch.Tensor))
            self.total += sum(t.numel() * t.element_size() for t in made)
        return result


@functools.lru_cache(maxsize=64)
def _forward(spec_json: str) -> _Pass:
    """Of a forward pass over one sample."""
    spec = json.loads(spec_json)
    facts = DATASETS[spec["dataset"]]
    counter, held = FlopCounterMode(display=False), _Bytes()
    with torch.device("meta"):
        network = build_model(spec)(facts.feature_shape, facts.outputs).to(DTYPES[spec["dtype"]])
        x = torch.empty(1, *facts.feature_shape, dtype=DTYPES[spec["dtype"]])
        with torch.no_grad(), held, counter:
            network(x)
    return _Pass(counter.get_total_flops(), held.total, sum(p.numel() for p in network.parameters()))
