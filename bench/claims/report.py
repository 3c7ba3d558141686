"""The report of a run of claims: a judged row per part; the table, claims.md and claims.json."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.claims.catalogue import CLAIMS, number
from bench.claims.claim import FAMILIES, Control, Observed, Part, Status
from bench.claims.document import SCHEMA_VERSION, measured_text
from bench.claims.row import Headline, Row
from bench.claims.verdict import Verdict
from bench.statistics.estimates import Estimate, Exact
from shb.files import write_whole

COLOURS = {
    Verdict.SUPPORTED: "green",
    Verdict.REFUTED: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.VOID: "magenta",
    Verdict.OUT_OF_SCOPE: "cyan",
}


def measured(part: Part) -> str:
    """Value, 95 % interval, sample size, as text."""
    return "-" if part.shown is None else measured_estimate(part.shown, part.prediction.unit)


def measured_estimate(estimate: Estimate, unit: str) -> str:
    """The text of `measured` for any estimate."""
    ends = None if isinstance(estimate, Exact) else estimate.interval()
    return measured_text(estimate.value, ends, estimate.n, unit)


def apart(row: Row) -> list[str]:
    """Why a part is not counted, in words."""
    status = [] if row.part.status is Status.TEST else [row.part.status.lower()]
    return [*status, *([f"as {row.repeats}"] if row.repeats else [])]


def controls(part: Part) -> str:
    """Every control, what it showed, and a mark where it did not fire; then the alternatives."""
    evidence = part.evidence()
    texts = [
        f"{control.description}: {control_shown(part, control)}{'' if evidence.fires(judged) else ' (DID NOT FIRE)'}"
        for control, judged in zip(part.controls, evidence.controls)
    ]
    return "; ".join([*texts, *(f"[not counted: {other.description}: {other.shown}]" for other in part.alternatives)])


def control_shown(part: Part, control: Control | Observed) -> str:
    """What a control measured, as text."""
    if isinstance(control, Observed):
        return control.shown
    return measured_estimate(control.estimate, part.prediction.unit)


def json_row(row: Row) -> dict[str, Any]:
    """The row as it stands in claims.json."""
    part, judgement = row.part, row.judgement
    low, high = (None, None) if part.shown is None else part.shown.interval()
    return {
        "id": part.id,
        "claim": row.claim,
        "family": CLAIMS[row.claim].family,
        "title": part.title,
        "source": part.source,
        "predicted": part.prediction.words,
        "measured": None if part.shown is None else _number(part.shown.value),
        "ci_low": _number(low),
        "ci_high": _number(high),
        "n": None if part.shown is None else part.shown.n,
        "unit": part.prediction.unit,
        "control": "; ".join(control.description for control in part.controls),
        "control_fired": bool(part.controls) and all(map(part.evidence().fires, part.evidence().controls)),
        "control_shown": "; ".join(control_shown(part, control) for control in part.controls),
        "controls": [_control(part, control) for control in part.controls],
        "alternatives": [{"description": other.description, "measured": other.shown} for other in part.alternatives],
        "verdict": str(judgement.verdict),
        "verdict_before_holm": str(judgement.unadjusted),
        "reason": judgement.reason,
        "p_support_holm": judgement.p_support_holm,
        "p_refute_holm": judgement.p_refute_holm,
        "rule": part.prediction.rule,
        "status": str(part.status),
        "experiments": [f"{row.claim} {name}" for name in part.of],
        "independent_of": list(row.shared),
        "repeats": row.repeats or None,
        "note": part.remarks,
        "expected": row.expected,
        "expected_verdicts": list(row.expectation.verdicts),
        "expected_why": row.expectation.why,
        "other_processors_verdicts": list(row.expectation.elsewhere),
        "other_processors_why": row.expectation.elsewhere_why,
    }


def _control(part: Part, control: Control | Observed) -> dict[str, str]:
    """A control as it stands in claims.json; `verdict` is that of the prediction of the part in the control's world."""
    fired = part.evidence().fires(control.estimate if isinstance(control, Control) else control.fired)
    return {
        "kind": "judged" if isinstance(control, Control) else "observed",
        "description": control.description,
        "why": "" if isinstance(control, Control) else control.why,
        "problem": control.problem,
        "measured": control_shown(part, control),
        "verdict": str(Verdict.REFUTED) if fired else "NOT REFUTED",
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def print_table(report: Sequence[Row], summary: Headline, console: Console) -> None:
    """The verdict table, family by family, then the counts."""
    table = Table(title="Claims of the theory", show_lines=True)
    table.add_column("claim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for column, ratio in (("statement", 3), ("source", 1), ("predicted", 2), ("measured", 2), ("control", 3)):
        table.add_column(column, ratio=ratio, overflow="fold")
    for family, title in FAMILIES.items():
        rows = [row for row in report if CLAIMS[row.claim].family == family]
        if rows:
            table.add_row("", "", Text(title, "bold"))
        for row in rows:
            verdict, part = row.judgement.verdict, row.part
            texts = (part.title, part.source, part.prediction.words, measured(part), controls(part))
            shown = Text(str(verdict), COLOURS[verdict]).append("" if row.expected else " (!)", "default")
            shown.append("".join(f"\n{remark}" for remark in apart(row)), "dim")
            table.add_row(part.id, shown, *(Text(text) for text in texts))
    console.print(table)
    for sentence in summary.sentences():
        console.print(sentence, highlight=False)
    for row in report:
        if row.judgement.verdict is not Verdict.SUPPORTED:
            console.print(f"  {row.part.id} {row.judgement.verdict}: {row.judgement.reason}", markup=False)
            if row.part.remarks:
                console.print(f"    {row.part.remarks}", markup=False)
        if not row.expected:
            known = (*row.expectation.verdicts, *row.expectation.elsewhere)
            allowed = " or ".join(known) or "nothing: the part is missing in conf/expectations.yaml"
            console.print(f"  {row.part.id} unexpected: {row.judgement.verdict}, expected {allowed}", style="red")
        if row.of_processor:
            usual, why = " or ".join(row.expectation.verdicts), row.expectation.elsewhere_why
            text = f"  {row.part.id} depends on the processor: {row.judgement.verdict}, elsewhere {usual} ({why})"
            console.print(text, style="yellow", markup=False, highlight=False)


def write(
    report: Sequence[Row],
    folder: Path,
    level: str,
    facts: Mapping[str, Any],
    appendices: Mapping[str, str],
    figures: Collection[str],
    summary: Headline,
) -> list[Path]:
    """claims.json and claims.md in `folder`; `appendices` is Markdown by claim id, `figures` names drawn families."""
    report = sorted(report, key=lambda row: (number(row.part.id), row.part.id))
    counts = {
        "verdicts": {str(verdict): count for verdict, count in summary.verdicts.items()},
        "repeated": summary.repeated,
        "apart": {str(status): count for status, count in summary.apart.items()},
        "experiments": summary.experiments,
    }
    content = {"schema_version": SCHEMA_VERSION, "level": level, **facts, "counts": counts}
    content["claims"] = [json_row(row) for row in report]
    write_whole(folder / "claims.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "claims.md", _markdown(report, level, facts, appendices, figures, summary))
    return [folder / "claims.md", folder / "claims.json"]


def _markdown(
    report: Sequence[Row],
    level: str,
    facts: Mapping[str, Any],
    appendices: Mapping[str, str],
    figures: Collection[str],
    summary: Headline,
) -> str:
    lines = [
        f"# Claims of the theory, level {level}",
        "",
        f"{facts['computed_with']}; {facts['compute_seconds']:.0f} s of measurements.",
        "",
    ]
    lines += [
        "Measured values with 95 % intervals; verdicts after Holm's correction over the table. Sources: C-a .. C-f are",
        "assertions of the abstract of Le (2024); D1, D2, D4, L1 .. L8 are this project's own (docs/theory.md).",
        "",
    ]
    lines += [" ".join(summary.sentences()), ""]
    for family, title in FAMILIES.items():
        rows = [row for row in report if CLAIMS[row.claim].family == family]
        if not rows:
            continue
        lines += [f"## {title}", ""]
        lines += [f"![{title}](figures/{family}.png)", ""] if family in figures else []
        lines += ["| claim | statement | source | predicted | measured | control | verdict |", "|" + "---|" * 7]
        for row in rows:
            cells = (row.part.id, row.part.title, row.part.source, row.part.prediction.words, measured(row.part))
            verdict = " ".join([f"**{row.judgement.verdict}**", *(f"({remark})" for remark in apart(row))])
            cells += (controls(row.part), verdict)
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        notes = [row for row in rows if row.part.remarks or row.judgement.verdict is not Verdict.SUPPORTED]
        lines += (
            [""] + [f"- {row.part.id}: {row.judgement.reason}. {row.part.remarks}".rstrip() for row in notes] + [""]
        )
        for claim in dict.fromkeys(row.claim for row in rows):
            lines += [appendices[claim], ""] if claim in appendices else []
    return "\n".join(lines).rstrip() + "\n"
