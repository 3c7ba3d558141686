"""A library in the cache is whole, tried and built once; what is damaged is built again."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from shb import folders, locks
from shb.errors import CompilationError
from shb.kernels import compiler
from shb.kernels.keeping import is_whole, remove_unused
from shb.kernels.library import build_source
from shb.training import why_not
from tests.bench.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}"),
    pytest.mark.skipif(locks.fcntl is None, reason="needs POSIX"),
]
THREE = "int three(void) { return 3; }"
BUILD = "import sys; from shb.kernels.library import build_source; print(build_source(sys.argv[1]))"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache and an empty folder for temporary files; nothing has been said yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SHB_TEMPORARY_FOLDER", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_said", set())
    folders.why_unusable.cache_clear()
    yield tmp_path / "cache" / "shb" / "kernels"
    folders.why_unusable.cache_clear()


@pytest.fixture
def slow_compiler(monkeypatch, tmp_path):
    """A compiler that takes a second and notes its calls in the file that is returned."""
    script, calls = tmp_path / "slow", tmp_path / "calls"
    real = shutil.which("g++") or shutil.which("c++")
    script.write_text(
        f'#!/bin/sh\n[ "$1" = -dM ] && exec {real} "$@"\necho $$ >> {calls}\nsleep ${{SLOW:-1}}\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    return calls


def call(path):
    return ctypes.CDLL(str(path)).three()


def start(source, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen([sys.executable, "-c", BUILD, source], env=environment, stdout=-1, stderr=-1, text=True)


def test_only_the_library_and_its_checksum_stay(cache):
    library = build_source(THREE, "three")
    assert call(library) == 3 and is_whole(library)
    assert sorted(path.suffix for path in cache.iterdir()) == [".sha256", ".so"]


def truncated(library):
    library.write_bytes(library.read_bytes()[:4096])


def empty(library):
    library.write_bytes(b"")


def flipped(library):
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)


def foreign(library):
    other = build_source("int four(void) { return 4; }")
    shutil.copy(other, library)


def foreign_with_checksum(library):
    other = build_source("int four(void) { return 4; }")
    shutil.copy(other, library)
    shutil.copy(other.with_suffix(".sha256"), library.with_suffix(".sha256"))


@pytest.mark.parametrize("noted", [True, False], ids=["checksum", "no checksum"])
@pytest.mark.parametrize("damage", [truncated, empty, flipped, foreign, foreign_with_checksum])
def test_a_damaged_library_is_built_again(cache, capfd, damage, noted):
    library = build_source(THREE, "three")
    damage(library)
    if not noted:
        if damage is flipped:
            pytest.skip("a flipped byte may leave a library that runs: that is what the checksum is for")
        library.with_suffix(".sha256").unlink()
    assert build_source(THREE, "three") == library and is_whole(library) and call(library) == 3
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and str(library) in error and "is damaged" in error


def test_a_library_without_a_checksum_that_runs_gets_one(cache, slow_compiler, capfd):
    library = build_source(THREE, "three")
    library.with_suffix(".sha256").unlink()
    assert build_source(THREE, "three") == library and is_whole(library)
    assert len(slow_compiler.read_text().splitlines()) == 1 and capfd.readouterr().err == ""


def test_what_was_built_but_does_not_run_is_not_kept(cache):
    with pytest.raises(CompilationError, match=r"does not run \(.*four.*\); XDG_CACHE_HOME"):
        build_source(THREE, "four")
    assert not list(cache.iterdir())


@pytest.mark.slow
def test_processes_that_need_the_same_library_build_it_once(cache, slow_compiler):
    started = [start(THREE) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in started}
    assert len(paths) == 1 and call(paths.pop()) == 3
    assert len(slow_compiler.read_text().splitlines()) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".sha256", ".so"]


def test_without_locks_it_is_built_all_the_same(cache, monkeypatch):
    def unsupported(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    assert call(build_source(THREE)) == 3


def gone(process_id):
    """Whether a process has ended, within ten seconds."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_an_end_of_the_process_ends_its_compiler(cache, slow_compiler, monkeypatch, how):
    process = start(THREE, SLOW="100")
    while not slow_compiler.exists() or not slow_compiler.read_text().endswith("\n"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert gone(int(slow_compiler.read_text()))
    left = list(cache.iterdir())
    assert not left or how == signal.SIGKILL  # which nothing can clean up after, but the next build
    assert call(build_source(THREE)) == 3
    assert sorted(path.suffix for path in cache.iterdir()) == [".sha256", ".so"]


def test_a_compiler_that_takes_too_long_is_ended(cache, slow_compiler, monkeypatch):
    monkeypatch.setenv("SLOW", "100")
    monkeypatch.setattr(compiler, "TIMEOUT", 0.5)
    with pytest.raises(CompilationError, match=r"slow took more than 0.5 s"):
        build_source(THREE)
    assert gone(int(slow_compiler.read_text())) and not list(cache.iterdir())


def test_a_folder_from_which_nothing_may_be_loaded_gives_way(cache, monkeypatch, capfd, tmp_path):
    original, only = os.statvfs, [str(tmp_path / "cache")]

    def statvfs(folder):
        found = original(folder)
        if not any(str(folder).startswith(name) for name in only):
            return found
        return os.statvfs_result((*found[:8], found[8] | os.ST_NOEXEC, *found[9:10]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    library = build_source(THREE)
    assert library.is_relative_to(tmp_path / f"shb-{os.getuid()}") and call(library) == 3
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "noexec" in error and "XDG_CACHE_HOME" in error
    only.append(str(tmp_path))
    with pytest.raises(CompilationError, match=r"noexec.*XDG_CACHE_HOME"):
        build_source(THREE + " ")


def test_what_nobody_uses_and_what_was_left_goes(tmp_path):
    for name in ("old.so", "old.sha256", "lost.sha256", "native_1.lock", "used.so", "used.sha256"):
        (tmp_path / name).write_text("")
    for name in ("native_1.build-x", "tmp1234", "native_2.build-y", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.o").write_text("")
    for name in ("old.so", "lost.sha256", "native_1.lock", "native_1.build-x", "tmp1234", "other", "used.sha256"):
        os.utime(tmp_path / name, (0, 0))
    remove_unused(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["native_2.build-y", "other", "used.sha256", "used.so"]
