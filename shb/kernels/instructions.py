"""Instructions of a tape: what they read and write, by name.

Value      memory of one member: an input, an output, or scratch memory of the thread that is at work
View       some elements of a value, as a strided tensor without data
Pointwise  one elementwise operation; those of one size that may follow each other become a Loop
Kernel     any other instruction
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


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
        """Size of one member."""
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
        """Values that it needs, in the order of its operands."""
        return [view.value for view, _, _ in self.operands]

    @property
    def results(self) -> list[Value]:
        """The value that it makes."""
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
        """Values that it needs and does not make."""
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
        """Values of memory that it needs, once for each use."""
        return [value for one in self.operations for value in one.reads if value not in self.registers]

    @property
    def results(self) -> list[Value]:
        """Values of memory that it makes; the others stay in registers."""
        return [one.result for one in self.operations if one.result not in self.registers]


class Output(NamedTuple):
    """Of a tape: a value's place among its results, or the index of the input that it is."""

    value: Value | None
    view: View | None
    passed: int = 0
