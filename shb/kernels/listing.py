"""A tape as text, for people: one line for each instruction and for each operation of a loop."""

from __future__ import annotations

from shb.kernels.instructions import Kernel, Loop, Operand, Value, View
from shb.kernels.tape import Tape


def listing(tape: Tape) -> str:
    """What `tape` does for one member.

    A value is named by where it lies: `input0`, `output0`, or `scratch0` for the byte at which it begins in the
    scratch memory; `r0` is a register of a loop. `+5` is the first element that is read, where it is not 0.
    """
    lines = []
    for step in tape.steps:
        lines += [_kernel(step)] if isinstance(step, Kernel) else _loop(step)
    return "\n".join(lines)


def _kernel(step: Kernel) -> str:
    operands = ", ".join(f"{name}={_operand(one)}" for name, one in step.operands.items() if one not in step.results)
    return f"{', '.join(map(_value, step.results))} = {step.opcode}({operands})"


def _loop(loop: Loop) -> list[str]:
    lines = [f"loop over {loop.rows} x {loop.size // loop.rows}:"]
    for one in loop.operations:
        operands = ", ".join(_view(view, loop) + ("" if column else " repeated") for view, _, column in one.operands)
        lines.append(f"    {_value(one.result, loop)} = {one.function}({operands})")
    return lines


def _operand(one: Operand) -> str:
    return _view(one) if isinstance(one, View) else _value(one) if isinstance(one, Value) else str(one)


def _view(view: View, loop: Loop | None = None) -> str:
    return _value(view.value, loop) + (f"+{view.offset}" if view.offset else "")


def _value(value: Value, loop: Loop | None = None) -> str:
    if loop is not None and value in loop.registers:
        return f"r{loop.registers[value]}"
    return f"{value.slot}{value.place}"
