"""summary.md: the report in half a page, for a pull request or a slide."""

from __future__ import annotations

from bench.claims.document import counted_verdicts
from bench.leaderboard.text import caption, notes, number
from bench.report.board import boards
from bench.report.data import Report


def build_summary(report: Report) -> str:
    """Markdown: per problem the order with ranks, then the aggregate, claims, and what is missing."""
    document = report.document
    state = "complete" if document["complete"] else f"INCOMPLETE: {report.planned - report.stored} members missing"
    lines = [f"# Suite {report.plan.title}", ""]
    lines += [f"{report.stored} of {report.planned} members, {state}.", ""]
    lines += ["| problem | metric | groups, the best first: rank, optimizer, median [95 % interval] |", "|---|---|---|"]
    below = []
    for board in boards(report):
        groups: dict[str | None, list[str]] = {}
        for line in board["lines"]:
            cell = line["cells"][0]
            rank = "" if line["rank"] == "-" else f"{line['rank']}: "
            entry = f"{rank}{line['optimizer']} {cell['text']} {cell['interval']}".rstrip()
            groups.setdefault(line["letter"], []).append(entry)
        order = "; ".join(", ".join(own) for own in groups.values())
        lines.append(f"| {_cell(board['problem'])} | {board['metrics'][0]['label']} | {_cell(order)} |")
        below += [f"- {board['problem']}: {note}" for note in notes(document, board["problem"])]
    lines += ["", caption(report.plan, document), ""]
    lines += [*below, ""]
    if document.get("aggregate"):
        scores = (
            f"{row['optimizer']} {number(row['score'])} [{number(row['low'])}, {number(row['high'])}]"
            for row in document["aggregate"]
        )
        lines += [f"Across problems, normalised score: {'; '.join(scores)}.", ""]
    if report.claims:
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counted_verdicts(report.claims).items())
        lines += [f"Claims (level {report.claims['level']}): {verdicts}.", ""]
    totals = {name: sum(getattr(one, name) for one in report.coverage) for name in ("diverged", "failed", "missing")}
    lines += [f"{totals['diverged']} diverged, {totals['failed']} failed, {totals['missing']} missing.", ""]
    facts = document.get("computed_with", {})
    environment = "; ".join(f"{name.replace('_', ' ')} {', '.join(values)}" for name, values in facts.items() if values)
    lines += [f"Computed with {environment}." if environment else "Nothing is stored.", ""]
    lines += ["The whole report is in [report/index.html](report/index.html).", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
