"""What computing costs, found before any of it is paid for: a spec may ask for 10^12 steps, or for a huge network.

One model, of three numbers: operations (for the time that is left, and for the choice of an engine), seconds and memory
(for what is refused). The network runs once on torch's meta device, which has shapes but no numbers:
operations and bytes are counted, nothing is allocated and no data are read. A closed form has a few numbers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
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
BACKWARD = 3  # a training step takes so many forward passes, in operations and in memory: two of them are backward
PER_STEP, PER_PARAMETER = 2.0e4, 20.0  # operations of a step however small, and of an update


@dataclass(frozen=True)
class Pass:
    """A forward pass over one sample: floating-point `operations`, `bytes` made on the way, and the `parameters`."""

    operations: int
    bytes: int
    parameters: int

    def step(self, batch: int = 1) -> float:
        """Operations of one member-step with so many samples: forward, backward, update."""
        return float(BACKWARD * batch * self.operations) + PER_STEP + PER_PARAMETER * self.parameters


CLOSED_FORM = Pass(0, 0, 1)


@dataclass(frozen=True)
class Cost:
    """Predicted `operations`, `seconds` on one core, and `gibibytes` of memory beside the data.

    They may be a factor 3 off: every operation takes 1 / RATE seconds, every call of the network CALL.
    """

    operations: float
    seconds: float
    gibibytes: float


def cell_cost(cell: Cell, width: int) -> Cost:
    """Of a stack that holds `width` members of `cell`, from w_0 to the last evaluation."""
    one, steps, evaluations = _pass_of(cell.problem_spec), cell.plan.steps, len(cell.plan.evaluate_at)
    calls, evaluated = float(steps + evaluations), 0
    if _is_network(cell.problem_spec):
        facts = DATASETS[cell.problem_spec["dataset"]]
        whole = facts.train_size + facts.validation_size + facts.test_size
        evaluated = evaluations * facts.validation_size + whole
        calls += evaluated / _rows(cell.problem_spec["batch_size"])
    operations = width * (steps * step_cost(cell.problem_spec) + one.operations * evaluated)
    return Cost(operations, operations / RATE + calls * CALL, width * held_bytes(cell.problem_spec) / 2**30)


def step_cost(problem_spec: Mapping[str, Any]) -> float:
    """Operations of one member-step."""
    return _pass_of(problem_spec).step(problem_spec.get("batch_size", 1))


def held_bytes(problem_spec: Mapping[str, Any]) -> int:
    """Memory of one member of a stack while it trains; 0 for a closed form."""
    if not _is_network(problem_spec):
        return 0
    one, batch = _pass_of(problem_spec), problem_spec["batch_size"]
    size = DTYPES[problem_spec["dtype"]].itemsize
    return STATES * one.parameters * size + one.bytes * max(BACKWARD * batch, _rows(batch))


def forward_pass(
    model: Callable[..., nn.Module], feature_shape: Sequence[int], outputs: int, dtype: torch.dtype
) -> Pass:
    """The pass of `model(feature_shape, outputs)`, with parameters of `dtype`.

    A network that cannot run without its numbers counts two operations per parameter.
    """
    with torch.device("meta"):
        network = model(feature_shape, outputs).to(dtype).eval()  # batch statistics need two samples
    parameters = sum(p.numel() for p in network.parameters())
    for inputs in (dtype, torch.int64):  # whole numbers are for an embedding, which takes no others
        counter, made = FlopCounterMode(display=False), _Bytes()
        x = torch.empty(1, *feature_shape, dtype=inputs, device="meta")
        try:
            with torch.device("meta"), torch.no_grad(), made, counter:
                network(x)
        except Exception:  # of somebody's forward pass: what is wrong with it is said where it is traced
            continue
        return Pass(counter.get_total_flops(), made.total, parameters)
    return Pass(2 * parameters, 0, parameters)


class _Bytes(TorchDispatchMode):
    """Counts the bytes of all that operations make; views are no memory."""

    total = 0

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in function._schema.returns):
            made = (t for t in tree_leaves(result) if isinstance(t, torch.Tensor))
            self.total += sum(t.numel() * t.element_size() for t in made)
        return result


def _is_network(problem_spec: Mapping[str, Any]) -> bool:
    return "model" in problem_spec


def _rows(batch: int) -> int:
    """Of an evaluation batch (shb/problems/learning.py)."""
    return max(64, 2 * batch)


def _pass_of(problem_spec: Mapping[str, Any]) -> Pass:
    return _network_pass(json.dumps(problem_spec, sort_keys=True)) if _is_network(problem_spec) else CLOSED_FORM


@functools.lru_cache(maxsize=64)
def _network_pass(spec_json: str) -> Pass:
    spec = json.loads(spec_json)
    facts = DATASETS[spec["dataset"]]
    return forward_pass(build_model(spec), facts.feature_shape, facts.outputs, DTYPES[spec["dtype"]])
