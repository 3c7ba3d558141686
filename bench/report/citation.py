"""How to cite what a report shows: text and BibTeX from CITATION.cff, the suite and the commit."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from bench.environment import ROOT
from bench.report.data import Report


def citation(report: Report) -> dict[str, str]:
    """`text` and `bibtex`; the year is that of the newest member of the suite."""
    path = ROOT / "CITATION.cff"  # not there where only the package is installed
    facts: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    title = facts.get("title", "shb-bench")
    authors = [
        " ".join(filter(None, (author.get("given-names"), author.get("family-names", author.get("name")))))
        for author in facts.get("authors", ())
    ]
    created = report.members.filter(report.members["phase"] != "other")["created"].max()
    commits = ", ".join(report.document.get("computed_with", {}).get("code_commit", ())) or "unknown"
    note = f"suite {report.suite.title}, {report.stored} members, code commit {commits}"
    year = created[:4] if created else ""
    lines = [
        "@software{shb_bench,",
        f"  title = {{{_tex(title)}}},",
        f"  author = {{{' and '.join(f'{{{_tex(name)}}}' for name in authors)}}},",
        f"  version = {{{facts.get('version', '')}}},",
        f"  year = {{{year}}},",
        f"  note = {{{_tex(note)}}},",
        "}",
    ]
    text = f"{', '.join(authors)}: {title}, version {facts.get('version', '')}, {year}; {note}."
    return {"text": text, "bibtex": "\n".join(lines)}


def _tex(text: str) -> str:
    """`text` with the characters that mean something in TeX escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
