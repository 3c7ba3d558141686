"""Every relative link of a document leads to a file, and to a heading of it; paths and commands in its text exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]


@pytest.mark.parametrize("path", sorted(DOCUMENTS), ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(path):
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            ids = set(re.findall(r'<a (?:id|name)="([^"]+)"', file.read_text()))
            assert anchor in slugs | ids, f"{target}#{anchor}"


@pytest.mark.parametrize("path", sorted(DOCUMENTS), ids=lambda path: path.name)
def test_every_command_of_bench_exists(path):
    for name in set(re.findall(r"python -m (bench[\w.]*\w)", path.read_text())):
        found = importlib.util.find_spec(name)
        assert found and (found.submodule_search_locations is None or importlib.util.find_spec(f"{name}.__main__")), (
            name
        )


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_every_path_in_the_text_exists(name):
    for text in re.findall(r"`([\w.-]+/[\w./-]*)`", (ROOT / name).read_text()):
        assert "NAME" in text or (ROOT / text).exists(), text
