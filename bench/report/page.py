"""The page: one HTML file with its styles, scripts and data inside, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.claims.document import counted_verdicts
from bench.exchange.citation import Citation
from bench.leaderboard.text import ACROSS, SENSITIVITY, caption, number, space_lines
from bench.plotting.palette import looks
from bench.report.board import boards
from bench.report.claims import families, fitting_figures
from bench.report.columns import DIGITS, pack
from bench.report.curves import within_budget
from bench.report.data import Report
from bench.report.members import listed, member_payload
from bench.report.payload import charts_payload, seeds_payload

LIMIT = 10_000_000  # bytes of a page
MOST_CURVE_NUMBERS = 400_000
BYTES_PER_CURVE_NUMBER = 6  # at most, compressed (measured: 2.4 to 3.8)
MOST_FAILED = 200  # failed members that are listed in full; all are in the table of members
HERE = Path(__file__).resolve().parent
SCRIPTS = ("data", "table", "seeds", "chart", "charts", "members", "claims", "start")
SECTIONS = {
    "leaderboard": "Leaderboard",
    "curves": "Curves",
    "profiles": "Profiles",
    "sensitivity": "Sensitivity",
    "claims": "Claims",
    "members": "Members",
    "missing": "Missing",
    "cite": "Cite",
}


def build_page(report: Report) -> str:
    """The HTML of a report. Equal reports give equal pages."""
    look = looks(report.optimizers)
    styles = [_static("vendor/uPlot.min.css"), _static("report.css"), _series_style(report)]
    scripts = [_static("vendor/uPlot.iife.min.js"), *(_static(f"{name}.js") for name in SCRIPTS)]
    members = listed(report.members)
    figures, left_out = fitting_figures(report.figures)
    payloads = {
        "seeds": pack(seeds_payload(report)),
        "members": pack(member_payload(members, report.folder)),
        "figures": pack(figures),
    }
    room = 0.9 * LIMIT - sum(map(len, payloads.values()))
    curves, thinned = within_budget(report.curves, min(MOST_CURVE_NUMBERS, max(0, int(room / BYTES_PER_CURVE_NUMBER))))
    payloads["charts"] = pack(charts_payload(report, curves))
    failed = report.members.filter(pl.col("status") == "failed").sort("problem", "optimizer", "seed", "member_id")
    shown = boards(report)
    _decorate(report, shown)
    template = _environment().get_template("index.html.j2")
    return template.render(
        report=report,
        policy=_policy(styles, scripts),
        styles=styles,
        scripts=scripts,
        payloads=payloads,
        sections=SECTIONS.items(),
        computed_with=report.document.get("computed_with", {}),
        caption=caption(report.plan, report.document),
        boards=shown,
        ranked=any(board["ranked"] for board in shown),
        looks=look,
        number=number,
        across_note=ACROSS,
        sensitivity_note=SENSITIVITY,
        aggregate=_aggregate(report),
        profiles=bool(report.document.get("profiles")),
        has_curves=bool(curves),
        decimated=thinned,
        has_sensitivity=bool(report.sensitivity),
        spaces=space_lines(report.plan, report.document),
        verdicts=counted_verdicts(report.claims) if report.claims else {},
        all_verdicts=sorted({entry["verdict"] for entry in report.claims["claims"]}) if report.claims else [],
        claim_counts=report.claims.get("counts") if report.claims else None,
        families=families(report, figures),
        figures_left_out=left_out,
        digits=DIGITS,
        listed=len(members),
        coverage=report.coverage,
        totals={name: sum(getattr(one, name) for one in report.coverage) for name in ("missing", "failed", "diverged")},
        failed=failed.head(MOST_FAILED).to_dicts(),
        failed_left_out=max(0, len(failed) - MOST_FAILED),
        citation=_citation(report),
        uplot_version=scripts[0].partition("(v")[2].partition(")")[0],
        uplot_licence=_static("vendor/uPlot.LICENSE"),
    )


def _environment() -> Environment:
    """Every value is escaped unless a template says `safe`, which only our own styles and scripts are."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def _static(name: str) -> str:
    text = (HERE / "static" / name).read_text(encoding="utf-8")
    if "</script" in text or "</style" in text:
        raise ValueError(f"{name} would end the element that it is in")
    return text


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Content-Security-Policy: these very styles and scripts, images from the page itself, and no network."""

    def hashes(texts: list[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _series_style(report: Report) -> str:
    """Colours of the optimizers as CSS variables, light and dark, and a class of each."""
    look = list(looks(report.optimizers).values())

    def variables(colours: list[str]) -> str:
        return ":root{" + "".join(f"--series-{i}:{colour};" for i, colour in enumerate(colours)) + "}"

    rules = [variables([one.colour for one in look])]
    rules.append(f"@media (prefers-color-scheme: dark){{{variables([one.dark for one in look])}}}")
    for i in range(len(look)):
        rules.append(f".stroke-{i}{{stroke:var(--series-{i})}}")
    return "".join(rules)


def _decorate(report: Report, shown: list[dict[str, Any]]) -> None:
    """Add to each board what the template needs beside the numbers: shading by tie group, looks."""
    for board in shown:
        letters = list(dict.fromkeys(line["letter"] for line in board["lines"]))
        for line in board["lines"]:
            line["look"] = report.optimizers.index(line["optimizer"])
            line["shaded"] = line["letter"] is not None and letters.index(line["letter"]) % 2 == 1


def _citation(report: Report) -> dict[str, str] | None:
    """How to cite the members of the suite, as bench.cite says it; None while there are none."""
    own = report.members.filter((pl.col("phase") != "other") & (pl.col("status") != "failed")).drop("phase")
    if own.is_empty():
        return None
    citation = Citation(report.plan, own, report.planned)
    return {"text": citation.text(), "bibtex": citation.bibtex()}


def _aggregate(report: Report) -> list[dict[str, Any]]:
    """Rows of the table across problems, not ranked, with the area under the profile where there is one."""
    areas = {p["optimizer"]: p for p in report.document.get("profiles") or ()}
    rows = []
    for row in report.document.get("aggregate") or ():
        profile: Mapping[str, Any] = areas.get(row["optimizer"], {})
        rows.append({**row, **{name: profile.get(name) for name in ("area", "area_low", "area_high")}})
    return [row for row in rows if row["optimizer"] in report.optimizers]
