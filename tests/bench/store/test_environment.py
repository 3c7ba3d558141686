"""What a result says of the code and the machine that computed it."""

import subprocess

import pytest
import torch

import bench.store.environment
from bench.store.environment import code_version, cpu_name, environment
from bench.store.schema import MEMBER_SCHEMA


def test_the_columns_are_in_the_schema_with_their_types():
    columns = environment("cpu")
    types = {"String": str, "Boolean": bool, "Int64": int}
    for name, value in columns.items():
        assert isinstance(value, types[str(MEMBER_SCHEMA[name])]), name
        assert isinstance(value, bool) == (name == "code_dirty")
    assert columns["threads"] == torch.get_num_threads() and columns["torch"] == torch.__version__
    assert columns["device_name"] == "cpu" and columns["cpu"] == cpu_name() != ""
    assert columns.keys() == {
        "code_commit",
        "code_dirty",
        "python",
        "torch",
        "platform",
        "cpu",
        "device_name",
        "threads",
    }


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with the folders of this project, which is asked instead of ours."""
    for folder in ("shb", "bench", "conf", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(bench.store.environment, "ROOT", tmp_path)
    return tmp_path


def version():
    return code_version.__wrapped__()  # not the one remembered for this process


def test_a_clean_checkout(checkout):
    assert version() == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "docs" / "file").write_text("2")
    assert version()[1] is False  # no part of what computes


@pytest.mark.parametrize("changed", ["shb/file", "bench/file", "conf/file", "shb/new"])
def test_a_change_of_code_or_configuration_is_dirty(checkout, changed):
    (checkout / changed).write_text("2")
    assert version() == (git(checkout, "rev-parse", "HEAD"), True)


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(bench.store.environment, "ROOT", tmp_path)
    assert version() == ("unknown", True)
    monkeypatch.setenv("PATH", "")
    assert version() == ("unknown", True)
