"""What Python and the native code call by number, in one place: `header` is the C++ of it, written when that is built.

A new name is added here. Without its part in C++ (a case of `apply` in native/pointwise.h, a struct of that name in
native/instructions.h) the native code does not compile.
"""

from __future__ import annotations

import torch

_TYPES = (  # dtypes of values on a tape: torch's, its name in C++, torch's scalar type there
    (torch.float32, "F32", "kFloat"),
    (torch.float64, "F64", "kDouble"),
    (torch.bool, "BOOL", "kBool"),
    (torch.int64, "I64", "kLong"),
    (torch.int8, "I8", "kChar"),
    (torch.uint8, "U8", "kByte"),
)
DTYPES = {dtype: number for number, (dtype, _, _) in enumerate(_TYPES)}
FUNCTIONS = (  # elementwise, of a tape's loops
    *("add", "sub", "mul", "div", "maximum", "minimum", "and", "or", "xor", "eq", "ne", "lt", "le", "gt", "ge"),
    *("threshold", "neg", "abs", "sign", "sqrt", "reciprocal", "relu", "not", "copy", "where"),
)
OPCODES = (  # instructions of a tape
    *("loop", "contiguous", "index_select", "sum", "argmax", "log_softmax", "log_softmax_backward", "product", "any"),
    *("convolution", "convolution_input", "convolution_weight", "rectifier", "rectifier_input", "rectifier_weight"),
    *("rectifier_bias", "max_pool", "max_pool_backward"),
)
SLOTS = (
    "input",
    "shared",
    "fixed",
    "output",
    "flag",
    "scratch",
)  # where a value of a tape lies; shared: by all members
PLACES = ("memory", "register")  # where an operand of a loop lies: in a value, or in memory of the loop
KINDS = (
    "members",
    "common",
    "bits",
)  # of an input of a recurrence: a number of each member, one for all, signs as bits
ALIGNMENT = 64  # bytes, of values in scratch memory
NOWHERE = 255  # in the place of the cell of a window that was its maximum: the maximum passed no ReLU


def header() -> str:
    """The C++ header `enumerations.h`: X_DTYPES and the like apply a macro to every name."""
    enumerations = {
        "Dtype": [name for _, name, _ in _TYPES],
        "Function": FUNCTIONS,
        "Opcode": OPCODES,
        "Slot": SLOTS,
        "Place": PLACES,
        "Kind": KINDS,
    }
    lists = {
        "X_DTYPES": [f"{name}, at::{scalar}" for _, name, scalar in _TYPES],
        "X_FUNCTIONS": [name.upper() for name in FUNCTIONS],
        "X_OPCODES": [f"{name.upper()}, {name.title().replace('_', '')}" for name in OPCODES],
    }
    lines = [
        "// Written by shb/kernels/enumerations.py.",
        "#pragma once",
        "#include <cstdint>",
        "namespace shb {",
        *(f"enum {name} : int64_t {{ {', '.join(names).upper()} }};" for name, names in enumerations.items()),
        f"constexpr int64_t ALIGNMENT = {ALIGNMENT};",
        f"constexpr uint8_t NOWHERE = {NOWHERE};",
        "}  // namespace shb",
        *(f"#define {name}(X) {' '.join(f'X({arguments})' for arguments in names)}" for name, names in lists.items()),
    ]
    return "\n".join(lines) + "\n"
