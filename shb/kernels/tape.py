"""A tape: the instructions of one member, and where their results lie; `native/tape.h` runs it for all members."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shb.kernels.enumerations import ALIGNMENT
from shb.kernels.instructions import Kernel, Loop, Output, Pointwise, Unsupported, Value
from shb.kernels.serialization import instructions_code, outputs_code, values_code

_ELEMENTS = 1024  # of the members that are taken through a tape together, where one has few
_LONGEST = 48  # operations of a loop


def block_of(largest: int) -> int:
    """Members that are taken through a tape together; `largest`: elements of the largest value."""
    return max(1, _ELEMENTS // largest) if largest <= _ELEMENTS // 8 else 1


class Tape:
    """`tensors -> results`, as a traced program of any number of members would have them.

    Args:
        instructions: in an order in which they can be done.
        outputs: of the program.
        fixed: tensors that belong to the program.
        inputs: of the program; at least one has members.
        block: members that are taken through together.

    Raises:
        Unsupported: a function of a dtype that the native code does not have.
    """

    def __init__(
        self,
        instructions: Sequence[Pointwise | Kernel],
        outputs: Sequence[Output],
        fixed: Sequence[Tensor],
        inputs: Sequence[Value],
        block: int,
    ) -> None:
        self.instructions, self.outputs, self.fixed, self.inputs = instructions, outputs, fixed, inputs
        self.steps = steps = _join(instructions)
        self.scratch_bytes = _place(steps, block)
        used = (v for step in steps for v in (*step.reads, *step.results))
        values = list(dict.fromkeys((*used, *inputs)))  # of every input, used or not, dtype and size are checked
        self.code = instructions_code(steps, values)
        self._passed = [None if one.value is not None else one.passed for one in outputs]
        self._first = next(i for i, value in enumerate(inputs) if value.slot == "input")
        try:
            self._tape = torch.classes.shb.Tape(
                values_code(values),
                outputs_code(outputs),
                self.code,
                list(fixed),
                len(inputs),
                block,
                self.scratch_bytes,
            )
        except (RuntimeError, ValueError) as error:  # a function of a dtype that it does not have
            raise Unsupported(str(error).splitlines()[0]) from error
        self.output_bytes = sum(
            one.value.bytes for one in outputs if one.value is not None and one.value.slot == "output"
        )

    def bytes_of(self, members: int) -> int:
        """Memory of the results; every thread needs `scratch_bytes` besides."""
        return self.output_bytes * members

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        # a wrong dtype, size or device is a RuntimeError that names the input
        made = iter(self._tape.run(tensors, len(tensors[self._first])))
        return [next(made) if passed is None else tensors[passed] for passed in self._passed]


def _join(instructions: Sequence[Pointwise | Kernel]) -> list[Loop | Kernel]:
    """Each elementwise operation goes to the latest loop that comes after all it reads, or becomes one."""
    steps: list[Loop | Kernel] = []
    made: dict[Value, int] = {}  # value -> index of the step that makes it
    for one in instructions:
        place = len(steps)
        if isinstance(one, Pointwise):
            place = next((p for p in range(len(steps) - 1, -1, -1) if _may_join(steps[p], p, one, made)), place)
            loop = steps[place] if place < len(steps) else None
            if not isinstance(loop, Loop):
                loop = Loop(one.result.size, one.rows)
                steps.append(loop)
            loop.operations.append(one)
            loop.rows = max(loop.rows, one.rows)
        else:
            steps.append(one)
        made.update(dict.fromkeys(one.results, place))
    readers: dict[Value, set[int]] = {}
    for i, step in enumerate(steps):
        for value in step.reads:
            readers.setdefault(value, set()).add(i)
    for i, step in enumerate(steps):
        if isinstance(step, Loop):
            _give_registers(step, [v for v in step.results if v.slot == "scratch" and readers.get(v, set()) <= {i}])
    return steps


def _may_join(step: Loop | Kernel, place: int, one: Pointwise, made: dict[Value, int]) -> bool:
    if not isinstance(step, Loop) or step.size != one.result.size or len(step.operations) >= _LONGEST:
        return False
    if 1 < step.rows != one.rows > 1:
        return False
    for view, _, _ in one.operands:
        at = made.get(view.value, -1)
        if at > place or (at == place and not (view.whole and view.value.size == step.size)):
            return False
    return True


def _give_registers(loop: Loop, inside: list[Value]) -> None:
    """Results that only this loop reads need a piece's memory, which the next can use after the last reader."""
    last = {value: i for i, one in enumerate(loop.operations) for value in (*one.results, *one.reads)}
    free: list[int] = []
    count = 0
    for i, one in enumerate(loop.operations):
        if one.result in inside:
            if not free:
                free.append(count)
                count += 1
            loop.registers[one.result] = free.pop()
        ended = dict.fromkeys(v for v in (*one.reads, one.result) if last[v] == i)  # in order, each once
        free += [loop.registers[v] for v in ended if v in loop.registers]


def _place(steps: Sequence[Loop | Kernel], block: int) -> int:
    """Give every value in scratch memory its place there; returns the bytes of that memory."""
    last = {value: i for i, step in enumerate(steps) for value in (*step.results, *step.reads)}
    taken: list[tuple[int, int, int]] = []  # begin, end, the last step that needs it
    total = 0
    for i, step in enumerate(steps):
        for value in step.results:
            if value.slot != "scratch":
                continue
            taken = sorted(t for t in taken if t[2] >= i)
            size = math.ceil(value.bytes * block / ALIGNMENT) * ALIGNMENT
            value.place = 0
            for begin, end, _ in taken:
                if begin - value.place >= size:
                    break
                value.place = max(value.place, end)
            taken.append((value.place, value.place + size, last[value]))
            total = max(total, value.place + size)
    return total
