"""A recurrence: the tape of members of one number each, as one compiled loop that takes them through many steps.

A tape goes through memory once per step; here what a member carries stays in registers and first-level cache for all
the steps of a call. Both do the same correctly rounded operations in the same order: they have the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from shb.kernels.enumerations import DTYPES, KINDS
from shb.kernels.instructions import Pointwise, Unsupported, Value
from shb.kernels.library import build_source
from shb.kernels.tape import Tape

_WIDTH = 256  # members that are taken through all steps together
_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "int64_t",
    torch.int8: "int8_t",
    torch.uint8: "uint8_t",
    torch.bool: "flag",
}
_MEMORY = {**_TYPES, torch.bool: "uint8_t"}
_EXPRESSIONS = {  # C of the functions of a tape, with the roundings of native/pointwise.h
    **{name: f"{{}} {sign} {{}}" for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"))},
    **{name: f"{{}} {sign} {{}}" for name, sign in (("and", "&"), ("or", "|"), ("xor", "^"), ("eq", "=="))},
    **{name: f"{{}} {sign} {{}}" for name, sign in (("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"))},
    "ge": "{} >= {}",
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "threshold": "{1} <= 0 ? 0 : {0}",
    "neg": "-{}",
    "sign": "({0} > 0) - ({0} < 0)",
    "reciprocal": "1 / {}",
    "relu": "{0} <= 0 ? 0 : {0}",
    "not": "!{}",
    "copy": "{}",
    "where": "{} ? {} : {}",
}
_FLOATING = {"abs": "fabs", "sqrt": "sqrt"}  # with the suffix f in float32
_TEMPLATE = """\
#include <math.h>
#include <stdint.h>

enum {{ WIDTH = {width} }};
typedef {flag} flag;

// Members 0 .. members - 1 by `steps` steps; in: first element of every input, stride: its bytes from step to step.
// Returns whether the numbers of one of them are not finite (the output of the tape that is its flag).
int64_t advance(const char* const* in, const int64_t* stride, char* const* out, int64_t members, int64_t steps) {{
    flag not_finite = 0;
    for (int64_t first = 0; first < members; first += WIDTH) {{
        const int64_t n = members - first < WIDTH ? members - first : WIDTH;
{arrays}
        for (int64_t i = 0; i < n; i++) {{
{loads}
        }}
        for (int64_t k = 0; k < steps; k++) {{
{varying}
#pragma GCC ivdep
            for (int64_t i = 0; i < n; i++) {{
{body}
            }}
        }}
        for (int64_t i = 0; i < n; i++) {{
{late}
{stores}
        }}
    }}
    return not_finite != 0;
}}
"""


class Recurrence:
    """`(carried, varying) -> (carried after all steps, not_finite)`.

    Args:
        tape: its first inputs and first outputs are what is carried; then come the numbers that vary with the step, and
            one more output, the flag `not_finite` (of any member, after any step).
        carried: number of carried tensors.
        signs: index of an input that is +1 or -1 and given as bits: int64 [1, members], of which bit k is 1 where the
            number of step k is +1. None if there is none.

    Raises:
        Unsupported: members of more than one number, or an instruction that is not elementwise.
        CompilationError: no compiler, or what it says.
    """

    def __init__(self, tape: Tape, carried: int, signs: int | None = None) -> None:
        self.source = _source(tape, carried, signs)
        self._expected = [n for i, v in enumerate(tape.inputs) for n in _expected(v, i == signs)]
        self._library = ctypes.CDLL(str(build_source(self.source, "advance")))  # kept: the loop is in it
        self._address = ctypes.cast(self._library.advance, ctypes.c_void_p).value

    def __call__(self, carried: Sequence[Tensor], varying: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """`carried`: [members, ...] each; `varying`: [steps, members, ...], or [steps] where members share a number.

        The last of `varying` has a row for every step.
        """
        rows = [t.flatten(1) if t.ndim > 1 else t for t in varying]
        *new, not_finite = torch.ops.shb.native_recurrence(self._address, self._expected, list(carried), rows)
        return new, not_finite


def _expected(value: Value, signs: bool) -> tuple[int, int]:
    """Dtype and kind of an input."""
    kind = "bits" if signs else "common" if value.common else "members"
    return DTYPES[torch.int64 if signs else value.dtype], KINDS.index(kind)


def _source(tape: Tape, carried: int, signs: int | None) -> str:
    made = [one for one in tape.instructions if isinstance(one, Pointwise)]
    *others, last = [one for one in tape.instructions if not isinstance(one, Pointwise)]
    if others or last.opcode != "any" or len(tape.outputs) != carried + 1:
        raise Unsupported("a recurrence of operations that are not elementwise")
    if any(value.size != 1 for value in (*tape.inputs, *(one.result for one in made))):
        raise Unsupported("a recurrence of members of more than one number")
    if any(one.value is None and one.passed != i for i, one in enumerate(tape.outputs[:carried])):
        raise Unsupported("a recurrence that exchanges what it carries")
    own, given = list(enumerate(tape.inputs))[:carried], list(enumerate(tape.inputs))[carried:]
    results = [(i, one.value) for i, one in enumerate(tape.outputs[:carried]) if one.value is not None]
    watched = last.reads[0]
    afterwards = _afterwards(tape, made, [value for _, value in results], watched)
    names = {value: f"in{i}" for i, value in enumerate(tape.inputs)}
    wide = any(v.dtype in (torch.float64, torch.int64) for v in (*names, *(one.result for one in made)))
    loads = [f"const {_TYPES[v.dtype]} in{i} = carried{i}[i];" for i, v in own]
    varying, body = [], []
    for i, value in given:
        type_, pointer = _TYPES[value.dtype], f"({_pointer(value)})(in[{i}] + k * stride[{i}])"
        if value.common:
            varying.append(f"const {type_} in{i} = *{pointer};")
        elif i == signs:
            type_ = _TYPES[_used(value, made).dtype]
            varying.append(f"const int64_t* bits{i} = (const int64_t*)in[{i}] + first;")
            sign = f"(int64_t)((uint64_t)bits{i}[i] << (63 - k)) < 0 ? 1 : -1"
            if wide:
                body.append(f"const {type_} in{i} = {sign};")
            else:
                varying += [f"{type_} wide{i}[WIDTH];", f"for (int64_t i = 0; i < n; i++) wide{i}[i] = {sign};"]
                body.append(f"const {type_} in{i} = wide{i}[i];")
        elif value.dtype.itemsize == (8 if wide else 4):
            varying.append(f"{_pointer(value)} from{i} = {pointer} + first;")
            body.append(f"const {type_} in{i} = from{i}[i];")
        else:  # in a loop before: numbers of one width make one kind of vector
            used = _used(value, made)
            varying.append(f"{_TYPES[used.dtype]} wide{i}[WIDTH];")
            varying.append(f"for (int64_t i = 0; i < n; i++) wide{i}[i] = ({pointer})[first + i];")
            body.append(f"const {_TYPES[used.dtype]} in{i} = wide{i}[i];")
    now = [one for one in made if one not in afterwards]
    body += _statements(now, names, tape.fixed)
    flag = [f"not_finite |= {names[watched]};"] if watched in names else []
    body += [*flag, *(f"carried{i}[i] = {names[value]};" for i, value in results)]
    end = {**names, **{value: f"carried{i}[i]" for i, value in results}}
    late = _statements(afterwards, end, tape.fixed)
    if not flag:
        late += [f"not_finite |= {end[watched]};"]
    return _TEMPLATE.format(
        width=_WIDTH,
        flag="int64_t" if wide else "int32_t",  # as wide as the numbers: a vector of flags fits one of numbers
        arrays=_lines(2, [f"{_TYPES[v.dtype]} carried{i}[WIDTH];" for i, v in own]),
        loads=_lines(3, [f"carried{i}[i] = (({_pointer(v)})in[{i}])[first + i];" for i, v in own]),
        varying=_lines(3, varying),
        body=_lines(4, [*loads, *body]),
        late=_lines(3, [*loads, *late] if late else []),
        stores=_lines(3, [f"(({_MEMORY[v.dtype]}*)out[{i}])[first + i] = carried{i}[i];" for i, v in own]),
    )


def _used(value: Value, made: Sequence[Pointwise]) -> Value:
    """What the operations take of an input: its conversion, if there is one."""
    return next((one.result for one in made if value in one.reads and one.function == "copy"), value)


def _afterwards(tape: Tape, made: Sequence[Pointwise], results: Sequence[Value], watched: Value) -> list[Pointwise]:
    """Operations that only the non-finite flag needs, and that may wait until after the last step.

    They may if the flag checks only updates of the form w' = w + ..., because inf and NaN then persist. Otherwise the
    flag is checked after every step.
    """
    makers = {one.result: one for one in made}

    def needed(values: Sequence[Value]) -> set[Pointwise]:
        found, stack = set(), [makers[v] for v in values if v in makers]
        while stack:
            one = stack.pop()
            if one not in found:
                found.add(one)
                stack += [makers[v] for v in one.reads if v in makers]
        return found

    only = needed([watched]) - needed(results)
    place = {value: i for i, value in enumerate(tape.inputs)}
    for value in {v for one in only for v in one.reads} - {one.result for one in only}:
        if value in results:
            maker, i = makers[value], [one.value for one in tape.outputs].index(value)
            if (
                maker.function not in ("add", "sub")
                or tape.inputs[i] not in maker.reads[: 1 + (maker.function == "add")]
            ):
                return []
        elif value.slot != "fixed" and (value not in place or tape.outputs[place[value]].value is not None):
            return []
    return [one for one in made if one in only]


def _statements(operations: Sequence[Pointwise], names: dict[Value, str], fixed: Sequence[Tensor]) -> list[str]:
    """C of the operations, whose results get their `names` here."""
    lines = []
    for one in operations:
        reads = [_literal(fixed[v.place]) if v.slot == "fixed" else names[v] for v in one.reads]
        names[one.result] = f"x{len(names)}"
        lines.append(f"const {_TYPES[one.result.dtype]} {names[one.result]} = {_expression(one, reads)};")
    return lines


def _pointer(value: Value) -> str:
    return f"const {_MEMORY[value.dtype]}*"


def _lines(depth: int, lines: Sequence[str]) -> str:
    return "\n".join("    " * depth + line for line in lines)


def _literal(number: Tensor) -> str:
    if number.numel() != 1:
        raise Unsupported("a recurrence with a table")
    if not number.dtype.is_floating_point:
        return f"(({_TYPES[number.dtype]}){int(number.item())})"
    x = float(number.item())
    text = "NAN" if x != x else "INFINITY" if x == float("inf") else "-INFINITY" if x == -float("inf") else x.hex()
    return f"(({_TYPES[number.dtype]}){text})"


def _expression(one: Pointwise, operands: Sequence[str]) -> str:
    dtype = one.reads[-1].dtype
    if one.function in _FLOATING:
        return f"{_FLOATING[one.function]}{'f' if dtype == torch.float32 else ''}({operands[0]})"
    if one.function == "copy" and one.result.dtype == torch.bool:
        return f"{operands[0]} != 0"
    if one.function not in _EXPRESSIONS:
        raise Unsupported(one.function)
    return _EXPRESSIONS[one.function].format(*operands)
