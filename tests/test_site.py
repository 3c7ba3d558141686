"""The pages of `make docs`: all that is public is there, as its docstring says it, and nothing needs a connection."""

import html
import importlib.util
import inspect
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

for package in ("pdoc", "latex2mathml"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install '.[doc]')")
ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "docs" / "site"))
from public_api import defining_modules, public_modules, public_objects  # noqa: E402

spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site" / "build.py")
site_build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site_build)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages, relative path -> text."""
    folder = tmp_path_factory.mktemp("site")
    site_build.build(folder, sources=False)
    return folder, {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


def home(name):
    """The public module of a name."""
    return max((module for module in public_modules() if name.startswith(f"{module}.")), key=len)


def without_scripts(page):
    return re.sub(r"<(style|script|svg).*?</\1>", "", page, flags=re.DOTALL)


def text_of(page):
    """What a reader sees, squeezed."""
    return squeezed(html.unescape(re.sub(r"<[^>]+>", "", without_scripts(page))))


def squeezed(text):
    """Without white space and backquotes, which code blocks keep and other text loses."""
    return re.sub(r"[\s`]+", "", text)


def seen(line):
    """A line of a docstring as a page shows it: no marks of code, lists and tables."""
    for part in re.split(r" *\| *", line) if line.startswith("|") else [re.sub(r"^\s*\* ", "", line)]:
        if not re.fullmatch(r"[-\s]*", part):
            yield squeezed(part)


@pytest.mark.slow
def test_every_public_module_has_its_page_and_every_name_its_place(site):
    _, pages = site
    assert {f"{name.replace('.', '/')}.html" for name in [*public_modules(), *defining_modules()]} <= pages.keys()
    for module in public_modules():
        assert f'href="{module.replace(".", "/")}.html"' in pages["index.html"]
    for name, one in public_objects():
        module = home(name)
        place = name.removeprefix(f"{module}.")
        assert f'id="{place}"' in pages[f"{module.replace('.', '/')}.html"], name
        assert inspect.getdoc(one)


@pytest.mark.slow
def test_a_page_shows_every_line_of_its_docstrings(site):
    _, pages = site
    texts = {path: text_of(page) for path, page in pages.items()}
    docstrings = [(module, inspect.getdoc(sys.modules[module])) for module in [*public_modules(), *defining_modules()]]
    docstrings += [(home(name), inspect.getdoc(one)) for name, one in public_objects()]
    lines = [(module, line) for module, text in docstrings for line in text.splitlines() if line != "Args:"]
    assert len(lines) > 1500
    lost = [
        (module, line)
        for module, line in lines
        if any(part not in texts[f"{module.replace('.', '/')}.html"] for part in seen(line))
    ]
    assert lost == []


@pytest.mark.slow
def test_formulas_and_examples_are_code(site):
    _, pages = site
    for module in [*public_modules(), *defining_modules()]:
        code = "".join(re.findall(r"<pre>.*?</pre>", pages[f"{module.replace('.', '/')}.html"], re.S))
        shown = text_of(code)
        for line in inspect.getdoc(sys.modules[module]).splitlines():
            if line.startswith("    "):
                assert squeezed(line) in shown, (module, line)


@pytest.mark.slow
def test_nothing_is_fetched(site):
    folder, pages = site
    assert (folder / "search.js").stat().st_size > 10_000
    for path, page in pages.items():
        named = re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*?\b(?:src|href)=[\"']([^\"']*)", page)
        assert [one for one in named if not one.startswith("data:") and re.match(r"\w+:|//", one)] == [], path
        assert not re.search(r"@import|url\([\"']?(?:https?:|//)|script\.src = [\"'](?:https?:|//)", page), path


@pytest.mark.slow
def test_every_link_leads_somewhere(site):
    folder, pages = site
    identifiers = {path: set(re.findall(r'\bid="([^"]+)"', page)) for path, page in pages.items()}
    links = {
        (path, os.path.normpath(folder / Path(path).parent / unquote(target) if target else folder / path), anchor)
        for path, page in pages.items()
        for target, anchor in re.findall(r'<a\b[^>]*?\bhref="([^"#]*)(?:#([^"]*))?"', without_scripts(page))
        if not re.match(r"\w+:", target)
    }
    assert len(links) > 1000
    for path, place, anchor in links:
        assert os.path.exists(place), (path, place)
        there = os.path.relpath(place, folder)
        assert not anchor or there not in pages or unquote(anchor) in identifiers[there], (path, there, anchor)


@pytest.mark.slow
def test_formulas_of_a_document_are_drawn(site):
    _, pages = site
    theory = pages["documents/theory.html"]
    assert theory.count("<math") > 200
    assert not re.search(r"\$|\\[a-z]{3,}|FORMULA", re.sub(r"<code>.*?</code>", "", without_scripts(theory)))


def test_every_document_has_a_page():
    written = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    assert written == set(site_build.FILES)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("a <x, y> * b*c, **options", r"a &lt;x, y> \* b\*c, \*\*options"),
        ("`a <b>` * c", r"`a <b>` \* c"),
        ("A list:\n\n* one\n* two*", "A list: \n\n* one\n* two\\*"),
        ("A formula:\n\n    a * <b>\n\nc * d", "A formula: \n\n    a * <b>\n\nc \\* d"),
        ("Args:\n    a: [2 * n]\n\n    b: n * n", "Args:\n    a: [2 \\* n]\n\n    b: n \\* n"),
        (">>> 2 * 3 < 7\nTrue\n\n2 * 3", ">>> 2 * 3 < 7\nTrue\n\n2 \\* 3"),
    ],
)
def test_what_only_looks_like_markdown_is_escaped(docstring, expected):
    assert site_build.escaped(docstring) == expected
