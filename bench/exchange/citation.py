"""How to cite the results of a suite: its version, the code, the environment, the content hash of its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bench.leaderboard.document import computed_with
from bench.plan.plan import SuitePlan
from bench.store.content_hash import content_hash
from bench.store.environment import ROOT
from bench.store.store import Store, rows_of
from bench.store.yaml_file import read_yaml
from shb.errors import ConfigurationError

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}


@dataclass(frozen=True)
class Citation:
    """What is cited: a suite's plan, its computed members, and how many there should be."""

    plan: SuitePlan
    members: pl.DataFrame
    planned: int

    @property
    def complete(self) -> bool:
        return len(self.members) == self.planned

    @property
    def content_hash(self) -> str:
        return content_hash(self.members)

    def text(self) -> str:
        """One paragraph."""
        software, year = citation_file(), self._year()
        authors = ", ".join(_name(author) for author in software["authors"])
        return f"{authors} ({year}). {software['title']}, version {software['version']}. {self.note()}"

    def bibtex(self) -> str:
        """One entry of type @misc, which every BibTeX style knows."""
        software = citation_file()
        authors = " and ".join(f"{{{_latex(_name(author))}}}" for author in software["authors"])
        fields = {
            "author": authors,
            "title": f"{{{_latex(software['title'])}}}",
            "year": self._year(),
            "version": _latex(str(software["version"])),
            "note": _latex(self.note()),
        }
        key = f"shb-bench-{self.plan.suite}-v{self.plan.version}-{self.content_hash[:8]}"
        return f"@misc{{{key},\n" + "".join(f"  {n} = {{{value}}},\n" for n, value in fields.items()) + "}"

    def note(self) -> str:
        """Suite, number of members, code, environment, hash."""
        computed = computed_with(self.members)
        dirty = " with uncommitted changes" if "True" in computed["code_dirty"] else ""
        devices = sorted({name for name in computed["device_name"] if name != "cpu"} | set(computed["cpu"]))
        counted = (
            f"{len(self.members):,} members" if self.complete else f"{len(self.members):,} of {self.planned:,} members"
        )
        return (
            f"Suite {self.plan.title}, {counted}; code {_several(computed['code_commit'])}{dirty}; "
            f"torch {_several(computed['torch'])}; {_several(devices)}; threads {_several(computed['threads'])}; "
            f"content SHA-256 {self.content_hash}."
        )

    def _year(self) -> str:
        return str(self.members["created"].max())[:4]


def citation_of(plan: SuitePlan, store: Store) -> Citation:
    """The computed members of the suite in the store.

    Raises:
        ConfigurationError: there are none.
    """
    members = store.members()
    computed_members = rows_of(members, plan.ids(members)).filter(pl.col("status") != "failed")
    if computed_members.is_empty():
        raise ConfigurationError("results_dir", store.folder, f"a store with members of suite {plan.title}")
    return Citation(plan, computed_members, plan.size)


def citation_file() -> dict[str, Any]:
    """CITATION.cff: what is said of the software."""
    return read_yaml(ROOT / "CITATION.cff")


def _name(author: dict[str, str]) -> str:
    return author.get("name") or f"{author['given-names']} {author['family-names']}"


def _several(values: Sequence[str]) -> str:
    return " and ".join(values) or "unknown"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
