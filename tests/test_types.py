"""What the checker of types is told: which files it reads, and why it looks away where it does."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
REASONED = re.compile(r"# type: ignore\[[\w, -]+\]  # \S+")


def sources():
    """Every file that is checked."""
    for name in MYPY["files"]:
        path = ROOT / name
        assert path.exists(), name
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def test_every_error_that_is_left_has_its_code_and_its_reason():
    lines = [(path, line) for path in sources() for line in path.read_text().splitlines() if "type: ignore" in line]
    assert [(path.name, line.strip()) for path, line in lines if not REASONED.search(line)] == []
    assert len(lines) < 15, "a wrong or vague type is cured where it stands"


def test_the_lock_has_the_checker():
    assert re.search(r"^mypy==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_the_types_of_the_library_are_for_its_users_too():
    assert (ROOT / "shb" / "py.typed").exists()  # that it is in the wheel: test_wheel.py
