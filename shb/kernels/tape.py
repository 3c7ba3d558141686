"""A tape: the instructions of one member, and where their results lie; `native/tape.h` runs it for all members.

Value      memory of one member: an input, an output, or scratch memory of the thread that is at work
View       some elements of a value, as a strided tensor without data
Pointwise  one elementwise operation; those of one size that may follow each other become a loop
Kernel     any other instruction
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from shb.kernels.enumerations import ALIGNMENT, DTYPES, FUNCTIONS, OPCODES, PLACES, SLOTS

_ELEMENTS = 1024  # of the members that are taken through a tape together, where one has few
_LONGEST = 48  # operations of a loop


class Unsupported(Exception):
    """What a tape cannot hold."""


@dataclass(eq=False)
class Value:
    """`size` elements of each member."""

    dtype: torch.dtype
    size: int
    slot: str = "scratch"
    place: int = 0  # index among the tensors of the slot, or offset in the scratch memory

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def common(self) -> bool:
        """The same for all members."""
        return self.slot in ("shared", "fixed")


@dataclass(frozen=True, eq=False)
class View:
    """Elements of a value.

    Args:
        meta: their shape, strides and first element, without data and without the dimension of the members.
        lead: how the traced tensor begins: "members" (a dimension of them), "merged" (its first dimension is
            that of `meta` for every member, one after the other) or "none" (the same for all).
    """

    value: Value
    meta: Tensor
    lead: str

    @property
    def whole(self) -> bool:
        """All elements of the value, in order."""
        return self.meta.is_contiguous() and self.meta.numel() == self.value.size

    @property
    def offset(self) -> int:
        """Index of its first element among those of the value."""
        return int(self.meta.storage_offset())


Operand = int | Value | View | Sequence[int] | None


@dataclass(eq=False)
class Pointwise:
    """result = function(operands), in [rows, columns] of each member; operands: view, row stride, column stride."""

    function: str
    result: Value
    operands: list[tuple[View, int, int]]
    rows: int = 1

    @property
    def reads(self) -> list[Value]:
        return [view.value for view, _, _ in self.operands]

    @property
    def results(self) -> list[Value]:
        return [self.result]


@dataclass(eq=False)
class Kernel:
    """Another instruction.

    Args:
        operands: by name, in the order in which native/instructions.h reads them: a number, a list of numbers, a value
            (from its first element on), a view (from its first element on), or None for a view that is not there.
        results: values that it writes; those among the operands that are not are read.
    """

    opcode: str
    operands: dict[str, Operand]
    results: list[Value]

    @property
    def reads(self) -> list[Value]:
        used = (one.value if isinstance(one, View) else one for one in self.operands.values())
        return [value for value in used if isinstance(value, Value) and value not in self.results]


@dataclass(eq=False)
class Loop:
    """Pointwise operations that are done together, piece by piece."""

    size: int
    rows: int
    operations: list[Pointwise] = field(default_factory=list)
    registers: dict[Value, int] = field(default_factory=dict)

    @property
    def reads(self) -> list[Value]:
        return [value for one in self.operations for value in one.reads if value not in self.registers]

    @property
    def results(self) -> list[Value]:
        return [one.result for one in self.operations if one.result not in self.registers]


class Output(NamedTuple):
    """Of a tape: a value's place among its results, or the index of the input that it is."""

    value: Value | None
    view: View | None
    passed: int = 0


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
        steps = _join(instructions)
        self.scratch_bytes = _place(steps, block)
        used = (v for step in steps for v in (*step.reads, *step.results))
        values = list(dict.fromkeys((*used, *inputs)))  # of every input, used or not, dtype and size are checked
        index = {value: i for i, value in enumerate(values)}
        table = [n for v in values for n in (SLOTS.index(v.slot), v.place, v.bytes, DTYPES.get(v.dtype, -1))]
        code = [n for step in steps for n in (_loop(step, index) if isinstance(step, Loop) else _kernel(step, index))]
        kinds = [n for one in outputs if one.value is not None for n in _output(one)]
        self._passed = [None if one.value is not None else one.passed for one in outputs]
        self._first = next(i for i, value in enumerate(inputs) if value.slot == "input")
        try:
            self._tape = torch.classes.shb.Tape(table, kinds, code, list(fixed), len(inputs), block, self.scratch_bytes)
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


def _output(one: Output) -> list[int]:
    flag = one.value.slot == "flag"
    shape = [] if flag else list(one.view.meta.shape)
    return [DTYPES[one.value.dtype], int(one.view.lead == "merged"), int(flag), len(shape), *shape]


def _join(instructions: Sequence[Pointwise | Kernel]) -> list[Loop | Kernel]:
    """Each elementwise operation goes to the latest loop that comes after all it reads, or becomes one."""
    steps: list[Loop | Kernel] = []
    made: dict[Value, int] = {}  # value -> index of the step that makes it
    for one in instructions:
        place = len(steps)
        if isinstance(one, Pointwise):
            place = next((p for p in range(len(steps) - 1, -1, -1) if _may_join(steps[p], p, one, made)), place)
            if place == len(steps):
                steps.append(Loop(one.result.size, one.rows))
            steps[place].operations.append(one)
            steps[place].rows = max(steps[place].rows, one.rows)
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
        free += [loop.registers[v] for v in {*one.reads, one.result} if v in loop.registers and last[v] == i]


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


def _kernel(step: Kernel, index: dict[Value, int]) -> list[int]:
    code = [OPCODES.index(step.opcode)]
    for one in step.operands.values():
        if one is None:
            code += [-1, 0]
        elif isinstance(one, View):
            code += [index[one.value], one.offset]
        elif isinstance(one, Value):
            code.append(index[one])
        elif isinstance(one, Sequence):
            code += [len(one), *map(int, one)]
        else:
            code.append(int(one))
    return code


def _loop(loop: Loop, index: dict[Value, int]) -> list[int]:
    columns = loop.size // loop.rows
    code = [OPCODES.index("loop"), loop.rows, columns, len(loop.operations)]
    for one in loop.operations:
        (first, _, _), *_ = one.operands[1:2] if one.function == "where" else one.operands
        code += [FUNCTIONS.index(one.function), DTYPES[first.value.dtype], DTYPES[one.result.dtype]]
        code += _operand(loop, index, one.result, 0, columns, 1)
        operands = [*one.operands, *[one.operands[0]] * (3 - len(one.operands))]
        for view, row, column in operands:
            if one.rows == 1:  # all elements in order, or one number
                row = columns * column
            code += _operand(loop, index, view.value, view.offset, row, column)
    return code


def _operand(loop: Loop, index: dict[Value, int], value: Value, offset: int, row: int, column: int) -> list[int]:
    inside = value in loop.registers
    place = PLACES.index("register" if inside else "memory")
    return [place, loop.registers[value] if inside else index[value], offset, row, column, DTYPES[value.dtype]]
