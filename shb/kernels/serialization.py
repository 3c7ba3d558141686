"""The numbers of a tape, in the order in which `native/tape.h` and `native/instructions.h` read them."""

from __future__ import annotations

from collections.abc import Sequence

from shb.kernels.enumerations import DTYPES, FUNCTIONS, OPCODES, PLACES, SLOTS
from shb.kernels.instructions import Kernel, Loop, Output, Value, View


def values_code(values: Sequence[Value]) -> list[int]:
    """Slot, place, bytes and dtype of every value (-1: a dtype that a tape does not have)."""
    return [n for v in values for n in (SLOTS.index(v.slot), v.place, v.bytes, DTYPES.get(v.dtype, -1))]


def outputs_code(outputs: Sequence[Output]) -> list[int]:
    """Dtype and sizes of every result that a tape makes."""
    made = ((one.value, one.view) for one in outputs)
    return [n for value, view in made if value is not None and view is not None for n in _output(value, view)]


def instructions_code(steps: Sequence[Loop | Kernel], values: Sequence[Value]) -> list[int]:
    """The instructions, whose operands are places among `values`."""
    index = {value: i for i, value in enumerate(values)}
    return [n for step in steps for n in (_loop(step, index) if isinstance(step, Loop) else _kernel(step, index))]


def _output(value: Value, view: View) -> list[int]:
    flag = value.slot == "flag"
    shape = [] if flag else list(view.meta.shape)
    return [DTYPES[value.dtype], int(view.lead == "merged"), int(flag), len(shape), *shape]


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
