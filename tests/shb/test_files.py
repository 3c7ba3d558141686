"""A file is there whole or not at all."""

import errno
import os
import stat

import pytest

from shb.files import replacing, write_whole


def test_a_file_is_replaced_with_the_permissions_of_the_umask(tmp_path):
    path = tmp_path / "a" / "b.txt"
    before = os.umask(0o027)
    try:
        write_whole(path, "old")
        write_whole(path, "né")
    finally:
        os.umask(before)
    assert path.read_bytes() == "né".encode() and os.listdir(path.parent) == ["b.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, monkeypatch, function):
    path = tmp_path / "b.txt"
    write_whole(path, "old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError) as error:
        write_whole(path, "new")
    assert error.value.filename == str(path) and error.value.errno == errno.ENOSPC  # the system does not say which file
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["b.txt"]


def test_an_interruption_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "b.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    write_whole(tmp_path / ("n" * 255), "x")
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / ("n" * 256), "x")
    assert len(os.listdir(tmp_path)) == 1
