"""Builds the reference of `shb` as web pages that open offline: `python docs/site/build.py FOLDER` (`make docs`).

One page for each public module (`public_api.py`) and for each module in which something public is defined, whose text
has the formulas; the written documents as pages beside them. Docstrings are plain text with formulas: what Markdown
would take for its own (`*`, `<x, y>`) is escaped, so that a page shows what the docstring says.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, ForwardRef

import jinja2
import latex2mathml.converter
import markdown2
import pdoc.doc
import pdoc.render
import pdoc.render_helpers
import pdoc.search
from markupsafe import Markup
from numpy.typing import ArrayLike
from public_api import HOOKS, defining_modules, public_modules, public_objects

SITE = Path(__file__).resolve().parent
ROOT = SITE.parent.parent
DOCUMENTS = {  # title of a group -> its files, in reading order
    "Begin": [
        "README.md",
        "docs/extend.md",
        "docs/practice.md",
        "docs/glossary.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ],
    "Theory": ["docs/theory.md", "docs/claims.md"],
    "Results": ["docs/results.md", "docs/ranking.md", "docs/report.md", "docs/published.md"],
    "Inside": ["docs/architecture.md", "docs/kernels.md"],
    "Decisions": sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "decisions").glob("*.md")),
}
FILES = [file for group in DOCUMENTS.values() for file in group]
_SECTIONS = "Args|Attributes|Example|Raises|Returns"
_EXTRAS = ["code-friendly", "cuddled-lists", "fenced-code-blocks", "header-ids", "tables"]


def build(output: Path, *, sources: bool = True) -> None:
    """Write all pages below `output`; what was there goes.

    Args:
        sources: with the code of what a page describes, a third of the time.

    Raises:
        RuntimeError: a module that cannot be imported, a docstring that cannot be converted.
        jinja2.TemplateError: a template that cannot be rendered.
    """
    pages = {name: pdoc.doc.Module.from_name(name) for name in [*public_modules(), *defining_modules()]}
    for module in pages.values():
        for name in getattr(module.obj, "__all__", ()):
            getattr(module.obj, name)  # some are found when they are asked for: pdoc looks at what is there
    _configure(pages, sources)
    warnings.filterwarnings("ignore", "Error parsing type annotation")  # of NamedTuples: shown as written
    shutil.rmtree(output, ignore_errors=True)
    for name, module in pages.items():
        _write(output / _page(name), pdoc.render.html_module(module, pages))
    for file in FILES:
        _write(output / _document(file), _written(file, output, pages))
    landing = pdoc.render.env.get_template("landing.html.jinja2")
    page = landing.render(all_modules=pages, module=pages["shb"])
    _write(output / "index.html", page.replace('href="#', 'href="shb.html#'))
    _write(output / "search.js", pdoc.render.search_index(pages))


def _configure(pages: dict[str, pdoc.doc.Module], sources: bool) -> None:
    pdoc.render.configure(docformat="google", template_directory=SITE / "templates", show_source=sources)
    environment = pdoc.render.env
    environment.filters |= {
        "to_markdown": _to_markdown,
        "to_html": _to_html,
        "format_signature": _signature,
        "link": _link,
    }
    environment.tests["in_module"] = lambda name, module: module != "shb" and name.startswith(f"{module}.")
    pdoc.search.to_markdown = _markdown
    public = public_modules()
    environment.globals |= {
        "faces": [name for name in public if name in pages],
        "public_modules": public,
        "is_hidden": lambda doc: doc.name in HOOKS or (inspect.isclass(doc.obj) and doc.kind == "variable"),  # Array
        "public_definitions": {f"{one.__module__}:{one.__qualname__}" for _, one in public_objects() if _named(one)},
        "documents": {group: [(_title(file), _document(file)) for file in files] for group, files in DOCUMENTS.items()},
    }


def _named(one: object) -> bool:
    return hasattr(one, "__module__") and hasattr(one, "__qualname__")


def _page(module: str) -> str:
    return f"{module.replace('.', '/')}.html"


def _document(file: str) -> str:
    """Where the page of a written document lies."""
    return f"documents/{file.removeprefix('docs/').removesuffix('.md')}.html"


def _title(file: str) -> str:
    return re.search(r"^# (.*)", (ROOT / file).read_text(), re.MULTILINE)[1].replace("`", "")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- docstrings -----------------------------------------------------------------------------------------------


def _markdown(docstring: str, module: pdoc.doc.Module, docformat: str) -> str:
    return pdoc.render_helpers.to_markdown(escaped(docstring), module, docformat)


@jinja2.pass_context
def _to_markdown(context: jinja2.runtime.Context, docstring: str) -> str:
    return _markdown(docstring, context["module"], context["docformat"])


@jinja2.pass_context
def _to_html(context: jinja2.runtime.Context, text: str) -> str:
    """As pdoc has it, and "theory.md section 3" leads to the section."""
    up = "../" * context["module"].modulename.count(".")
    html = pdoc.render_helpers.to_html(text)
    linked = type(html)(re.sub(r"\b(?:docs/)?([a-z]+)\.md\b(?:,? section (\d+(?:\.\d)?))?", _link_to(up), html))
    linked.toc_html = html.toc_html
    return linked


@jinja2.pass_context
def _link(context: jinja2.runtime.Context, spec: tuple[str, str], text: str | None = None) -> Markup:
    """As pdoc has it, but what is not public has no place to lead to: a base that starts with an underscore."""
    module, name = spec
    known = module in context["public_modules"] or f"{module}:{name.split('.')[0]}" in context["public_definitions"]
    return pdoc.render_helpers.link(context, spec, text) if known or not name else Markup.escape(text or name)


class _Written:
    """An annotation by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _signature(signature: inspect.Signature, colon: bool) -> Markup:
    """As pdoc has it, but with the names in the code where they say more than what they stand for."""

    def written(annotation: object) -> object:
        if isinstance(annotation, ForwardRef):
            return _Written(annotation.__forward_arg__)
        return _Written("ArrayLike") if annotation == ArrayLike else annotation

    parameters = [p.replace(annotation=written(p.annotation)) for p in signature.parameters.values()]
    signature = signature.replace(parameters=parameters, return_annotation=written(signature.return_annotation))
    return pdoc.render_helpers.format_signature(signature, colon)


def _link_to(up: str) -> Any:
    def link(found: re.Match) -> str:
        file, section = f"docs/{found[1]}.md", found[2]
        if file not in FILES:
            return found[0]
        return f'<a href="{up}{_document(file)}{_section(file, section) if section else ""}">{found[0]}</a>'

    return link


def _section(file: str, number: str) -> str:
    heading = re.search(rf"^#+ ({re.escape(number)} .*)", (ROOT / file).read_text(), re.MULTILINE)
    return f"#{slug(heading[1])}" if heading else ""


def escaped(docstring: str) -> str:
    """`docstring` with what only looks like Markdown escaped, outside code: `<`, `*` but for a list's, and sentences
    that end with a colon, which are no sections."""
    done: list[str] = []
    for kind, lines in _blocks(docstring):
        text = "\n".join(lines)
        if kind == "text":
            parts = re.split(r"(`+[^`]+`+)", text)
            parts[::2] = [p.replace("<", "&lt;").replace("*", r"\*") for p in parts[::2]]
            text = re.sub(r"^( *)\\\* ", r"\1* ", "".join(parts), flags=re.MULTILINE)
            text = re.sub(rf"^(?!(?:{_SECTIONS}):$)([A-Z][A-Z a-z]+:)$", r"\1 ", text, flags=re.MULTILINE)
        done.append(text)
    return "\n".join(done)


def _blocks(docstring: str) -> list[tuple[str, list[str]]]:
    """Runs of lines that are text, and runs that are code: indented after an empty line, or a doctest."""
    blocks: list[tuple[str, list[str]]] = []
    section, kind, empty = 0, "text", True
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            kind = "text" if kind == "doctest" else kind
            empty = True
        else:
            if indent == 0:
                section = 4 if re.fullmatch(rf"(?:{_SECTIONS}):", line) else 0
            if line.lstrip().startswith(">>> "):
                kind = "doctest"
            elif kind != "doctest" and indent < section + 4:
                kind = "text"
            elif empty and indent >= section + 4:
                kind = "code"
            empty = False
        if not blocks or blocks[-1][0] != kind:
            blocks.append((kind, []))
        blocks[-1][1].append(line)
    return blocks


# -- written documents ----------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor of a heading, as the host of the repository makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _written(file: str, output: Path, pages: dict[str, pdoc.doc.Module]) -> str:
    source, page = ROOT / file, output / _document(file)

    def target(found: re.Match) -> str:
        attribute, path, anchor = found[1], found[2], found[3] or ""
        if not path or re.match(r"\w+:", path):
            return found[0]
        there = (source.parent / path).resolve()
        name = there.relative_to(ROOT).as_posix()
        place = output / _document(name) if name in FILES else there
        return f'{attribute}="{os.path.relpath(place, page.parent)}{anchor}"'

    text, formulas = _without_formulas(source.read_text())
    html = str(markdown2.markdown(text, extras=_EXTRAS))
    html = re.sub(r'(<h\d) id="[^"]*"(>(.*?)</h\d>)', _anchored, html)
    html = re.sub(r'\b(href|src)="([^"#]*)(#[^"]*)?"', target, html)
    html = re.sub(r"FORMULA(\d+)X", lambda found: formulas[int(found[1])], html)
    template = pdoc.render.env.get_template("document.html.jinja2")
    up = "../" * _document(file).count("/")
    return template.render(title=_title(file), text=Markup(html), all_modules=pages, up=up)


def _without_formulas(text: str) -> tuple[str, list[str]]:
    """A document with a word in the place of each formula of LaTeX outside code, and the formulas as MathML."""
    formulas: list[str] = []

    def taken(found: re.Match) -> str:
        code, block, inline = found.groups()
        if code:
            return code
        formulas.append(latex2mathml.converter.convert(block or inline, display="block" if block else "inline"))
        return f"FORMULA{len(formulas) - 1}X"

    return re.sub(r"(```.*?```|`[^`\n]+`)|\$\$(.+?)\$\$|\$([^$`]+)\$", taken, text, flags=re.DOTALL), formulas


def _anchored(found: re.Match) -> str:
    return f'{found[1]} id="{slug(Markup(found[3]).striptags())}"{found[2]}'


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
    print(f"written: {sys.argv[1]}/index.html")
