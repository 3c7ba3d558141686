"""The native code, built with AddressSanitizer and UndefinedBehaviorSanitizer, under its own tests.

A read or write outside a tensor ends the process, and so the run, with a report; so does undefined arithmetic.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shb.kernels.compiler import compiler
from shb.training import why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}"),
]

RUNTIMES = ("libasan.so", "libubsan.so")
TESTS = ("test_tape.py", "test_native.py", "test_convolution.py", "test_random_programs.py::test_random_programs[0]")
# an int32 tensor of 4 numbers, of which one that it does not have is read
OVERREAD = """
import ctypes, torch
from shb.kernels.library import build_source
library = ctypes.CDLL(str(build_source("int at(const int *x, long i) { return x[i]; }", "at")))
x = torch.arange(4, dtype=torch.int32)
print("inside:", library.at(ctypes.c_void_p(x.data_ptr()), ctypes.c_long(3)), flush=True)
library.at(ctypes.c_void_p(x.data_ptr()), ctypes.c_long(int(PLACE)))
"""
OVERFLOW = """
import ctypes
from shb.kernels.library import build_source
library = ctypes.CDLL(str(build_source("int next(int x) { return x + 1; }", "next")))
print("inside:", library.next(2), flush=True)
library.next(2**31 - 1)
"""


def sanitized(*arguments):
    """Run Python with what the sanitizers need; skips where the compiler does not have them."""
    found = [subprocess.check_output([compiler(), f"-print-file-name={name}"], text=True).strip() for name in RUNTIMES]
    if not all(Path(path).is_absolute() for path in found):
        pytest.skip(f"{compiler()} comes without {' and '.join(RUNTIMES)}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"SHB_SANITIZE": "1", "LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=580)


def test_a_read_outside_a_tensor_is_seen():
    done = sanitized("-c", OVERREAD.replace("PLACE", "'4000'"))  # far behind: torch rounds up what it allocates
    assert "inside: 3" in done.stdout
    assert done.returncode != 0 and "AddressSanitizer: " in done.stderr, done.stderr[-2000:]


def test_undefined_arithmetic_is_seen():
    done = sanitized("-c", OVERFLOW)
    assert "inside: 3" in done.stdout
    assert done.returncode != 0 and "signed integer overflow" in done.stderr, done.stderr[-2000:]


def test_the_native_code_is_clean():
    folder = Path(__file__).parent
    chosen = [str(folder / name) for name in TESTS]
    options = ["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--capture=sys"]  # reports go to the real stderr
    done = sanitized("-m", "pytest", *options, *chosen)
    report = done.stderr.find("ERROR: AddressSanitizer")  # else a failed test, or undefined arithmetic
    assert done.returncode == 0, done.stderr[report:][:2000] if report >= 0 else (done.stdout + done.stderr)[-4000:]
