"""Python and the native code have the same numbers, since the C++ is written from the Python."""

import re

import pytest

from shb.kernels import enumerations, recurrence

HEADER = enumerations.header()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Dtype", ("f32", "f64", "bool", "i64", "i8", "u8")),
        *(
            (name, getattr(enumerations, f"{name.upper()}S"))
            for name in ("Function", "Opcode", "Slot", "Place", "Kind")
        ),
    ],
)
def test_the_header_numbers_names_as_python_does(name, expected):
    (names,) = re.findall(rf"enum {name} : int64_t {{ (.*) }};", HEADER)
    assert tuple(names.lower().split(", ")) == expected
    assert len(enumerations.DTYPES) == 6


def test_the_lists_have_every_name():
    (functions,) = re.findall(r"#define X_FUNCTIONS\(X\) (.*)", HEADER)
    assert re.findall(r"X\((\w+)\)", functions) == [name.upper() for name in enumerations.FUNCTIONS]
    (opcodes,) = re.findall(r"#define X_OPCODES\(X\) (.*)", HEADER)
    pairs = re.findall(r"X\((\w+), (\w+)\)", opcodes)
    assert [name.lower() for name, _ in pairs] == list(enumerations.OPCODES)
    assert ("LOG_SOFTMAX_BACKWARD", "LogSoftmaxBackward") in pairs


def test_a_recurrence_has_every_function_of_a_tape():
    assert {*recurrence._EXPRESSIONS, *recurrence._FLOATING} == set(enumerations.FUNCTIONS)
