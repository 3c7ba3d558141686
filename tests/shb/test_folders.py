"""Where the usual cache cannot be written, a private temporary folder takes its place, with one line."""

import os
import stat
import tempfile

import pytest

from shb import folders
from shb.folders import cache_folder, temporary_folder, why_unusable


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A folder for temporary files of the test's own, and a process that has said nothing yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_said", set())
    for name in ("XDG_CACHE_HOME", "SHB_TEMPORARY_FOLDER"):
        monkeypatch.setenv(name, "")  # remembered, so that what the code sets is undone
        monkeypatch.delenv(name)
    why_unusable.cache_clear()
    yield tmp_path
    why_unusable.cache_clear()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs user ids")
@pytest.mark.parametrize("home", ["/dev/null", None], ids=["no folder", "no home"])
def test_a_home_that_cannot_be_used_costs_one_line(place, monkeypatch, capsys, home):
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    else:
        import pwd

        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert cache_folder() == cache_folder() == place / f"shb-{os.getuid()}"
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "XDG_CACHE_HOME" in error and ("/dev/null" if home else "no home") in error
    monkeypatch.setattr(folders, "_said", set())  # as in a process that this one starts
    cache_folder()
    assert capsys.readouterr().err == ""


def test_a_cache_that_can_be_written_is_used(place, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    assert cache_folder() == place / "cache" / "shb" and capsys.readouterr().err == ""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(place))
    assert cache_folder() == place / ".cache" / "shb"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs user ids")
@pytest.mark.parametrize("planted", ["link", "open", "file", "foreign"])
def test_a_temporary_folder_of_somebody_else_is_not_used(place, monkeypatch, planted):
    taken = place / f"shb-{os.getuid()}"
    if planted == "link":
        (place / "elsewhere").mkdir(mode=0o700)
        taken.symlink_to(place / "elsewhere")
    elif planted == "file":
        taken.write_text("")
    else:
        taken.mkdir()
        taken.chmod(0o777 if planted == "open" else 0o700)
    if planted == "foreign":
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
        (place / f"shb-{own + 1}").mkdir(mode=0o700)  # of user `own`
        monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(place / f"{prefix}new"))
        assert temporary_folder() == place / "shb-new"
        return
    found = temporary_folder()
    assert found != taken and found.parent == place and stat.S_IMODE(found.stat().st_mode) == 0o700
    assert temporary_folder() == found  # the same for as long as the process lasts
