"""The tables of docs/claims.md, made from the claims and from a report of them: python -m bench.claims.overview

Written again is what stands between two marks in that file; the report is that of results/reference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import FAMILIES, Claim
from bench.claims.document import read_claims
from bench.command import run_command
from shb.errors import ConfigurationError
from shb.files import write_whole

ROOT = Path(__file__).parents[2]
PAGE, REPORT = ROOT / "docs" / "claims.md", ROOT / "results" / "reference" / "claims" / "claims.json"
START, END = "<!-- tables: python -m bench.claims.overview -->", "<!-- end of the tables -->"
COLUMNS = ("claim", "statement", "source", "prediction", "controls: where it must fail", "evidence", "sizes", "parts")
OBSERVED = """## Controls that are observed

A control is the part's own statistic in another world, judged by the part's own rule, and must come out REFUTED. These
cannot be: the claim says itself whether they fired.
"""


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if arguments:
        raise ConfigurationError("option", arguments[0], "none")
    report = read_claims(REPORT)
    if report is None:
        raise ConfigurationError("claims.json", REPORT, "a file that `make claims` wrote")
    write_whole(PAGE, page(PAGE.read_text(), report["claims"]))
    return 0


def page(text: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """`text` with the tables of `entries` (those of claims.json) between the marks.

    Raises:
        ConfigurationError: a mark is missing.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigurationError("docs/claims.md", "a mark is missing", f"{START} and {END}")
    return "\n".join([f"{before}{START}", "", *_tables(entries), f"{END}{after}"])


def _tables(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for family, title in FAMILIES.items():
        lines += [f"## {title}", "", _row(COLUMNS), "|" + "---|" * len(COLUMNS)]
        for claim in CLAIMS.values():
            if claim.family == family:
                lines.append(_row(_claim(claim, [entry for entry in entries if entry["claim"] == claim.id])))
        lines.append("")
    return [*lines, *_observed(entries)]


def _claim(claim: Claim, parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    file = "/".join(claim.statements.__module__.split(".")[2:]) + ".py"
    letters = [part["id"].removeprefix(claim.id) for part in parts]
    span = f"{letters[0]}-{letters[-1]}" if len(letters) > 1 else "".join(letters)
    controls = dict.fromkeys(control["description"] for part in parts for control in part["controls"])
    return (
        f"**{claim.id}**",
        claim.title,
        claim.source,
        _by_letter(parts, claim, lambda part: part["predicted"]),
        "; ".join(controls),
        f"[{file}](../bench/claims/{file})",
        f"[{claim.id}](../conf/claim/{claim.id}.yaml)",
        f"{claim.id}{span}",
    )


def _by_letter(parts: Sequence[Mapping[str, Any]], claim: Claim, text_of: Callable[[Mapping[str, Any]], str]) -> str:
    """The texts of all parts, each once, with the letters of its parts and what is special about them."""
    letters: dict[str, list[str]] = {}
    for part in parts:
        status = "" if part["status"] == "TEST" else f" ({part['status'].lower()})"
        letters.setdefault(text_of(part), []).append(part["id"].removeprefix(claim.id) + status)
    if len(letters) == 1:
        return next(iter(letters))
    return "; ".join(f"{', '.join(own)}: {text}" for text, own in letters.items())


def _observed(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        _row((entry["id"], control["description"], control["why"]))
        for entry in entries
        for control in entry["controls"]
        if control["kind"] == "observed"
    ]
    if not rows:
        return []
    return [
        OBSERVED,
        "| part | control | why it is no estimate that the part's rule must refute |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(run_command(main))
