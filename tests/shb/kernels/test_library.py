"""What is built once per machine, and what cannot be built is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shb.errors import CompilationError
from shb.kernels import library
from shb.kernels.compiler import call_compiler, compiler
from shb.training import why_not

can_compile = pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_without_a_compiler_it_says_so(empty_cache, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(CompilationError, match=r"no C\+\+ compiler: none of g\+\+, c\+\+ is in PATH"):
        library.load.__wrapped__()


def test_a_compiler_that_fails_is_quoted(empty_cache, monkeypatch):
    compiler = empty_cache / "broken"
    compiler.write_text("#!/bin/sh\necho first >&2; echo 'x.h:1: fatal error: no such file' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompilationError, match=r"broken failed: x.h:1: fatal error: no such file"):
        library.load.__wrapped__()
    assert not list((empty_cache / "shb" / "kernels").iterdir())  # nothing that a later call could take for a library


@pytest.mark.parametrize(
    ("macros", "found"),
    [("#define __GNUC__ 11", "GCC 11"), ("#define __clang_major__ 10\n#define __GNUC__ 4", "clang 10")],
)
def test_a_compiler_that_is_too_old_is_named_with_what_is_needed(empty_cache, monkeypatch, macros, found):
    compiler = empty_cache / "old"
    compiler.write_text(f"#!/bin/sh\ncat <<END\n{macros}\nEND\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompilationError) as caught:
        library.load.__wrapped__()
    assert str(caught.value) == f"{compiler} is {found}; the native operations need GCC 12 or clang 11, or newer"


@can_compile
def test_a_processor_without_fused_multiply_adds_is_refused(tmp_path):
    source = tmp_path / "tile.cpp"
    undefined = "".join(f"#undef {name}\n" for name in ("__FMA__", "__ARM_FEATURE_FMA", "__FP_FAST_FMAF"))
    source.write_text(f'{undefined}#include "{library.SOURCE.with_name("tile.h")}"\n')
    with pytest.raises(CompilationError, match="this processor has no fused multiply-add"):
        call_compiler([compiler(), "-E", *library.FLAGS, str(source), "-o", os.devnull], tmp_path)


@can_compile  # the compiler is part of the key
def test_the_key_depends_on_source_and_processor(monkeypatch):
    before = library._name()
    monkeypatch.setattr(library, "header", lambda: "another one")
    renumbered = library._name()
    monkeypatch.setattr(library, "_processor", lambda: "another one")
    other = library._name()
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-O0"))
    assert len({before, renumbered, other, library._name()}) == 4


@can_compile
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_the_library_uses_the_threads_of_torch():
    """A second OpenMP runtime would have threads of its own, that spin while torch's work."""
    code = (
        "from shb.kernels import load; load(); "
        "print(len({line.split()[-1] for line in open('/proc/self/maps') if 'libgomp' in line}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
